"""KerasTuner's oracles with a journal, so that a kill at any moment costs no more than the trials under way.

KerasTuner 1.4.8 writes its files in place, runs a finished trial again when it is killed just behind it, forgets where
a grid search stood, and waits for ever for a worker that was killed. No public method changes that. So its files are
not read: each trial that begins and each that ends is written into a journal of ours, and a search that goes on tells
it to a new oracle by `create_trial`, `update_trial` and `end_trial`. Given up is what only KerasTuner's private queue
can do: the trial of a lost worker fails, and is not given to another worker.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.rules import is_number
from keras_inception.tuning.trials import TrialProgress, TrialResult

FAILURES = 10  # in a row, which end a search
JOURNAL = "journal.json"


class _Journaled(keras_tuner.Oracle):
    """What is added to each oracle.

    Args:
        folder: KerasTuner's folder of the search.
        trial_limit: How many trials begin at most.
        seed: Seed of the values; what a search draws that goes on differs from what it drew before.
        deadline: When no further trial begins, in seconds of `time.monotonic`; None for never.
        on_end: Called with the `TrialResult` of each trial that ended.
        **kwargs: KerasTuner's.

    Attributes:
        results: The trials that ended, in their order.
    """

    _has_plan = False  # Whether `populate_space` must see also the trials of earlier runs.

    def __init__(
        self,
        folder: Path,
        *,
        trial_limit: int,
        seed: int,
        deadline: float | None = None,
        on_end: Callable[[TrialResult], None] = lambda result: None,
        **kwargs: Any,
    ) -> None:
        self._folder = folder
        self._journal = _read_journal(folder / JOURNAL) if (folder / JOURNAL).is_file() else []
        # KerasTuner takes 0 for none. A large stride, since it counts on from the seed.
        seed = (seed + 1 + 1_000_003 * len(self._journal)) % 2**32
        super().__init__(seed=seed, max_consecutive_failed_trials=None, **kwargs)
        self.verbose = 0  # without KerasTuner's own tables
        self._trial_limit, self._deadline, self._on_end = trial_limit, deadline, on_end
        self.results: list[TrialResult] = []
        self._told: dict[str, Any] | None = None  # the values of a trial of an earlier run
        self._begun: dict[str, float] = {}  # by trial
        self._seen: dict[str, float] = {}  # the last heartbeat by worker

    @property
    def failing(self) -> bool:
        """Whether the last ten trials failed."""
        last = self.results[-FAILURES:]
        return len(last) == FAILURES and all(result.score is None for result in last)

    @property
    def out_of_time(self) -> bool:
        """Whether the budget of time is spent, or what is left of it less than a quarter of the longest trial."""
        if self._deadline is None or not self.results:
            return False
        return time.monotonic() + max(result.seconds for result in self.results) / 4 > self._deadline

    def replay(self) -> None:
        """Tells the oracle, whose space is known, what happened in earlier runs of the search."""
        names = {item.name for item in self.get_space().space}
        for event in self._journal:
            if not names <= event["values"].keys() or event.get("trial", "") not in {"", *self.trials}:
                raise _damaged(self._folder / JOURNAL)
            if "begins" in event:
                self._told = event["values"]
                super().create_trial(event["tuner"])
                self._told = None
                continue
            result = TrialResult(**event)
            if result.score is not None:
                super().update_trial(result.trial, {self.objective.name: result.score})
            super().end_trial(Trial(self.trials[result.trial].hyperparameters, result.trial, result.status))
            self.results.append(result)
        self._seen = dict.fromkeys(self.tuner_ids, time.monotonic())

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Returns the trial that a tuner runs next; see `keras_tuner.Oracle`."""
        self._seen[tuner_id] = time.monotonic()
        begins = tuner_id not in self.ongoing_trials
        if begins and (self.failing or self.out_of_time or len(self.trials) >= self._trial_limit):
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), "none", TrialStatus.STOPPED)
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._begun[trial.trial_id] = time.monotonic()
            if begins:
                values = dict(trial.hyperparameters.values)
                self._note({"begins": trial.trial_id, "tuner": tuner_id, "values": values})
        return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the values of a new trial; those of the first one are the recipe's own."""
        if self._told is not None:
            if self._has_plan:
                super().populate_space(trial_id)
            return {"status": TrialStatus.RUNNING, "values": dict(self._told)}
        first, response = not self.trials, super().populate_space(trial_id)
        if first:
            space = self.get_space()
            response["values"] |= {item.name: item.default for item in space.space if space.is_active(item)}
        return response

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:
        """Notes that a trial ended; see `keras_tuner.Oracle`. A trial that was given up has ended before."""
        if trial.trial_id not in {ongoing.trial_id for ongoing in self.ongoing_trials.values()}:
            return
        super().end_trial(trial)
        trial = self.trials[trial.trial_id]
        completed = trial.status == TrialStatus.COMPLETED
        curve, reason = TrialProgress(self._folder, trial.trial_id).read()
        now = time.monotonic()
        result = TrialResult(
            trial.trial_id,
            trial.status,
            float(trial.score) if completed else None,
            now - self._begun.get(trial.trial_id, now),
            len(curve),
            dict(trial.hyperparameters.values),
            "" if completed else reason or trial.message or "the objective is not a number",
        )
        self.results.append(result)
        self._note(asdict(result))
        self._on_end(result)

    def get_trial(self, trial_id: str) -> Any:
        """Returns a trial; a worker that asks for its own is alive."""
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.trial_id == trial_id:
                self._seen[tuner_id] = time.monotonic()
        return super().get_trial(trial_id)

    def silent(self, seconds: float) -> list[str]:
        """Returns the tuners that sent no heartbeat for so long."""
        latest = time.monotonic() - seconds
        return [tuner_id for tuner_id in list(self.tuner_ids) if self._seen[tuner_id] < latest]

    @keras_tuner.synchronized
    def give_up(self, tuner_ids: Iterable[str]) -> None:
        """Fails the trials of some tuners, and waits for them no more; one that comes back gets another trial."""
        for tuner_id in tuner_ids:
            trial = self.ongoing_trials.get(tuner_id)
            if trial is not None:
                self.end_trial(Trial(trial.hyperparameters, trial.trial_id, TrialStatus.FAILED, "its worker was lost"))
            self.tuner_ids.discard(tuner_id)

    def save(self) -> None:
        """Writes nothing: the journal is written when a trial begins or ends."""

    def _note(self, event: dict[str, Any]) -> None:
        self._journal.append(event)
        files.write_json(self._folder / JOURNAL, self._journal)


def _read_journal(path: Path) -> list[dict[str, Any]]:
    begins, ends = {"begins", "tuner", "values"}, {field.name for field in fields(TrialResult)}
    journal = files.read_json(path)
    for event in journal if isinstance(journal, list) else [None]:
        if not (
            isinstance(event, dict)
            and (set(event) == begins or (set(event) == ends and (event["score"] is None or is_number(event["score"]))))
            and isinstance(event["values"], dict)
        ):
            raise _damaged(path)
    return journal


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} must hold the trials of the search, and is damaged. Begin anew with `--overwrite`.")


class RandomOracle(_Journaled, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(_Journaled, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization."""


class HyperbandOracle(_Journaled, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""

    _has_plan = True


class GridOracle(_Journaled, keras_tuner.oracles.GridSearchOracle):
    """Grid search."""

    _has_plan = True
