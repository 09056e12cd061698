"""The trials of a search: what is known of each, when one is stopped, and KerasTuner's tuners that do it."""

import contextlib
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.errors import FailedTrialError, FatalError

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.tuning.processes import is_worker
from keras_inception.types import Logs

GRACE = 1 / 4  # of a trial's epochs, in which it may fall behind
HEARTBEAT_SECONDS = 10.0


@dataclass(frozen=True)
class TrialResult:
    """A trial, ended or running.

    Attributes:
        trial: Its id.
        status: "COMPLETED", "FAILED" or "RUNNING".
        score: The objective, of a running trial its best so far; None of a failed one.
        seconds: How long it took so far.
        epochs: How many it trained; fewer than it was given where it was stopped.
        values: Its hyperparameters by name.
        reason: Why it failed, or "".
    """

    trial: str
    status: str
    score: float | None
    seconds: float
    epochs: int
    values: dict[str, Any]
    reason: str


class TrialProgress:
    """What a trial leaves behind while it runs, in a file that the chief and all workers see.

    KerasTuner's workers tell their chief neither the epochs of a trial nor why it failed.

    Args:
        folder: The folder of the search.
        trial_id: The trial's id.
    """

    def __init__(self, folder: Path, trial_id: str) -> None:
        self._path = folder / "progress" / f"{trial_id}.json"

    def write(self, curve: Sequence[float], reason: str = "") -> None:
        """Writes how far the trial is.

        Args:
            curve: The objective after each epoch of the last training.
            reason: Why the trial failed, or "".
        """
        files.make_folder(self._path.parent)
        files.write_json(self._path, {"curve": list(curve), "reason": reason})

    def read(self) -> tuple[list[float], str]:
        """Returns what was written last, curve and reason.

        Raises:
            InputError: The file is damaged.
        """
        return _read_progress(self._path) if self._path.is_file() else ([], "")

    def others(self) -> list[list[float]]:
        """Returns the curves of the other trials."""
        return [_read_progress(path)[0] for path in self._path.parent.glob("[0-9]*.json") if path != self._path]


def _read_progress(path: Path) -> tuple[list[float], str]:
    found = files.read_json(path)
    try:
        curve = [math.nan if value is None else float(value) for value in found["curve"]]  # JSON has no NaN
        return curve, str(found["reason"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} must hold the curve of a trial, and is damaged. Remove it.") from error


@contextlib.contextmanager
def repeating(seconds: float, function: Callable[[], Any]) -> Iterator[None]:
    """Calls a function at intervals, in a thread of its own, while the context lasts.

    Args:
        seconds: The wall-clock time between two calls.
        function: Takes no arguments; what it returns is dropped.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            function()

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class DefectError(FatalError):
    """Ends a search because of a defect, its cause, which KerasTuner would count as a failed trial."""


class Tuner(keras_tuner.Tuner):
    """KerasTuner's, which stops trials that fall behind, records why one fails, and tells the chief that it lives.

    Args:
        oracle: One of `oracles`.
        hypermodel: A `GoogLeNetHyperModel`.
        deadline: When the trial that runs is stopped, in seconds of `time.monotonic`; None for never.
        pruning: Whether a trial is stopped that falls behind the others.
        on_epoch: Called with a `TrialResult` after each epoch.
        **kwargs: Others of KerasTuner's.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: keras_tuner.HyperModel,
        *,
        deadline: float | None = None,
        pruning: bool = False,
        on_epoch: Callable[[TrialResult], None] = lambda result: None,
        **kwargs: Any,
    ) -> None:
        keras_tuner.Tuner.__init__(self, oracle=oracle, hypermodel=hypermodel, **kwargs)  # Hyperband's makes an oracle
        self._deadline, self._pruning, self._on_epoch = deadline, pruning, on_epoch
        self._trial_begun, self._epoch = 0.0, -1
        self._curve: list[float] = []

    def on_batch_end(self, trial: Any, model: keras.Model, batch: int, logs: Logs | None = None) -> None:
        """Stops the trial when its time is up; Keras then validates what was trained."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            model.stop_training = True

    def on_epoch_end(self, trial: Any, model: keras.Model, epoch: int, logs: Logs | None = None) -> None:
        """Records the objective, and stops a trial that falls behind or that has reached an accuracy of 1.

        Raises:
            keras_tuner.errors.FailedTrialError: The objective is not finite.
        """
        objective = self.oracle.objective
        # Each execution begins at the first epoch again, which for Hyperband need not be 0.
        value = float(objective.get_value(logs))
        if not math.isfinite(value):
            raise FailedTrialError(f"diverged: {objective.name} became {value}")
        curve = self._curve = [*(self._curve if self._epoch == epoch - 1 else []), value]
        self._epoch = epoch
        progress = TrialProgress(Path(self.project_dir), trial.trial_id)
        progress.write(curve)
        score, seconds = _best(curve, objective.direction), time.monotonic() - self._trial_begun
        values = dict(trial.hyperparameters.values)
        self._on_epoch(TrialResult(trial.trial_id, trial.status, score, seconds, len(curve), values, ""))
        enough = epoch + 1 >= self.hypermodel.base.recipe.epochs * GRACE
        behind = self._pruning and enough and falls_behind(curve, progress.others(), objective.direction)
        if behind or (objective.name.endswith("accuracy") and curve[-1] == 1):
            model.stop_training = True

    def pre_create_trial(self) -> None:
        """Lets an idle worker wait before it asks again."""
        if is_worker():
            time.sleep(0.5)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs a trial; see `keras_tuner.Tuner`.

        Raises:
            keras_tuner.errors.FailedTrialError: The trial failed; the search goes on.
            keras_tuner.errors.FatalError: No trial can run.
            DefectError: What no trial should raise; it ends the search.
        """
        self._trial_begun, self._epoch, self._curve = time.monotonic(), -1, []
        progress = TrialProgress(Path(self.project_dir), trial.trial_id)
        progress.write([])
        heartbeat = repeating(HEARTBEAT_SECONDS, lambda: self.oracle.get_trial(trial.trial_id))
        try:
            with heartbeat if is_worker() else contextlib.nullcontext():
                return super().run_trial(trial, *args, **kwargs)
        except FailedTrialError as error:
            progress.write(self._curve, " ".join(str(error).split())[:600])
            raise
        except FatalError:
            raise
        except Exception as error:
            raise DefectError(str(error)) from error

    def save(self) -> None:
        """Writes nothing: the oracle keeps a journal."""


class HyperbandTuner(Tuner, keras_tuner.Hyperband):
    """The same for Hyperband, which goes on with the weights of earlier trials."""


def falls_behind(curve: Sequence[float], others: Sequence[Sequence[float]], direction: str) -> bool:
    """Returns whether a trial is worse than the median of the others at the same epoch, each taken at its best so far.

    Args:
        curve: The trial's objective after each epoch so far.
        others: The same of other trials; those that ended earlier do not count.
        direction: "max" or "min".
    """
    reached = [_best(other[: len(curve)], direction) for other in others if len(other) >= len(curve)]
    if not reached:
        return False
    median, best = statistics.median(reached), _best(curve, direction)
    return best < median if direction == "max" else best > median


def _best(curve: Sequence[float], direction: str) -> float:
    return max(curve) if direction == "max" else min(curve)
