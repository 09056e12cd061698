"""Searches on a dataset: files, table, kills, refusals, failures."""

import csv
import dataclasses
import io
import json
import types

import keras_tuner
import pytest
from PIL import Image

from keras_inception import TrainConfig
from keras_inception.cli import main, tune
from keras_inception.plots import trials as plots
from keras_inception.tuning import oracles, trials
from keras_inception.tuning import search as searches
from keras_inception.tuning.search import search
from keras_inception.tuning.trials import Row


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of dark and of light pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for name, least in (("dark", 0), ("light", 150)):
        (root / name).mkdir()
        for index in range(20):
            Image.new("RGB", (10, 10), (least + 5 * index, least + index, least)).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def base(pictures, tmp_path):
    """A file with the training that is not searched."""
    path = tmp_path / "base.json"
    path.write_text(json.dumps({"architecture": "tiny", "epochs": 1, "dataset": str(pictures), "batch_size": 16}))
    return path


SPACE = ["aux1_weight", "learning_rate", "width"]


@pytest.mark.slow
def test_a_search_writes_what_the_design_names_and_best_json_trains(base, tmp_path, capsys):
    command = ["tune", "--config", str(base), "--out", str(tmp_path / "found"), "--search", *SPACE]
    assert main([*command, "--max-trials", "2", "--hours", "1"]) == 0
    out = capsys.readouterr().out
    assert "32 train, 4 validation images of 2 classes, 10x10" in out
    assert out.count("aux1_weight=") == 2
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert names == {"search.json", "results.csv", "best.json", "parallel.png", "importance.png", "trials"}
    with open(tmp_path / "found" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["COMPLETED", "COMPLETED"]
    assert (rows[0]["aux1_weight"], rows[0]["learning_rate"], rows[0]["width"]) == ("0.3", "0.0005", "1.0")
    assert [row["epochs"] for row in rows] == ["1", "1"]
    best = TrainConfig.from_file(tmp_path / "found" / "best.json")
    assert max(float(row["val_main_accuracy"]) for row in rows) >= float(rows[0]["val_main_accuracy"])
    assert (best.epochs, best.image_size) == (1, 10)

    # The same command has nothing left to do, and another one is told what differs.
    assert main([*command, "--max-trials", "2", "--hours", "1"]) == 0
    assert capsys.readouterr().out.count("aux1_weight=") == 2
    assert main([*command, "width", "dropout", "--max-trials", "2"]) == 2
    assert "holds another search: space: dropout was not there and is min_value 0.0" in capsys.readouterr().err
    assert main([*command, "--max-trials", "2", "--epochs", "3"]) == 2
    assert "holds another search: training: epochs was 1 and is 3. Go on with the" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-trials", "0"], "`max_trials` must be a whole number of at least 1. Received: max_trials=0"),
        (["--hours", "-1"], "`hours` must be a number above 0, or None for no limit. Received: hours=-1.0"),
        (["--executions", "0"], "`executions` must be a whole number of at least 1"),
        (["--objective", "val_mian_accuracy"], "`objective` must be one of val_main_accuracy, "),
        (["--search", "droput"], "`space` must hold names of what a training can vary"),
    ],
)
def test_bad_input_is_one_line(options, message, base, tmp_path, capsys):
    assert main(["tune", "--config", str(base), "--out", str(tmp_path / "found"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "found").exists()


def test_a_folder_of_something_else_is_refused(base, tmp_path, capsys):
    assert main(["tune", "--config", str(base), "--out", str(tmp_path)]) == 2
    assert "A search needs an empty folder, and this one holds something else" in capsys.readouterr().err


def test_failed_trials_are_recorded_and_ten_in_a_row_end_the_search(base, tmp_path, monkeypatch):
    reasons = ["out of memory: too large", "diverged: NaN"]

    def fail(self, hp, model, *args, **kwargs):
        raise keras_tuner.errors.FailedTrialError(reasons[len(rows) % 2])

    rows = []
    monkeypatch.setattr(searches._OnDataset, "fit", fail)
    monkeypatch.setattr(searches._OnDataset, "build", lambda self, hp: self.config(hp))
    monkeypatch.setattr(trials.Tuner, "_try_build", lambda self, hp: None)
    with pytest.raises(searches.SearchFailedError, match=r"the last 10 trials failed, .*5 times: out of memory"):
        search(
            TrainConfig.from_file(base), tmp_path / "found", space=SPACE, tuner="random", max_trials=12,
            on_trial=rows.append,
        )  # fmt: skip
    assert len(rows) == oracles.FAILURES
    assert {row.reason for row in rows} == set(reasons)
    with open(tmp_path / "found" / "results.csv", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["FAILED"] * 10


def oracle_of(kind, folder, **options):
    oracle = kind(objective=searches.OBJECTIVE, seed=1, **options)
    hp = keras_tuner.HyperParameters()
    for name in ("a", "b"):
        hp.Choice(name, [0.0, 1.0, 2.0])
    oracle.update_space(hp)
    oracle._set_project_dir(str(folder), "trials")
    oracle.verbose = 0
    return oracle


def finish(oracle, trial, score=0.5):
    oracle.update_trial(trial.trial_id, {"val_main_accuracy": score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


KINDS = {
    "random": (oracles.RandomOracle, {"max_trials": 20}),
    "bayesian": (oracles.BayesianOracle, {"max_trials": 20, "num_initial_points": 3}),
    "grid": (oracles.GridOracle, {"max_trials": 20}),
    "hyperband": (oracles.HyperbandOracle, {"max_epochs": 4, "factor": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_finished_is_not_run_again_and_what_was_interrupted_is(kind, tmp_path):
    oracle = oracle_of(KINDS[kind][0], tmp_path, **KINDS[kind][1])
    finished = [oracle.create_trial("tuner0") for _ in range(1)]
    finish(oracle, finished[0])
    second = oracle.create_trial("tuner0")
    finish(oracle, second, 0.75)
    interrupted = oracle.create_trial("tuner0")
    oracle.update_trial(interrupted.trial_id, {"val_main_accuracy": 0.1})  # killed before its end was recorded

    again = oracle_of(KINDS[kind][0], tmp_path, **KINDS[kind][1])
    again.reload()
    trial = again.create_trial("tuner0")
    assert trial.trial_id == interrupted.trial_id
    assert trial.hyperparameters.values == interrupted.hyperparameters.values
    finish(again, trial, 0.9)
    assert again.trials[trial.trial_id].score == 0.9  # nothing of the interrupted run is left in it
    following = again.create_trial("tuner0")
    assert following.status == "RUNNING"
    assert following.trial_id not in {finished[0].trial_id, second.trial_id, trial.trial_id}
    tried = {tuple(trial.hyperparameters.values.items()) for trial in again.trials.values()}
    assert len(tried) == 4


def test_a_kill_just_behind_a_trial_does_not_run_it_again(tmp_path):
    oracle = oracle_of(oracles.RandomOracle, tmp_path, max_trials=3)
    trial = oracle.create_trial("tuner0")
    before = (tmp_path / "trials" / "oracle.json").read_text()
    finish(oracle, trial)
    (tmp_path / "trials" / "oracle.json").write_text(before)  # its own file was written, the oracle's was not
    again = oracle_of(oracles.RandomOracle, tmp_path, max_trials=3)
    again.reload()
    assert again.create_trial("tuner0").trial_id != trial.trial_id
    assert again.end_order == [trial.trial_id]


def test_the_trial_of_a_lost_worker_goes_to_another_one(tmp_path):
    oracle = oracle_of(oracles.RandomOracle, tmp_path, max_trials=1)
    lost = oracle.create_trial("worker0")
    assert oracle.create_trial("worker1").status == "IDLE"  # it may be needed
    oracle.forget_lost(after=60)
    assert oracle.create_trial("worker1").status == "IDLE"
    oracle._seen[lost.trial_id] -= 100
    oracle.forget_lost(after=60)
    trial = oracle.create_trial("worker1")
    assert (trial.status, trial.trial_id) == ("RUNNING", lost.trial_id)
    finish(oracle, trial)
    assert oracle.create_trial("worker1").status == "STOPPED"
    assert not oracle.ongoing_trials
    assert not oracle.tuner_ids


def test_no_trial_begins_that_would_end_behind_the_budget(tmp_path):
    oracle = oracle_of(oracles.RandomOracle, tmp_path, max_trials=3)
    oracle.deadline = 0.0  # long ago
    trial = oracle.create_trial("tuner0")  # the first one always runs
    assert trial.status == "RUNNING"
    finish(oracle, trial)
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
    assert trials.falls_behind(curve, others, direction) is behind


@pytest.fixture
def scripted(base, tmp_path, monkeypatch):
    """Returns `scripted(*curves, **options)`: a search whose trainings only play curves; its rows, and those shown."""

    def run(*curves, **options):
        playing = iter(curves)

        def fit(self, hp, model, *, epochs, callbacks, **kwargs):
            for callback in callbacks:
                callback.set_model(model)
            for epoch, value in enumerate(curve := next(playing)):
                for callback in callbacks:
                    callback.on_epoch_begin(epoch)
                    callback.on_train_batch_end(0)
                    callback.on_epoch_end(epoch, {"val_main_accuracy": value})
                if model.stop_training:
                    break
            return {"val_main_accuracy": max(curve[: epoch + 1])}

        monkeypatch.setattr(searches._OnDataset, "fit", fit)
        config = dataclasses.replace(TrainConfig.from_file(base), epochs=4)
        rows, shown = [], []
        space = {"aux1_weight": [0.0, 0.3], "learning_rate": [0.001, 0.01]}
        search(config, tmp_path / "found", space=space, on_epoch=shown.append, on_trial=rows.append, tuner="random",
               max_trials=options.pop("max_trials", len(curves)), **options)  # fmt: skip
        return rows, shown

    return run


CURVES = [0.5, 0.6, 0.7, 0.8], [0.5, 0.5, 0.9, 0.9], [0.4, 0.9, 0.9, 0.9]


def test_a_trial_that_falls_behind_is_stopped_after_a_quarter_of_its_epochs_at_the_earliest(scripted, tmp_path):
    rows, shown = scripted(*CURVES)
    assert [(row.epochs, row.score) for row in rows] == [(4, 0.8), (2, 0.5), (1, 0.4)]
    assert [(row.trial, row.epochs, row.score) for row in shown[:5]] == [
        ("0", 1, 0.5), ("0", 2, 0.6), ("0", 3, 0.7), ("0", 4, 0.8), ("1", 1, 0.5),
    ]  # fmt: skip
    assert TrainConfig.from_file(tmp_path / "found" / "best.json").epochs == 4


def test_without_pruning_every_trial_trains_all_epochs(scripted):
    assert [(row.epochs, row.score) for row in scripted(*CURVES, pruning=False)[0]] == [(4, 0.8), (4, 0.9), (4, 0.9)]


def test_a_trial_that_validates_without_an_error_is_stopped(scripted):
    assert [(row.epochs, row.score) for row in scripted([0.5, 1.0, 1.0, 1.0])[0]] == [(2, 1.0)]


def test_the_trial_that_runs_when_the_time_is_up_is_stopped_and_counts(scripted):
    rows, _ = scripted(CURVES[0], max_trials=3, hours=1e-6)
    assert [(row.status, row.epochs, row.score) for row in rows] == [("COMPLETED", 1, 0.5)]


def test_the_mean_of_the_executions_of_a_trial_counts(scripted):
    rows, _ = scripted([0.5, 0.6], [0.7, 0.8], max_trials=1, executions=2)
    assert [(row.epochs, row.score) for row in rows] == [(2, pytest.approx(0.7))]


def test_on_a_terminal_the_table_shows_the_trial_that_runs():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    values = {"aux1_weight": 0.15, "optimizer": "sgd"}
    dataset = types.SimpleNamespace(sizes={"train": 9, "validation": 3}, class_names=["a", "b"], image_shape=(8, 8, 3))
    with tune._Table("val_main_accuracy", 4, out) as table:
        table.begin(dataset, [])
        table.show(Row("0", "RUNNING", 0.25, 3.0, 1, values, ""))
        assert "running" in out.getvalue()
        assert "1/4" in out.getvalue()
        table.add(Row("0", "COMPLETED", 0.75, 9.0, 4, values, ""))
        table.add(Row("1", "FAILED", None, 1.0, 0, values, "diverged: NaN"))
    last = out.getvalue().rsplit("val_main_accuracy", 1)[1]  # the table as it stays
    for text in ("0.7500", "4/4", "aux1_weight=0.15", "optimizer=sgd", "failed", "diverged: NaN"):
        assert text in last
    assert "running" not in last


def test_the_importance_plot_names_what_decided():
    rows = [
        Row(str(i), "COMPLETED", 0.5 + 0.1 * (i % 3), 1.0, 1, {"a": i % 3, "b": i % 2, "word": "xyz"[i % 3]}, "")
        for i in range(30)
    ]
    shares = plots.importances(rows, ["b", "a", "word"])
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["b"] < 0.05
    plots.parallel([*rows, Row("30", "FAILED", None, 1.0, 0, {}, "why")], ["a", "b", "word"], "val_main_accuracy")
