"""Checkpoints: all that a training needs to go on as if it had never been interrupted, in one file.

The file is a NumPy archive of the variables of model, optimizer (with its moving average of the weights) and metrics,
dropout's random state included, and of the progress as JSON. It is written aside and renamed into place: at every
moment the last checkpoint is whole.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.errors import InputError, counted
from keras_inception.network.model import InceptionModel
from keras_inception.types import Array

PROGRESS: str = "progress"

# What is kept of a model, by group. The metrics are kept within an epoch alone: `fit` resets them when one begins.
VARIABLES: dict[str, Callable[[InceptionModel], list[Any]]] = {
    "model": lambda model: model.variables,
    "optimizer": lambda model: model.optimizer.variables,
    "metrics": lambda model: model.metrics_variables,
}


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: The epoch that is next or under way, from 0.
        step: How many steps of it are done.
        history: The losses and metrics of each finished epoch, a dict of floats each.
        best: The epoch, from 1, with the highest `val_main_accuracy` so far, and that accuracy; None without one.
        seconds: How long it has trained, validation and saving included.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        """Returns how far it has come in words, such as "1 epoch and 3 steps"."""
        steps = f" and {counted(self.step, 'step')}" if self.step else ""
        return f"{counted(self.epoch, 'epoch')}{steps}"

    def is_over(self, patience: int | None, max_minutes: float | None) -> bool:
        """Returns whether the training ends before its last epoch; see `TrainConfig`."""
        waited = self.epoch - self.best["epoch"] if self.best else 0
        return (patience is not None and waited >= patience) or (
            max_minutes is not None and self.seconds >= 60 * max_minutes
        )


def write(path: Path, model: InceptionModel, state: Progress, *, metrics: bool = False) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
        path: A path that ends in `.npz`.
        model: A compiled model whose optimizer is built.
        state: How far its training has come.
        metrics: Whether to write the metrics too, for a checkpoint within an epoch. Under several workers, reading
            them takes all workers.

    Raises:
        OSError: The disk is full or the folder read-only; the previous checkpoint is whole.
    """
    arrays: dict[str, Any] = {PROGRESS: np.asarray(json.dumps(asdict(state)))}
    groups = ("model", "optimizer", "metrics") if metrics else ("model", "optimizer")
    for group in groups:
        for index, variable in enumerate(VARIABLES[group](model)):
            arrays[f"{group}/{index}/{variable.path}"] = np.asarray(variable)
    with files.written_aside(path) as aside, open(aside, "wb") as file:
        np.savez(file, **arrays)


def progress(path: Path) -> Progress:
    """Returns the progress of a checkpoint, or that of a training not yet begun where there is none.

    Raises:
        InputError: The file is damaged.
    """
    if not path.is_file():
        return Progress()
    try:
        return Progress(**json.loads(str(_read(path)[PROGRESS])))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise _damaged(path, error) from error


def restore(path: Path, model: InceptionModel, *groups: str) -> None:
    """Sets a model, which was compiled as the one that was written, to a checkpoint.

    Args:
        path: What `write` wrote.
        model: The model.
        *groups: What is set, of `VARIABLES`; metrics must be built, and stay as they are where the checkpoint has none.

    Raises:
        InputError: The file is damaged, or was written by another model.
    """
    arrays = _read(path)
    for group in groups:
        variables = VARIABLES[group](model)
        stored = {int(key.split("/")[1]): value for key, value in arrays.items() if key.startswith(f"{group}/")}
        if group == "metrics" and not stored:
            return
        shapes = {index: tuple(variable.shape) for index, variable in enumerate(variables)}
        if {index: value.shape for index, value in stored.items()} != shapes:
            raise InputError(
                f"{path} must hold the {len(variables)} variables of this {group}, shape by shape. It was written by "
                f"another network or version. Received: {len(stored)} variables"
            )
        for index, variable in enumerate(variables):
            variable.assign(stored[index])


def _read(path: Path) -> dict[str, Array]:
    file = io.BytesIO(path.read_bytes())  # from here on no error is the disk's
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        RuntimeError,
        MemoryError,
        OSError,
    ) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged and cannot be read ({error}); begin anew with `--overwrite`.")
