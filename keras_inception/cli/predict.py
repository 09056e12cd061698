"""`keras-inception predict`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.cli.console import BAD_INPUT, command
from keras_inception.errors import InputError, on_one_line

FEW = 32  # images whose answers take less time than the trace of a graph


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(commands, "predict", run, "Print the top classes of images.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, folders or glob patterns")
    parser.add_argument("--head", default="main", metavar="NAME",
                        help="which softmax answers: main, aux1 or aux2 (default: main)")  # fmt: skip
    parser.add_argument("--top", type=int, default=3, metavar="N", help="how many classes to print (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON array, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.serving.classifier import Classifier
    from keras_inception.training import runs

    if arguments.top < 1:
        raise InputError(f"--top must be at least 1. Received: {arguments.top}")
    paths, missing = image_paths(arguments.images)
    model = runs.load_model(arguments.model, compiled=False)
    if not paths:
        return say_failed("predict", missing)
    classifier = Classifier(model, head=arguments.head, run_eagerly=len(paths) <= FEW)
    answers, failed = [], 0
    for path, answer in classifier.predict_files(paths, top=arguments.top):
        if isinstance(answer, str):
            failed += 1
            print(f"keras-inception predict: error: {on_one_line(str(path))}: {answer}", file=sys.stderr)
            continue
        answers.append(
            {"file": str(path), "predictions": [{"class": name, "probability": score} for name, score in answer]}
        )
        if not arguments.json:
            print(f"{on_one_line(str(path))}  " + "  ".join(f"{name} {score:.2%}" for name, score in answer))
    if arguments.json:
        print(files.to_json(answers))
    say_failed("predict", missing)
    return BAD_INPUT if failed or missing else 0


def image_paths(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the files that paths, folders and glob patterns name, and of each that names none why."""
    from keras_inception.data.image_files import matching

    paths: list[Path] = []
    missing = []
    for pattern in patterns:
        try:
            paths += map(Path, matching(pattern))
        except InputError as error:
            missing.append(str(error))
        except OSError as error:  # a folder that may not be read
            missing.append(f"{error.strerror} ({error.filename})")
    return paths, missing


def say_failed(name: str, reasons: Sequence[str]) -> int:
    """Prints a line for each reason why something was left out by a command; returns the exit code of bad input."""
    for reason in reasons:
        print(f"keras-inception {name}: error: {reason}", file=sys.stderr)
    return BAD_INPUT
