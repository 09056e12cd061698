"""`keras-inception data`."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception import files
from keras_inception.cli.console import CheckProgress, command, print_table
from keras_inception.cli.train import add_fields, merged_config, options_of
from keras_inception.errors import InputError, on_one_line
from keras_inception.training.config import OF_AUGMENTATION

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.training.config import TrainConfig
    from keras_inception.types import Array

SHOWN = 20  # images on the sheet
LISTED = 5  # files that are named
OPTIONS = (
    "architecture",
    "recipe",
    "image_size",
    "resize",
    "validation_fraction",
    "test_fraction",
    "seed",
    "split_seed",
    "full_check",
)


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(
        commands, "data", run, "Print what would be trained on, and draw the first images as the network sees them."
    )
    parser.add_argument("dataset", metavar="NAME|FOLDER|TABLE", help="the images, as for train --dataset")
    parser.add_argument("--out", default="data.png", metavar="FILE.png", help="where to draw (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="file of training options; what is given here wins")
    add_fields(parser, OPTIONS)
    add_fields(parser.add_argument_group("augmentation"), OF_AUGMENTATION)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.data import BadImagesError, duplicates
    from keras_inception.training.configured import load_data

    if Path(arguments.out).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--out writes .png, .svg or .pdf. Received: {arguments.out}")
    config = merged_config(options_of(arguments), arguments.config)
    config = replace(config, skip_bad_images=True, recipe=replace(config.recipe, batch_size=SHOWN))
    data = load_data(config, on_check=CheckProgress())
    try:
        images, labels = _first(data, config)
    except BadImagesError:  # their headers and ends told nothing
        config = replace(config, full_check=True)
        data = load_data(config, on_check=CheckProgress())
        images, labels = _first(data, config)
    splits = [split for split in ("train", "validation", "test") if data.sizes.get(split)]
    counts = [data.class_counts(split) for split in splits]
    rows = [[name, *(f"{of:,}" for of in numbers)] for name, *numbers in zip(data.class_names, *counts)]
    rows.append(["all", *(f"{sum(of):,}" for of in counts)])
    print_table(f"{config.dataset}: {len(data.class_names)} classes", ["class", *splits], rows)
    size = data.image_shape[0]
    print(
        f"images: a shorter side of {data.original_side} pixels (median); "
        f"the network sees {size}x{size} ({config.resize})"
    )
    if images.shape[1] != size:
        print("training images: {}x{}".format(*images.shape[1:3]))
    sure = "" if config.full_check else " (as far as headers and ends tell: --full-check decodes every file)"
    print(f"unreadable files: {_some(data.skipped)}{sure}")
    with data.reading():
        shared = [", ".join(f"{split} {name}" for split, name in places)
                  for places in duplicates.across_splits(config.dataset, data)]  # fmt: skip
        print(f"images that are in several splits: {_some([f'({text})' for text in shared])}")
    _draw(data, images, labels, arguments.out)
    print(f"drew {arguments.out}: training images of the first epoch, recipe {config.recipe.name}")
    return 0


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > LISTED else ""
    return f"{len(names):,}: {', '.join(map(on_one_line, names[:LISTED]))}{more}" if names else "none"


def _first(data: "Data", config: "TrainConfig") -> "tuple[Array, Array]":
    """Returns the first images of the first epoch, and their labels."""
    with data.reading():
        epochs = data.train_from(0, image_size=config.train_image_size, whole_from=config.whole_from)
        images, labels = next(iter(epochs.take(1).as_numpy_iterator()))
    return images, labels


def _draw(data: "Data", images: "Array", labels: "Array", path: str) -> None:
    import numpy as np

    from keras_inception.network.preprocess import undo_preprocessing
    from keras_inception.plots import evaluation as plots

    pixels = undo_preprocessing(images, preprocessing=data.pipeline.preprocessing)
    shares = np.eye(len(data.class_names))[labels] if labels.ndim == 1 else labels  # MixUp and CutMix mix them
    titles = ["\n".join(
        plots.short(data.class_names[i]) + (f" {share[i]:.0%}" if share[i] < 1 else "") for i in np.flatnonzero(share)
    ) for share in shares]  # fmt: skip
    with files.written_aside(path) as aside:
        plots.sheet([*np.clip(np.round(pixels), 0, 255).astype("uint8")], titles).savefig(aside, dpi=120)
