"""The labelled images that a trained model is measured on: those of its run, or others of the same classes."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_inception.errors import InputError
from keras_inception.training.config import TrainConfig

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.network.model import InceptionModel


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `data_of` reads."""
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images than the run's, with the same classes")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")


def data_of(arguments: argparse.Namespace, model: "InceptionModel") -> "Data":
    """Loads the images of the run, as it split them, or those of `--dataset`."""
    from keras_inception.training import runs
    from keras_inception.training.loop import load_data

    path = Path(arguments.model) / runs.CONFIG
    if path.is_file():
        config = TrainConfig.from_file(path)
    elif arguments.dataset:
        config = TrainConfig.of(architecture=model.architecture)
    else:
        raise InputError(f"{arguments.model} does not say what it was trained on: give --dataset")
    config = replace(
        config,
        dataset=arguments.dataset or config.dataset,
        image_size=model.input_shape[1],
        skip_bad_images=arguments.skip_bad_images or config.skip_bad_images,
        recipe=replace(config.recipe, batch_size=arguments.batch_size),
    )
    data = load_data(config, model.preprocessing)
    if model.class_names is not None and data.class_names != model.class_names:
        raise InputError(
            f"the images must have the classes that the model was trained on, {_short(model.class_names)}. "
            f"Received: {_short(data.class_names)}"
        )
    return data


def _short(names: list[str]) -> str:
    return f"{names[:5]} and {len(names) - 5} more" if len(names) > 6 else str(names)
