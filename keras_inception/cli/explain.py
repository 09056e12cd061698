"""`keras-inception explain`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.cli.console import BAD_INPUT, command
from keras_inception.cli.predict import image_paths, say_failed
from keras_inception.errors import InputError


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(commands, "explain", run, "Draw what each head says about images, and where it looks (Grad-CAM).")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, folders or glob patterns")
    parser.add_argument(
        "--out", metavar="PLACE", help="folder of the plots, or .png file of one (default: IMAGE-explained.png)"
    )
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="class to explain (default: the likeliest one of each head)"
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many classes to draw (default: 5)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception import plots
    from keras_inception.evaluation.gradcam import explain
    from keras_inception.network.preprocess import undo_preprocessing
    from keras_inception.serving.classifier import Classifier
    from keras_inception.training import runs

    paths, missing = image_paths(arguments.images)
    if not paths:
        return say_failed("explain", missing)
    if arguments.out:
        _check_out(arguments.out, paths)
    model = runs.load_model(arguments.model, compiled=False)
    classifier, failed = Classifier(model, model.output_names[0]), 0
    for path in paths:
        image = classifier.read(path)
        if isinstance(image, str):
            failed += 1
            print(f"keras-inception explain: error: {path}: {image}", file=sys.stderr)
            continue
        found = explain(model, image, class_name=arguments.class_name, top=arguments.top)
        pixels = undo_preprocessing(image.numpy(), preprocessing=model.preprocessing)
        plot = _plot_of(path, arguments.out)
        with files.written_aside(plot) as aside:
            plots.explanation(pixels, found).savefig(aside, dpi=120)
        answers = "  ".join(f"{each.head}: {each.top[0][0]} {each.top[0][1]:.2%}" for each in found)
        print(f"{path}  {answers}  wrote {plot}")
    say_failed("explain", missing)
    return BAD_INPUT if failed or missing else 0


def _check_out(out: str, paths: list[Path]) -> None:
    place = files.named(out, "--out")
    if place.suffix != ".png":
        if not place.is_dir() and (place.suffix or place.exists()):
            raise InputError(f"--out must be a folder or a .png file. Received: {out}")
        return
    if len(paths) > 1:
        raise InputError(f"--out names one plot for {len(paths)} images; name a folder")
    if place.exists():
        raise InputError(f"{out} is there already; choose another name with --out")


def _plot_of(image: Path, out: str | None) -> Path:
    """Returns where the plot of an image goes: the file that `--out` names, or `IMAGE-explained.png` in its folder.

    Where that exists it is `IMAGE-explained-2.png`, `-3`, ...
    """
    folder = Path(out or ".")
    if folder.suffix == ".png":
        return folder
    files.make_folder(folder)
    plot, number = folder / f"{image.stem}-explained.png", 1
    while plot.exists():
        number += 1
        plot = folder / f"{image.stem}-explained-{number}.png"
    return plot
