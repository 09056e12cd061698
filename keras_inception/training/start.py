"""How a training starts: in a free folder, or with the run that is there; and what is refused before it does."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_inception import files
from keras_inception.errors import InputError, counted
from keras_inception.training import checkpoint, runs
from keras_inception.training.config import TrainConfig, changes


@dataclass(frozen=True)
class Start:
    """How a training starts.

    Attributes:
        goes_on: Whether it goes on with the unfinished run in the folder.
        reopens: Whether it trains the finished run in the folder for more epochs.
        begins_anew: Whether that unfinished run ended before its first checkpoint.
    """

    goes_on: bool
    reopens: bool
    begins_anew: bool


def start_of(
    folder: Path, config: TrainConfig, *, resume: bool = False, overwrite: bool = False, chief: bool = True
) -> Start:
    """Returns how a training with these options starts.

    Raises:
        InputError: The folder has neither room for a new run nor the one to go on with. Only the chief finds out.
    """
    goes_on = not overwrite and runs.is_unfinished(folder)
    was, epochs = runs.begun(folder) if resume or goes_on else config, config.recipe.epochs
    trained = was.recipe.epochs
    if resume and not goes_on and (was.patience or was.max_minutes):  # it may have ended earlier
        with contextlib.suppress(InputError):  # damaged or missing
            trained = len(files.read_table(folder / runs.HISTORY, ("epoch",)))
    begins_anew = goes_on and not (folder / runs.CHECKPOINT).is_file()
    start = Start(goes_on, resume and not goes_on and epochs > trained, begins_anew)
    if not chief:
        return start
    if not start.goes_on and not start.reopens:
        if resume:
            raise InputError(
                f"{folder} holds a finished run of {counted(trained, 'epoch')}: there is nothing to go on "
                f"with. More `--epochs` train it further. Received: epochs={epochs}"
            )
        runs.check_free(folder, overwrite=overwrite)
        _check_weights(folder, config)
        return start
    different = changes(replace(was, recipe=replace(was.recipe, epochs=epochs)) if resume else was, config)
    if different and start.reopens:
        raise InputError(
            f"{folder} holds a finished run of another configuration: {different}. It goes on for more epochs as it "
            "was configured; to train it otherwise, begin another run with its `--weights`."
        )
    if different:
        raise InputError(
            f"{folder} holds an unfinished run of another configuration: {different}. Go on with it with "
            "`--resume`, replace it with `--overwrite`, or choose another folder with `--out`."
        )
    if start.reopens:
        _check_patience(folder, config, trained)
        return start
    _check_own(folder)
    kept = [name for name in (runs.HISTORY, runs.BEST, runs.MODEL) if (folder / name).exists()]
    if kept and begins_anew:
        raise InputError(
            f"{folder} lacks {runs.CHECKPOINT}, without which its run cannot go on, and would lose "
            f"{', '.join(kept)}. Bring it back, replace the run with `--overwrite`, or choose another folder "
            "with `--out`."
        )
    return start


def interrupted(folder: Path) -> str:
    """Returns what is saved of an interrupted training, and how it goes on."""
    saved = checkpoint.Progress()
    with contextlib.suppress(InputError, OSError):
        saved = checkpoint.progress(folder / runs.CHECKPOINT)
    if not saved.epoch and not saved.step:
        return f"interrupted before the first epoch was saved; begin it again with {runs.resuming(folder)}"
    return f"interrupted after {saved}; go on with {runs.resuming(folder)}"


def _check_weights(folder: Path, config: TrainConfig) -> None:
    """Refuses weights that lie in the folder, which a new run empties before its first epoch is trained."""
    weights = config.weights
    if weights is not None and Path(weights).resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"`weights` must not lie in the folder that is overwritten, or an interruption would lose them. Choose "
            f"another folder with `--out`. Received: weights={weights!r}"
        )


def _check_patience(folder: Path, config: TrainConfig, epochs: int) -> None:
    """Refuses a finished run that would end again before its first further epoch."""
    best = files.read_json(folder / runs.RESULTS).get("best")
    if checkpoint.Progress(epochs, best=best).is_over(config.patience, None):
        raise InputError(
            f"{folder} ended after {counted(epochs, 'epoch')}, of which epoch {best['epoch']} was the best, "
            "by its patience. It is trained further with `--patience off` or a larger one. "
            f"Received: patience={config.patience}"
        )


def _check_own(folder: Path) -> None:
    """Refuses, before the images are read, a checkpoint that is damaged or has not the losses of the run's history.

    That is written right after the checkpoint.
    """
    path = folder / runs.CHECKPOINT
    progress = checkpoint.progress(path)
    rows: list[dict[str, str]] = []
    with contextlib.suppress(InputError):  # a damaged or missing history is written anew
        rows = files.read_table(folder / runs.HISTORY, ("loss",))
    for epoch, (row, then) in enumerate(zip(rows, progress.history), 1):
        if not np.isclose(float(row["loss"]), then["loss"], rtol=1e-4):
            raise InputError(
                f"{path} must be that of this run, and its loss of epoch {epoch} is another than in "
                f"{runs.HISTORY}. Bring back the run's own; or remove {runs.HISTORY} if that was changed, and it "
                f"is written anew. Received: a loss of {then['loss']} for {row['loss']}"
            )
