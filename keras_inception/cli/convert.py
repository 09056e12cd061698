"""`keras-inception convert`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.cli.console import command
from keras_inception.errors import DownloadError, InputError


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(commands, "convert", run, "Turn a published weights file into a .keras file.")
    parser.add_argument("source", choices=["bvlc", "tf_slim", "torchvision"], help="who published it")
    parser.add_argument("path", metavar="PATH", help="the .caffemodel, the checkpoint or its .tar.gz, or the .pth")
    parser.add_argument("out", metavar="OUT.keras", help="the file to write")
    parser.add_argument("--classes", type=int, default=1000, help="1001 keeps the background class of tf_slim")
    parser.add_argument("--overwrite", action="store_true", help="replace the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.network.googlenet import GoogLeNet
    from keras_inception.weights import SOURCES, load_published_weights

    out = Path(arguments.out)
    if out.suffix != ".keras":
        raise InputError(f"the file to write must end in .keras. Received: {out}")
    if out.exists() and not arguments.overwrite:
        raise InputError(f"{out} exists already; choose another name or replace it with --overwrite")
    model = GoogLeNet(architecture=SOURCES[arguments.source].architecture, classes=arguments.classes)
    load_published_weights(model, arguments.source, arguments.path)
    model.class_names = _imagenet_class_names(arguments.classes)
    with files.written_aside(out) as aside:
        model.save(aside)
    print(f"wrote {out}: {model.count_params():,} parameters, heads {', '.join(model.output_names)}")
    print(f"next:  keras-inception predict {shlex.quote(str(out))} IMAGE")
    return 0


def _imagenet_class_names(classes: int) -> list[str] | None:
    from keras_inception.network.preprocess import imagenet_class_names

    try:
        names = imagenet_class_names()
    except DownloadError as error:
        print(f"predictions will show numbers, because the names of ImageNet's classes cannot be had: {error}")
        return None
    return {1000: names, 1001: ["background", *names]}.get(classes)
