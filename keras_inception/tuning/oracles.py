"""KerasTuner's oracles, so that a kill at any moment, or a worker that does not come back, costs one trial's time.

KerasTuner 1.4.8 writes its files in place, runs a finished trial again when it is killed just behind it, forgets where
a grid search stood, and waits for ever for a worker that was killed.
"""

import time
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_inception import files

ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
FAILURES = 10  # in a row, which end a search
LOST_AFTER_SECONDS = 60.0
REASON = "failure.txt"  # in the folder of a trial; gRPC does not carry it


class _Lasting:
    """What is added to each oracle.

    Attributes:
        deadline: When no further trial begins, in seconds of `time.monotonic`; None for never.
        on_end: Called with each trial that ended.
        seconds: How long each trial took, by its id.
        reasons: Why trials failed, by their ids.
    """

    def __init__(self, **kwargs):
        super().__init__(objective=kwargs.pop("objective"), max_consecutive_failed_trials=None, **kwargs)
        self.deadline = None
        self.on_end = lambda trial: None
        self.seconds, self.reasons = {}, {}
        self._begun, self._seen = {}, {}  # the last sign of life of each worker, and of each trial

    @property
    def failing(self):
        """Whether the last ten trials failed."""
        last = [self.trials[trial_id].status for trial_id in self.end_order[-FAILURES:]]
        return last == [TrialStatus.FAILED] * FAILURES

    @property
    def out_of_time(self):
        """Whether the budget of time is spent, or what is left of it less than a quarter of the longest trial."""
        if self.deadline is None or not self.seconds:
            return False
        return time.monotonic() + max(self.seconds.values()) / 4 > self.deadline

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        self._seen[tuner_id] = time.monotonic()
        if tuner_id not in self.ongoing_trials and (self.failing or self.out_of_time):
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), "none", TrialStatus.STOPPED)
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            trial.metrics = type(trial.metrics)()  # of a run that was interrupted
            self._begun[trial.trial_id] = self._seen[trial.trial_id] = time.monotonic()
        elif trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            self.tuner_ids.add(tuner_id)  # whose help is needed if another worker is lost
            trial.status = TrialStatus.IDLE
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial):
        trial_id = trial.trial_id
        if trial_id not in {ongoing.trial_id for ongoing in self.ongoing_trials.values()}:
            return  # of a worker that was taken for lost
        self.seconds[trial_id] = time.monotonic() - self._begun[trial_id]
        path = Path(self._get_trial_dir(trial_id)) / REASON
        if trial.status != TrialStatus.COMPLETED and path.is_file():
            self.reasons[trial_id] = path.read_text(encoding="utf-8")
        super().end_trial(trial)
        trial = self.trials[trial_id]
        if trial.status == TrialStatus.FAILED:
            self.reasons.setdefault(trial_id, "the objective is not a number")
        self.on_end(trial)

    def get_trial(self, trial_id):
        self._seen[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def forget_lost(self, after=LOST_AFTER_SECONDS):
        """Gives the trials of workers that showed no sign of life to others."""
        latest = time.monotonic() - after
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if self._seen[trial.trial_id] < latest:
                del self.ongoing_trials[tuner_id]
                self._retry_queue.append(trial.trial_id)
                self.tuner_ids.discard(tuner_id)
                self.save()
        for tuner_id in [*self.tuner_ids]:
            if tuner_id not in self.ongoing_trials and self._seen.get(tuner_id, 0) < latest:
                self.tuner_ids.discard(tuner_id)

    def get_state(self):
        return {**super().get_state(), "seconds": self.seconds, "reasons": self.reasons}

    def set_state(self, state):
        super().set_state(state)
        self.seconds, self.reasons = state["seconds"], state["reasons"]

    def save(self):
        files.write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        files.write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):  # killed before the oracle knew of it
            del self.trials[trial_id]
        ended = [trial_id for trial_id in self.start_order if self.trials[trial_id].status in ENDED]
        self.end_order += [trial_id for trial_id in ended if trial_id not in self.end_order]
        self._retry_queue = [trial_id for trial_id in self.start_order if trial_id not in ended]

    def _random_values(self):
        """Begins with the recipe's own values."""
        if self.trials:
            return super()._random_values()
        space = self.get_space()
        return {item.name: item.default for item in space.space if space.is_active(item)}


class RandomOracle(_Lasting, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(_Lasting, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization."""


class HyperbandOracle(_Lasting, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""


class GridOracle(_Lasting, keras_tuner.oracles.GridSearchOracle):
    """Grid search, which knows after a reload where it stood."""

    def reload(self):
        super().reload()
        before = None
        for trial_id in self.start_order:  # which is the order of the grid, or nearly
            self._ordered_ids.insert(trial_id, before)
            before = trial_id
        self._populate_next = list(self.start_order)
