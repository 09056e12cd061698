"""Searches on a dataset: files, table, refusals, failures, and when a trial is stopped."""

import io
import json
import sys
import types

import keras
import keras_tuner
import pytest
from tiny_network import TINY

from keras_inception import TrainConfig, files
from keras_inception.cli import main, tune
from keras_inception.training.config import to_options
from keras_inception.training.configured import load_data
from keras_inception.tuning import search as searches
from keras_inception.tuning.search import search
from keras_inception.tuning.trials import TrialResult


@pytest.fixture
def config(image_folder):
    return TrainConfig.of(architecture=TINY, dataset=str(image_folder), epochs=1, batch_size=16, image_size=10)


@pytest.fixture(scope="module")
def data(image_folder):
    return load_data(TrainConfig.of(architecture=TINY, dataset=str(image_folder), image_size=10))


@pytest.fixture
def base(config, tmp_path):
    """A file with the training that is not searched."""
    path = tmp_path / "base.json"
    path.write_text(json.dumps(to_options(config)))
    return path


SPACE = ["aux1_weight", "learning_rate", "width"]


@pytest.fixture
def trained_as(monkeypatch):
    """Returns `trained_as(fit)`, which puts a function in the place of all trainings, and a dense layer of networks."""

    def build(hypermodel, hp):
        hypermodel.config(hp)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def replace(fit):
        monkeypatch.setattr(searches._OnDataset, "build", build)
        monkeypatch.setattr(searches._OnDataset, "fit", fit)

    return replace


@pytest.mark.slow
def test_a_search_writes_what_the_design_names_and_best_json_trains(base, tmp_path, capsys):
    command = ["tune", "--config", str(base), "--out", str(tmp_path / "found"), "--search", *SPACE]
    assert main([*command, "--max-trials", "2", "--hours", "1"]) == 0
    out = capsys.readouterr().out
    assert "32 train, 4 validation images of 2 classes, 10x10" in out
    assert out.count("aux1_weight=") == 2
    names = {path.name for path in (tmp_path / "found").iterdir() if path.name != files.LOCK}
    assert names == {"search.json", "data.json", "results.csv", "best.json", "parallel.png", "importance.png", "trials"}
    rows = files.read_table(tmp_path / "found" / "results.csv")
    assert [row["status"] for row in rows] == ["COMPLETED", "COMPLETED"]
    assert (rows[0]["aux1_weight"], rows[0]["learning_rate"], rows[0]["width"]) == ("0.3", "0.0005", "1.0")
    assert [row["epochs"] for row in rows] == ["1", "1"]
    best = TrainConfig.from_file(tmp_path / "found" / "best.json")
    won = max(rows, key=lambda row: float(row["val_main_accuracy"]))
    assert (best.recipe.epochs, best.image_size, best.width) == (1, 10, float(won["width"]))
    assert best.recipe.loss_weights == (1.0, pytest.approx(float(won["aux1_weight"])), 0.3)

    # The same command has nothing left to do, and another one is told what differs.
    assert main([*command, "--max-trials", "2", "--hours", "1"]) == 0
    assert capsys.readouterr().out.count("aux1_weight=") == 2
    assert main([*command, "dropout", "--max-trials", "2"]) == 2
    assert "holds another search: space: dropout was not there and is Range(min_value=0.0" in capsys.readouterr().err
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


def test_failed_trials_are_recorded_and_ten_in_a_row_end_the_search(config, tmp_path, trained_as):
    reasons = ["out of memory: too large", "diverged: NaN"]

    def fail(self, hp, model, *args, **kwargs):
        raise keras_tuner.errors.FailedTrialError(reasons[len(rows) % 2])

    rows = []
    trained_as(fail)
    with pytest.raises(searches.SearchFailedError, match=r"the last 10 trials failed, .*5 times: out of memory"):
        search(config, tmp_path / "found", space=SPACE, tuner="random", max_trials=12, on_trial=rows.append)
    assert len(rows) == 10
    assert {row.reason for row in rows} == set(reasons)
    assert [row["status"] for row in files.read_table(tmp_path / "found" / "results.csv")] == ["FAILED"] * 10


def test_a_defect_ends_the_search_as_what_it_is(config, tmp_path, trained_as):
    trained_as(lambda *args, **kwargs: {}["no such name"])
    with pytest.raises(KeyError, match="no such name"):
        search(config, tmp_path / "found", space=SPACE)


@pytest.fixture
def scripted(config, tmp_path, trained_as, data, monkeypatch):
    """Returns `scripted(*curves, **options)`: a search whose trainings only play curves; its rows, and those shown."""
    monkeypatch.setattr(searches, "load_data", lambda config, **options: data)

    def run(*curves, **options):
        playing = iter(curves)

        def fit(self, hp, model, *, epochs, callbacks, **kwargs):
            for callback in callbacks:
                callback.set_model(model)
            model.stop_training = False
            for epoch, value in enumerate(curve := next(playing)):
                for callback in callbacks:
                    callback.on_epoch_begin(epoch)
                    callback.on_train_batch_end(0)
                    callback.on_epoch_end(epoch, {"val_main_accuracy": value})
                if model.stop_training:
                    break
            return {"val_main_accuracy": max(curve[: epoch + 1])}

        trained_as(fit)
        rows, shown = [], []
        options = {
            "config": TrainConfig.of(**{**to_options(config), "epochs": 4}),
            "space": {"aux1_weight": [0.0, 0.3], "learning_rate": [0.001, 0.01]},
            "tuner": "random",
            "max_trials": len(curves),
            **options,
        }
        search(options.pop("config"), tmp_path / "found", on_epoch=shown.append, on_trial=rows.append, **options)
        return rows, shown

    return run


CURVES = [0.5, 0.6, 0.7, 0.8], [0.5, 0.5, 0.9, 0.9], [0.4, 0.9, 0.9, 0.9]


def test_a_trial_that_falls_behind_is_stopped_after_a_quarter_of_its_epochs_at_the_earliest(scripted, tmp_path):
    rows, shown = scripted(*CURVES)
    assert [(row.epochs, row.score) for row in rows] == [(4, 0.8), (2, 0.5), (1, 0.4)]
    assert [(row.trial, row.epochs, row.score) for row in shown[:5]] == [
        ("0000", 1, 0.5), ("0000", 2, 0.6), ("0000", 3, 0.7), ("0000", 4, 0.8), ("0001", 1, 0.5),
    ]  # fmt: skip
    best = TrainConfig.from_file(tmp_path / "found" / "best.json")
    assert (best.recipe.epochs, best.recipe.loss_weights) == (4, (1.0, 0.3, 0.3))  # the first: the recipe's own values


def test_an_explicit_0_stays_0_in_the_best(scripted, tmp_path):
    scripted([0.5], [0.9], [0.5], [0.5], tuner="grid", pruning=False)
    rows = files.read_table(tmp_path / "found" / "results.csv")
    best = TrainConfig.from_file(tmp_path / "found" / "best.json")
    assert rows[1]["val_main_accuracy"] == "0.9"
    assert best.recipe.loss_weights == (1.0, float(rows[1]["aux1_weight"]), 0.3)
    assert "0.0" in {row["aux1_weight"] for row in rows}


def test_a_trial_whose_metric_is_not_finite_has_failed_and_is_never_the_best(scripted, tmp_path):
    nan = float("nan")
    rows, _ = scripted([nan, 0.9], [0.5, nan], [0.4, 0.3], [float("inf")], pruning=False)
    assert [(row.status, row.score) for row in rows] == [
        ("FAILED", None), ("FAILED", None), ("COMPLETED", 0.4), ("FAILED", None),
    ]  # fmt: skip
    assert [row.reason for row in rows][:2] == ["diverged: val_main_accuracy became nan"] * 2
    written = [path.read_text() for kind in ("json", "csv") for path in tmp_path.glob(f"found/**/*.{kind}")]
    assert not any(word in text for text in written for word in ("NaN", "Infinity"))


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


def test_on_a_terminal_the_table_shows_the_trial_that_runs_below_those_that_ended(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", out := Terminal())
    values = {"aux1_weight": 0.15, "optimizer": "sgd"}
    data = types.SimpleNamespace(
        sizes={"train": 9, "validation": 3},
        class_names=["a", "b"],
        image_shape=(8, 8, 3),
        skipped=["a/bad.png"],
        added=[],
    )
    with tune._Table("val_main_accuracy", 4) as table:
        table.begin(data, [])
        table.begin(data, [])
        table.show(TrialResult("0", "RUNNING", 0.25, 3.0, 1, values, ""))
        table.add(TrialResult("0", "COMPLETED", 0.75, 9.0, 4, values, ""))
        table.add(TrialResult("1", "FAILED", None, 1.0, 0, values, "diverged: NaN"))
    lines = out.getvalue().splitlines()
    assert sum(line.startswith("trial ") for line in lines) == 1  # though the search began twice
    assert "left out 1 unreadable or missing file: a/bad.png" in lines
    shown, ended, failed = (next(line for line in lines if text in line) for text in ("0.2500", "0.7500", "failed"))
    assert "1/4" in shown
    for text in ("4/4", "aux1_weight=0.15", "optimizer=sgd"):
        assert text in ended
    assert "failed       0.7500" in failed  # the best so far
    assert "diverged: NaN" in failed
