"""The journal of a search: what was finished stays, what was interrupted runs again, whatever KerasTuner forgets."""

import keras_tuner
import pytest

from keras_inception.tuning import OBJECTIVE, oracles
from keras_inception.tuning.trials import Tuner, falls_behind


class Nine(keras_tuner.HyperModel):
    """A space of nine points."""

    def build(self, hp):
        for name in ("a", "b"):
            hp.Choice(name, [0.0, 1.0, 2.0])


KINDS = {
    "random": (oracles.RandomOracle, {"max_trials": None}),
    "bayesian": (oracles.BayesianOracle, {"max_trials": None, "num_initial_points": 3}),
    "grid": (oracles.GridOracle, {"max_trials": None}),
    "hyperband": (oracles.HyperbandOracle, {"max_epochs": 4, "factor": 2}),
}


@pytest.fixture
def oracle_of(tmp_path):
    """Returns `oracle_of(kind, **options)`: the oracle of a search that begins or goes on in a folder."""

    def begin(kind="random", **options):
        oracle_class, own = KINDS[kind]
        options = {"trial_limit": 20, "seed": 0, "objective": OBJECTIVE, **own, **options}
        oracle = oracle_class(tmp_path / "trials", **options)
        Tuner(oracle, Nine(), directory=str(tmp_path), project_name="trials")
        oracle.verbose = 0
        oracle.replay()
        return oracle

    return begin


def finish(oracle, trial, score=0.5):
    oracle.update_trial(trial.trial_id, {"val_main_accuracy": score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_finished_is_not_run_again_and_what_was_interrupted_is(kind, oracle_of):
    oracle = oracle_of(kind)
    first = oracle.create_trial("tuner0")
    assert {name: first.hyperparameters.values[name] for name in "ab"} == {"a": 0.0, "b": 0.0}  # the defaults
    finish(oracle, first, 0.5)
    finish(oracle, oracle.create_trial("tuner0"), 0.75)
    interrupted = oracle.create_trial("tuner0")
    oracle.update_trial(interrupted.trial_id, {"val_main_accuracy": 0.1})  # killed before its end was written

    again = oracle_of(kind)
    assert [result.score for result in again.results] == [0.5, 0.75]
    trial = again.create_trial("tuner0")
    assert trial.trial_id == interrupted.trial_id
    assert trial.hyperparameters.values == interrupted.hyperparameters.values
    finish(again, trial, 0.9)
    assert again.get_best_trials()[0].score == 0.9  # nothing of the interrupted run is left in it
    following = again.create_trial("tuner0")
    assert (following.status, int(following.trial_id)) == ("RUNNING", 3)
    tried = {tuple(trial.hyperparameters.values.items()) for trial in again.trials.values()}
    assert len(tried) == 4 or kind == "bayesian"  # which may try the best point again
    finish(again, following)
    assert len(oracle_of(kind).results) == 4


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_a_search_that_goes_on_each_time_tries_all_points_once(kind, oracle_of):
    for _ in range(9):
        oracle = oracle_of(kind)
        finish(oracle, oracle.create_trial("tuner0"))
    oracle = oracle_of(kind)
    assert len({tuple(result.values.items()) for result in oracle.results}) == 9
    assert oracle.create_trial("tuner0").status == "STOPPED"


def test_no_more_trials_begin_than_are_allowed_also_after_an_interruption(oracle_of):
    finish(oracle := oracle_of(trial_limit=1), oracle.create_trial("tuner0"))
    assert oracle.create_trial("tuner0").status == "STOPPED"
    assert oracle_of(trial_limit=1).create_trial("tuner0").status == "STOPPED"
    assert oracle_of(trial_limit=2).create_trial("tuner0").status == "RUNNING"


def test_a_worker_that_is_lost_costs_its_trial_and_not_the_search(oracle_of, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(oracles.time, "monotonic", lambda: now)
    oracle = oracle_of()
    lost, kept = oracle.create_trial("worker0"), oracle.create_trial("worker1")
    now += 50
    oracle.get_trial(kept.trial_id)  # a heartbeat
    assert oracle.silent(60) == []
    now += 20
    assert oracle.silent(60) == ["worker0"]
    oracle.give_up(oracle.silent(60))
    assert [(row.trial, row.status, row.reason) for row in oracle.results] == [
        (lost.trial_id, "FAILED", "its worker was lost")
    ]
    finish(oracle, lost)  # of a worker that was only slow
    assert len(oracle.results) == 1
    finish(oracle, kept)
    assert oracle.create_trial("worker0").status == "RUNNING"  # it came back
    assert set(oracle.tuner_ids) == {"worker0", "worker1"}


def test_a_worker_that_comes_back_under_its_name_gets_its_trial_again(oracle_of):
    trial = oracle_of().create_trial("worker0")
    chief = oracle_of()
    assert chief.create_trial("worker1").trial_id != trial.trial_id
    assert chief.create_trial("worker0").trial_id == trial.trial_id


def test_no_trial_begins_that_would_end_behind_the_budget(oracle_of):
    oracle = oracle_of(deadline=0.0)  # long ago
    finish(oracle, oracle.create_trial("tuner0"))  # the first one always runs
    assert oracle.create_trial("tuner0").status == "STOPPED"


@pytest.mark.parametrize(
    ("curve", "others", "direction", "behind"),
    [
        ([0.5], [], "max", False),  # nothing to compare with
        ([0.5, 0.6], [[0.9]], "max", False),  # the other ended before
        ([0.5, 0.6], [[0.7, 0.4]], "max", True),  # each counts with its best so far
        ([0.7, 0.1], [[0.7, 0.4]], "max", False),  # no worse than the median
        ([0.5], [[0.4], [0.6], [0.9]], "max", True),
        ([0.6], [[0.4], [0.6], [0.9]], "max", False),
        ([0.5], [[0.4], [0.6], [0.9]], "min", False),
        ([0.7], [[0.4], [0.6], [0.9]], "min", True),
        ([0.5], [[float("nan")]], "max", False),
    ],
)
def test_a_trial_falls_behind_when_its_best_is_worse_than_the_median_of_the_others(curve, others, direction, behind):
    assert falls_behind(curve, others, direction) is behind
