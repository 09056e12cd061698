"""Runs: what a training writes, that it can be run again, and what it refuses."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

from keras_inception import files
from keras_inception.data import load
from keras_inception.errors import InputError
from keras_inception.recipes import Augmentation
from keras_inception.training import checkpoint, diagnosis, runs
from keras_inception.training.config import TrainConfig
from keras_inception.training.loop import train


def test_a_run_folder_holds_all_that_the_design_names(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "model.keras", "best.keras", "history.csv", "curves.png", "config.json", "data.json", "results.json", "samples",
        ".lock",
    }  # fmt: skip
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((run.folder / "samples").iterdir())) > 0


def test_the_history_has_a_row_an_epoch_with_every_head(run):
    with open(run.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for head in ("main", "aux1", "aux2"):
        assert {f"{head}_loss", f"{head}_accuracy", f"val_{head}_loss", f"val_{head}_accuracy"} <= set(rows[0])


def test_the_saved_model_is_the_trained_one_and_knows_classes_preprocessing_and_architecture(run):
    model = runs.load_model(run.folder)
    assert (model.class_names, model.preprocessing, model.architecture) == (["dark", "light"], "inception", TINY)
    assert model.output_names == ["main", "aux1", "aux2"]
    images = np.random.default_rng(0).uniform(-1, 1, (2, 10, 10, 3)).astype("float32")
    for saved, trained in zip(model.predict(images, verbose=0), run.model.predict(images, verbose=0)):
        np.testing.assert_allclose(saved, trained, atol=1e-6)  # the same weights on the same machine


def test_results_are_those_of_the_model_on_the_test_images(run):
    results = json.loads((run.folder / "results.json").read_text())
    assert results["test"] == run.results
    assert set(run.results) == {"main", "aux1", "aux2"}
    assert results["sizes"] == {"train": 32, "validation": 4, "test": 4}


@pytest.mark.slow
def test_config_json_runs_again_with_the_same_first_epoch(run, tmp_path):
    config = TrainConfig.from_file(run.folder / "config.json")
    assert config.image_size == 10
    again = train(config, tmp_path / "again", verbose=0, report=lambda message: None)
    first, second = (np.genfromtxt(item.folder / "history.csv", delimiter=",", names=True) for item in (run, again))
    # Sums over threads come in any order, so not bitwise.
    np.testing.assert_allclose(first["main_loss"][0], second["main_loss"][0], rtol=1e-2)


def test_a_recipe_decides_the_initial_weights_and_how_the_weights_of_losses_fall(image_folder, tmp_path):
    config = TrainConfig.of(
        dataset=str(image_folder), architecture=TINY, epochs=2, batch_size=16, aux_loss_schedule="linear",
        kernel_initializer="random_normal(stddev=0.01)", bias_initializer="constant(value=0.2)", learning_rate=1e-9,
    )  # fmt: skip
    run = train(config, tmp_path / "run", verbose=0, report=lambda message: None)
    rows = files.read_table(run.folder / "history.csv", ["aux1_loss_weight", "aux2_loss_weight"])
    # Of four steps those of each epoch's last, the second and the fourth.
    assert [float(row["aux1_loss_weight"]) for row in rows] == pytest.approx([0.3 * 3 / 4, 0.3 / 4])
    assert np.abs(run.model.get_layer("conv4_3x3").get_weights()[0]).max() < 0.06
    assert run.model.get_layer("loss1_fc").get_weights()[1] == pytest.approx(0.2, rel=1e-5)
    assert TrainConfig.from_file(run.folder / "config.json").recipe == config.recipe


@pytest.mark.slow
def test_gradients_of_each_head_are_written_on_request(image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1, batch_size=16, gradient_flow=1)
    run = train(config, tmp_path / "run", verbose=0, report=lambda message: None)
    with open(run.folder / "gradients.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["head"] for row in rows} == {"main", "aux1", "aux2"}
    assert {row["epoch"] for row in rows} == {"0", "1"}  # before the first step, and after


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_last_epoch(image_folder, tmp_path):
    options = {"epochs": 1, "batch_size": 16, "learning_rate": 1e38}
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, **options)
    with pytest.raises(diagnosis.NotFiniteError):
        train(config, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_run_is_not_overwritten_unless_told_to(run):
    before = (run.folder / "model.keras").read_bytes()
    config = TrainConfig.from_file(run.folder / "config.json")
    with pytest.raises(ValueError, match=r"holds a run already.*--overwrite"):
        train(config, run.folder, verbose=0)
    assert (run.folder / "model.keras").read_bytes() == before


def test_folders_that_are_no_runs_are_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else"):
        train(TrainConfig(), tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="this is a file"):
        train(TrainConfig(), tmp_path / "thesis.txt")


def test_free_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("digits", "digits-2", "digits-3"):
        assert runs.free_folder("digits").name == expected
        runs.free_folder("digits").mkdir(parents=True)


def test_a_json_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"accuracy": 0.5})
    with pytest.raises(TypeError):
        files.write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}


@pytest.mark.slow
def test_the_paper_s_network_learns_the_digits_at_half_its_width(tmp_path):
    results = train(TrainConfig.of(epochs=6, width=0.5), tmp_path / "digits", verbose=0).results
    # Chance is 10%, and a network whose deep head is stuck stays there. By default it trains for twice as long.
    assert results["main"]["accuracy"] >= 0.95
    assert min(results[head]["accuracy"] for head in ("aux1", "aux2")) >= 0.75


@pytest.mark.parametrize(
    ("best", "seconds", "expected"), [(3, 0.0, False), (2, 0.0, True), (4, 119.9, False), (4, 120.0, True)]
)
def test_a_training_is_over_when_its_patience_or_its_time_is(best, seconds, expected):
    progress = checkpoint.Progress(4, best={"epoch": best, "val_main_accuracy": 0.5}, seconds=seconds)
    assert progress.is_over(patience=2, max_minutes=2) is expected
    assert not progress.is_over(None, None)


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch=None):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt

    def on_train_end(self, logs=None):
        if self.epoch == 3:  # everything is written but the results
            raise KeyboardInterrupt


@pytest.mark.slow
def test_patience_ends_a_training_after_a_kill_where_it_would_have_ended(image_folder, tmp_path):
    """The rate is too small to learn, so that the first epoch stays the best, and two more are waited for."""
    options = {"epochs": 9, "batch_size": 16, "learning_rate": 1e-12, "patience": 2}
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, **options)
    for epoch in (2, 3):
        folder = tmp_path / str(epoch)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder, verbose=0, report=lambda message: None, callbacks=[Kill(epoch)])
        assert train(config, folder, verbose=0, report=lambda message: None).epochs == 3


@pytest.mark.parametrize("callbacks", ["x", [keras.callbacks.Callback(), print], keras.callbacks.CSVLogger])
def test_what_is_no_callback_is_refused_before_anything_is_written(callbacks, image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1)
    with pytest.raises(InputError, match=r"`callbacks` must be a list of `keras\.callbacks\.Callback`"):
        train(config, tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_callbacks_are_given_as_fit_takes_them(several, image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1, batch_size=16)
    epochs = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    given = ([callback],) if several else callback
    train(config, tmp_path / "run", verbose=0, report=lambda message: None, callbacks=given)
    assert epochs == [0]


@pytest.mark.slow
def test_a_run_that_ended_early_goes_on_where_it_may(image_folder, tmp_path):
    options = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-12, "patience": 2}
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, **options)
    quiet = {"verbose": 0, "report": lambda message: None}
    assert train(config, tmp_path / "run", **quiet).epochs == 3
    for again in (None, config, replace(config, patience=1)):
        with pytest.raises(InputError, match="ended after 3 epochs, of which epoch 1 was the best, by its patience"):
            train(again, tmp_path / "run", resume=True, **quiet)
    assert train(replace(config, patience=4), tmp_path / "run", resume=True, **quiet).epochs == 5
    assert train(replace(config, patience=None), tmp_path / "run", resume=True, **quiet).epochs == 6
    with pytest.raises(InputError, match="holds a finished run of 6 epochs"):
        train(None, tmp_path / "run", resume=True, **quiet)


@pytest.mark.slow
def test_a_whole_run_whose_history_lost_rows_is_not_trained_again(image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=2, batch_size=16)
    train(config, tmp_path / "run", verbose=0, report=lambda message: None)
    history = tmp_path / "run" / "history.csv"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="holds a finished run of 2 epochs"):
        train(None, tmp_path / "run", resume=True, verbose=0, report=lambda message: None)


@pytest.mark.slow
def test_a_run_that_ended_by_its_time_goes_on_for_as_long_again(image_folder, tmp_path):
    options = {"epochs": 3, "batch_size": 16, "max_minutes": 1e-6}
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, **options)
    quiet = {"verbose": 0, "report": lambda message: None}
    assert train(config, tmp_path / "run", **quiet).epochs == 1
    assert train(None, tmp_path / "run", resume=True, **quiet).epochs == 2
    assert train(replace(config, max_minutes=None), tmp_path / "run", resume=True, **quiet).epochs == 3


def test_classes_that_are_balanced_count_alike(tmp_path):
    for name, count in (("few", 2), ("many", 6)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("RGB", (12, 12), (20 * index, 0, 0)).save(tmp_path / name / f"{index}.png")
    mixed = Augmentation(mixup=0.2)
    for augmentation in (Augmentation(), mixed):
        loaded = load(tmp_path, architecture=TINY, validation_fraction=0, test_fraction=0, augmentation=augmentation)
        assert loaded.class_counts() == [2, 6]
        ((_, labels, weights),) = loaded.balanced(loaded.train)
        shares = labels.numpy() if augmentation is mixed else np.eye(2)[labels]
        np.testing.assert_allclose(weights, shares @ [2.0, 2 / 3], rtol=1e-6)
        np.testing.assert_allclose(weights.numpy().sum(), 8, rtol=1e-5 if augmentation is not mixed else 0.5)
