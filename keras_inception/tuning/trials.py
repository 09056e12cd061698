"""The trials of a search: what is known of each, when one is stopped, and KerasTuner's tuners that do it."""

import contextlib
import math
import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from keras_inception import files
from keras_inception.tuning import oracles

CURVE = "curve.json"  # in the folder of a trial: the objective after each epoch of its last training
GRACE = 1 / 4  # of a trial's epochs, in which it may fall behind


@dataclass(frozen=True)
class Row:
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
    values: dict
    reason: str


def row_of(oracle, trial_id):
    """Returns the `Row` of a trial that ended."""
    trial, curve = oracle.trials[trial_id], Path(oracle._get_trial_dir(trial_id)) / CURVE
    completed = trial.status == TrialStatus.COMPLETED
    return Row(
        trial=trial_id,
        status=trial.status,
        score=float(trial.score) if completed else None,
        seconds=oracle.seconds.get(trial_id, float("nan")),
        epochs=len(files.read_json(curve)) if curve.is_file() else 0,
        values=dict(trial.hyperparameters.values),
        reason="" if completed else oracle.reasons.get(trial_id, "unknown"),
    )


def is_worker():
    """Returns whether this process is a worker of a search on several machines."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


class Tuner(keras_tuner.Tuner):
    """KerasTuner's, which stops hopeless trials, says why a trial fails, and as a worker shows signs of life.

    Attributes:
        deadline: When the trial that runs is stopped, in seconds of `time.monotonic`; None for never.
        pruning: Whether a trial is stopped that falls behind the others.
        on_row: Called with a `Row` after each epoch.
    """

    def __init__(self, oracle, hypermodel, **kwargs):
        keras_tuner.Tuner.__init__(self, oracle=oracle, hypermodel=hypermodel, **kwargs)
        self.deadline, self.pruning, self.on_row = None, False, lambda row: None

    def on_batch_end(self, trial, model, batch, logs=None):
        if self.deadline is not None and time.monotonic() > self.deadline:
            model.stop_training = True  # Keras validates what was trained

    def on_epoch_end(self, trial, model, epoch, logs=None):
        objective, epochs = self.oracle.objective, self.hypermodel.base.epochs
        # Each execution begins at the first epoch again, which for Hyperband need not be 0.
        curve = self._curve = [*(self._curve if self._epoch == epoch - 1 else []), float(objective.get_value(logs))]
        self._epoch = epoch
        path = Path(self.get_trial_dir(trial.trial_id)) / CURVE
        files.write_json(path, curve)
        self.on_row(
            Row(
                trial=trial.trial_id,
                status=trial.status,
                score=_best(curve, objective.direction),
                seconds=time.monotonic() - self._trial_begun,
                epochs=len(curve),
                values=dict(trial.hyperparameters.values),
                reason="",
            )
        )
        others = [files.read_json(other) for other in path.parents[1].glob(f"*/{CURVE}") if other != path]
        enough = epoch + 1 >= epochs * GRACE
        behind = self.pruning and enough and falls_behind(curve, others, objective.direction)
        nothing_to_gain = objective.name.endswith("accuracy") and curve[-1] == 1
        model.stop_training = model.stop_training or behind or nothing_to_gain

    def pre_create_trial(self):
        if is_worker():
            time.sleep(0.5)  # an idle worker asks again and again

    def run_trial(self, trial, *args, **kwargs):
        self._trial_begun, self._epoch, self._curve = time.monotonic(), None, []
        folder = Path(self.get_trial_dir(trial.trial_id))
        reason = folder / oracles.REASON
        for earlier in (reason, folder / CURVE):
            earlier.unlink(missing_ok=True)
        try:
            with self._signs_of_life(trial):
                return super().run_trial(trial, *args, **kwargs)
        except Exception as error:
            reason.write_text(f"{' '.join(str(error).split()) or type(error).__name__}"[:600], encoding="utf-8")
            raise

    def save(self):
        if not is_worker():
            self.oracle.save()
        files.write_json(self._get_tuner_fname(), self.get_state())

    @contextlib.contextmanager
    def _signs_of_life(self, trial):
        if not is_worker():
            yield
            return
        ended = threading.Event()

        def show():
            while not ended.wait(oracles.LOST_AFTER_SECONDS / 6):
                self.oracle.get_trial(trial.trial_id)

        threading.Thread(target=show, daemon=True).start()
        try:
            yield
        finally:
            ended.set()


class HyperbandTuner(Tuner, keras_tuner.Hyperband):
    """The same for Hyperband, which goes on with the weights of earlier trials."""


def falls_behind(curve, others, direction):
    """Returns whether a trial is worse than the median of the others at the same epoch, each taken at its best so far.

    Args:
        curve: The trial's objective after each epoch so far.
        others: The same of other trials; those that ended earlier do not count.
        direction: "max" or "min".
    """
    reached = [_best(other[: len(curve)], direction) for other in others if len(other) >= len(curve)]
    reached = [value for value in reached if not math.isnan(value)]
    if not reached:
        return False
    median, best = statistics.median(reached), _best(curve, direction)
    return best < median if direction == "max" else best > median


def _best(curve, direction):
    return max(curve) if direction == "max" else min(curve)
