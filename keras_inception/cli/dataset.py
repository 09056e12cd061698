"""The labelled images that a trained model is measured on: those of its run, or others of the same classes."""

import argparse
import sys
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception.cli.console import CheckProgress
from keras_inception.errors import InputError, counted, on_one_line
from keras_inception.training.config import TrainConfig

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.network.model import InceptionModel


def add_options(parser: Any) -> None:
    """Adds the options that `data_of` reads."""
    text = "other images than the run's, with the same classes"
    parser.add_argument("--dataset", metavar="NAME|FOLDER|TABLE", help=text)
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images per step (default: 64)")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")


def data_of(arguments: argparse.Namespace, model: "InceptionModel") -> "Data":
    """Loads the images of the run, as it split them, or those of `--dataset`."""
    from keras_inception.network.checks import gives_logits
    from keras_inception.network.model import check_model
    from keras_inception.training import runs
    from keras_inception.training.configured import load_data

    check_model(model)
    for name in model.output_names:
        gives_logits(model, name)  # refuses what is no classifier
    height, width, channels = model.input_shape[1:]
    if height != width or channels != 3:
        raise InputError(
            "labelled images are read as squares of 3 channels: use `evaluation.evaluate` in Python for others. "
            f"Received: a network of input_shape={model.input_shape[1:]}"
        )
    record, path = None, Path(arguments.model) / runs.CONFIG
    if path.is_file():
        config = TrainConfig.from_file(path)
        if arguments.dataset is None or Path(arguments.dataset).resolve() == Path(config.dataset).resolve():
            record = runs.data_record(arguments.model)  # its splits: no image to measure on was trained on
            if record is None:
                print(f"warning: {runs.unknown_images(arguments.model)}", file=sys.stderr)
    elif arguments.dataset:
        config = TrainConfig.of(architecture=model.architecture)
    else:
        raise InputError(f"{arguments.model} does not say what it was trained on: give --dataset")
    skip = arguments.skip_bad_images or config.skip_bad_images
    config = replace(
        config,
        dataset=arguments.dataset or config.dataset,
        image_size=model.input_shape[1],
        resize=model.resize,
        skip_bad_images=skip,
        full_check=skip,  # what is to be left out is known before anything is measured
        recipe=replace(config.recipe, batch_size=arguments.batch_size),
    )
    data = load_data(config, model.preprocessing, record=record, on_check=CheckProgress())
    for line in left_out(data):
        print(f"warning: {line}", file=sys.stderr)
    _check_classes(model, data.class_names)
    return data


def left_out(data: "Data") -> list[str]:
    """Returns a line about the files that are not read, and one about those that came after the run's."""
    newer = "file that is newer than the run" if len(data.added) == 1 else "files that are newer than the run"
    found = (
        (counted(len(data.skipped), "unreadable or missing file"), data.skipped),
        (f"{len(data.added):,} {newer}", data.added),
    )
    return [f"left out {what}: {', '.join(map(on_one_line, names[:5]))}" for what, names in found if names]


def _check_classes(model: "InceptionModel", found: list[str]) -> None:
    """Refuses images of other classes, or of another order; for a model without names, of another number."""
    known = model.class_names or found[: model.classes] + ["?"] * (model.classes - len(found))
    index = next((i for i, names in enumerate(zip_longest(known, found)) if len(set(names)) > 1), None)
    if index is not None:
        of_model, of_images = (names[index] if index < len(names) else "missing" for names in (known, found))
        raise InputError(
            f"the images must have the {len(known)} classes that the model was trained on, in their order. "
            f"Received: images of {len(found)} classes, of which number {index} is {of_images} instead of {of_model}"
        )
