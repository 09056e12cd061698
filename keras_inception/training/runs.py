"""The folder of a run: what a training leaves behind, and how it is found again.

model.keras    the network with its weights, class names and preprocessing, from the last finished epoch
best.keras     the same from the epoch with the best validation accuracy of the main head
checkpoint.npz all that is needed to go on, as long as the training is not finished
history.csv    losses and metrics of each epoch
curves.png     the same as a plot
gradients.csv  the gradient that reaches each row from each head's loss, where it was asked for
gradients.png  the same at the start and at the end as a plot, with the factors of the rows' Jacobians
config.json    all that is needed to run it again
data.json      what tells its images from others: the classes, and the files of each split with their sizes
results.json   loss and accuracies of each head on the test images
suspicious_labels.png  training images that are called otherwise with confidence, by a network that has learned
exits.json     thresholds of early exits, where they were calibrated, with their table in exits.csv and exits.png
exits-images.png  images that leave early, and images that leave late
cache/         decoded images, as long as a training with `cache="disk"` is under way
samples/       some test images to predict on
"""

import shutil
from pathlib import Path
from typing import Any

import keras_inception.network.googlenet  # registers the layers that a model file names
import keras_inception.training.optimizers  # noqa: F401, registers the schedules and optimizers
from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.network.model import InceptionModel
from keras_inception.network.saved import CONFIG, MODEL, load_model, resuming
from keras_inception.training.config import TrainConfig
from keras_inception.types import PathLike

BEST, CHECKPOINT, HISTORY, CURVES, GRADIENTS, DATA, RESULTS, SUSPICIOUS, SAMPLES, CACHE = (
    "best.keras", "checkpoint.npz", "history.csv", "curves.png", "gradients.csv", "data.json", "results.json",
    "suspicious_labels.png", "samples", "cache",
)  # fmt: skip
__all__ = ["CONFIG", "MODEL", "load_model", "resuming"]  # handed on

GRADIENTS_PLOT = "gradients.png"
EXITS, EXITS_TABLE, EXITS_PLOT, EXITS_IMAGES = "exits.json", "exits.csv", "exits.png", "exits-images.png"
EXITS_FILES = (EXITS, EXITS_TABLE, EXITS_PLOT, EXITS_IMAGES)


def free_folder(name: str) -> Path:
    """Returns `runs/NAME`, or `runs/NAME-2`, `-3`, ... where that exists."""
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def check_free(folder: PathLike, *, overwrite: bool = False) -> None:
    """Refuses a folder that holds something, unless it is a run that may be overwritten.

    Raises:
        InputError: The folder is not empty and not to be overwritten, is not a run, or is a file.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and files.is_empty(folder)):
        return
    if not folder.is_dir():
        raise InputError(f"A run needs a folder of its own, and this is a file. Received: {folder}")
    if not (folder / CONFIG).is_file():
        raise InputError(f"A run needs an empty folder, and this one holds something else. Received: {folder}")
    if not overwrite:
        raise InputError(
            f"{folder} holds a run already. Choose another folder with `--out` or replace the run with `--overwrite`."
        )


def begun(folder: PathLike | None) -> TrainConfig:
    """Returns the configuration of the run in a folder.

    Raises:
        InputError: There is no run.
    """
    if folder is None or not (files.named(folder, "folder") / CONFIG).is_file():
        raise InputError(
            f"There is no run to go on with: {folder} has no {CONFIG}, so nothing was trained yet. Start it with "
            "the options of the training."
        )
    return TrainConfig.from_file(Path(folder) / CONFIG)


def data_record(folder: PathLike) -> dict[str, Any] | None:
    """Returns what a run noted of its data, see `Data.record`; None of one of an earlier version, which noted nothing.

    Raises:
        InputError: The file is damaged.
    """
    path = Path(folder) / DATA
    if not path.is_file():
        return None
    record = files.read_json(path)
    try:
        of_folder = record["source"] == "folder"
        parts = [record["splits"], *record["splits"].values()] if of_folder else [record["splits"], record["sizes"]]
        lists = [record["classes"], *([record["skipped"]] if of_folder else [])]
        texts = [text for texts in lists for text in texts]
        is_sound = "train" in record["splits"] and all(isinstance(part, dict) for part in parts)
        is_sound = is_sound and all(isinstance(text, str) for text in texts)
    except (TypeError, KeyError, AttributeError):
        is_sound = False
    if not is_sound:
        raise InputError(
            f"{path} must hold the source, classes and splits of a run's data, and is damaged. Begin anew."
        )
    return record


def unknown_images(folder: PathLike) -> str:
    """Returns what is to be said of a run without such a record."""
    return f"{folder} did not note its images, for an earlier version began it: they and their splits may be others now"


def is_unfinished(folder: PathLike) -> bool:
    """Returns whether a folder holds a run that was begun and has not come to its end."""
    return (Path(folder) / CONFIG).is_file() and not (Path(folder) / RESULTS).is_file()


def clear(folder: PathLike) -> None:
    """Removes what an earlier run left in a folder, so that nothing of it is taken for the new one's.

    The configuration goes last: a folder that holds anything of a run is known as one, whenever the process is killed.
    """
    shutil.rmtree(Path(folder) / SAMPLES, ignore_errors=True)
    others = (*EXITS_FILES, GRADIENTS_PLOT)
    with files.writing(folder):
        for name in (*others, RESULTS, CHECKPOINT, HISTORY, CURVES, GRADIENTS, SUSPICIOUS, BEST, MODEL, DATA, CONFIG):
            (Path(folder) / name).unlink(missing_ok=True)


def save_model(model: InceptionModel, folder: PathLike, name: str = MODEL) -> None:
    """Writes the model whole or not at all: an earlier one stays until the new one is complete."""
    with files.written_aside(Path(folder) / name) as aside:
        model.save(aside)
