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
    parser.add_argument(
        "--classes",
        type=int,
        metavar="N",
        help="number of classes, which is the file's (the default); 1001 keeps the background class of tf_slim",
    )
    parser.add_argument("--class-names", metavar="FILE", help="a text file with the name of a class in each line")
    parser.add_argument(
        "--rename", metavar="NAME=NAME", action="append", default=[],
        help="name of the publisher's, and that of the same layer in the file: loss3/classifier=loss3/flowers",
    )  # fmt: skip
    parser.add_argument("--no-aux-heads", action="store_true", help="leave out the auxiliary heads of the file")
    parser.add_argument("--overwrite", action="store_true", help="replace the file to write")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.network.googlenet import GoogLeNet
    from keras_inception.weights import SOURCES
    from keras_inception.weights.published import read

    out, source = Path(arguments.out), SOURCES[arguments.source]
    if out.suffix != ".keras":
        raise InputError(f"the file to write must end in .keras. Received: {out}")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}; make it, or choose another. Received: {out}")
    if out.exists() and not arguments.overwrite:
        raise InputError(f"{out} exists already; choose another name or replace it with --overwrite")
    if not all(pair.partition("=")[0] and pair.partition("=")[2] for pair in arguments.rename):
        raise InputError(f"--rename must be NAME=NAME. Received: {' '.join(arguments.rename)}")
    rename = dict(pair.split("=", 1) for pair in arguments.rename)
    published = read(source, arguments.path, rename)
    found = published.classes()
    expected = 1000 if source.background and found == 1001 else found
    classes = expected if arguments.classes is None else arguments.classes
    if found and classes not in (found, expected):
        raise InputError(f"--classes must be the file's, which has {found}. Received: --classes {classes}")
    heads = [
        head.name
        for head in source.architecture.auxiliary_heads
        if not arguments.no_aux_heads and any(name.startswith(f"{head.prefix}_") for name in published.arrays)
    ]
    model = GoogLeNet(architecture=source.architecture, classes=classes or 1000, aux_heads=heads)
    others = published.assign(model)
    if others:
        counts = ", ".join(f"{name} {published.classes(name)}" for name in ("loss3_classifier", *others))
        raise InputError(
            f"all classifiers of a file must have the same classes; leave the auxiliary ones out with --no-aux-heads. "
            f"Received: {counts} in {arguments.path}"
        )
    is_imagenet = classes in (1000, 1001) and source.tensors()["loss3_classifier/kernel"].layer not in rename
    model.class_names = _class_names(arguments.class_names, classes, is_imagenet)
    with files.written_aside(out) as aside:
        model.save(aside)
    print(f"wrote {out}: {model.count_params():,} parameters, {classes} classes, heads {', '.join(model.output_names)}")
    print(f"next:  keras-inception predict {shlex.quote(str(out))} IMAGE")
    return 0


def _class_names(path: str | None, classes: int, is_imagenet: bool) -> list[str] | None:
    from keras_inception.network.preprocess import imagenet_class_names

    if path is not None:
        return files.read_text(path, str.splitlines, "text")
    reason = "the file does not hold the names; give them with --class-names"
    if is_imagenet:
        try:
            names = imagenet_class_names()
            return names if classes == 1000 else ["background", *names]
        except DownloadError as error:
            reason = str(error)
    print(f"predictions will show numbers in place of the names of the classes: {reason}")
    return None
