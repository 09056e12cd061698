"""The trainings of a seed differ in nothing but the heads that learn, and a study goes on where it was interrupted."""

import os
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception import study
from keras_inception.errors import InputError
from keras_inception.files import read_json, read_table
from keras_inception.training.config import TrainConfig
from keras_inception.training.interruption import PreemptedError


def trained_for_a_step(loss_weights, aux_heads=True):
    """Returns the weights of the trunk and the main head after one step, by path, of a network from seed 3."""
    keras.utils.set_random_seed(3)
    model = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=2, aux_heads=aux_heads)
    ki.compile_model(model, keras.optimizers.SGD(0.1), loss_weights, run_eagerly=True)
    model.train_on_batch(*images_and_labels())
    return {weight.path: np.array(weight) for weight in model.weights if not weight.path.startswith(("loss1", "loss2"))}


def test_a_head_of_weight_0_is_as_if_it_were_not_there():
    without = trained_for_a_step((1.0,), aux_heads=False)
    silent = trained_for_a_step((1.0, 0.0, 0.0))
    assert silent.keys() == without.keys()
    for path, weight in without.items():
        np.testing.assert_array_equal(silent[path], weight, err_msg=path)
    learning = trained_for_a_step((1.0, 0.0, 0.3))
    assert not np.array_equal(learning["inception_4a_1x1/kernel"], without["inception_4a_1x1/kernel"])
    np.testing.assert_array_equal(learning["loss3_classifier/kernel"], without["loss3_classifier/kernel"])


@pytest.fixture(scope="module")
def arguments(image_folder):
    """A small study of two variants: 32 images, 8 steps an epoch."""
    return {
        "config": TrainConfig.of(dataset=str(image_folder), epochs=2, batch_size=4),
        "architectures": (TINY,),
        "variants": ("none", "both"),
        "report": lambda message: None,  # so short a training may well be diagnosed
    }


@pytest.fixture(scope="module")
def found(arguments, tmp_path_factory):
    return study.heads(folder=tmp_path_factory.mktemp("studies") / "study", seeds=2, **arguments)


def run_folder(found, variant, seed):
    return found.folder / "tiny" / variant / f"seed-{seed}"


def columns(found, run):
    """Returns what `steps.csv` says of each step, by column."""
    rows = read_table(run_folder(found, run.variant, run.seed) / "steps.csv")
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.mark.slow
def test_the_trainings_of_a_seed_begin_alike_and_then_part(found):
    steps = {(run.variant, run.seed): columns(found, run) for run in found.trainings}
    heads = ("main_loss", "aux1_loss", "aux2_loss")
    for seed in (0, 1):
        none, both = steps["none", seed], steps["both", seed]
        assert [none[head][0] for head in heads] == [both[head][0] for head in heads]  # weights, batch and dropout
        assert not np.allclose(none["main_loss"][1:], both["main_loss"][1:], rtol=1e-4)
        first = [read_table(run_folder(found, variant, seed) / "gradients.csv")[:21] for variant in ("none", "both")]
        assert [row["gradient_norm"] for row in first[0]] == [row["gradient_norm"] for row in first[1]]
        weights = [{row["head"]: row["loss_weight"] for row in rows} for rows in first]
        assert weights == [
            {"main": "1.0", "aux1": "0.0", "aux2": "0.0"},
            {"main": "1.0", "aux1": "0.3", "aux2": "0.3"},
        ]
    assert steps["none", 0]["main_loss"][0] != steps["none", 1]["main_loss"][0]


@pytest.mark.slow
def test_the_losses_of_the_steps_make_up_those_of_the_epochs(found):
    for run in found.trainings:
        folder, steps = run_folder(found, run.variant, run.seed), columns(found, run)
        history = read_table(folder / "history.csv")
        for head in ("main", "aux1", "aux2"):
            by_epoch = steps[f"{head}_loss"].reshape(2, 8).mean(axis=1)  # batches of 4, none smaller
            np.testing.assert_allclose(by_epoch, [float(row[f"{head}_loss"]) for row in history], rtol=1e-4)
        assert run.loss_steps == steps["step"].tolist() == list(range(1, 17))
        assert run.chance == pytest.approx(np.log(2), abs=0.02)  # 16 or 17 of 32 images are of one class
        assert run.final_accuracy == read_json(folder / "results.json")["test"]["main"]["accuracy"]
        assert run.training_accuracy == pytest.approx([float(row["main_accuracy"]) for row in history], rel=1e-5)


@pytest.mark.slow
def test_more_seeds_train_what_is_missing_alone(found, arguments, tmp_path, monkeypatch):
    shutil.copytree(found.folder, tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "tiny" / "both" / "seed-1")
    rows = (tmp_path / "study" / "trainings.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "study" / "trainings.jsonl").write_text("".join(rows[:3]))
    before = read_table(found.folder / "study.csv")
    folders = []
    module = sys.modules[study.heads.__module__]
    train = module.train
    monkeypatch.setattr(
        module, "train", lambda config, folder, **o: folders.append(folder) or train(config, folder, **o)
    )
    study.heads(folder=tmp_path / "study", seeds=2, **arguments)
    assert folders == [tmp_path / "study" / "tiny" / "both" / "seed-1"]
    after = read_table(tmp_path / "study" / "study.csv")
    assert after[:3] == before[:3]
    for name in ("variant", "seed", "steps", "validation_accuracy", "test_accuracy"):
        assert after[3][name] == before[3][name]


@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_its_steps(found, arguments, tmp_path, monkeypatch):
    step = study.StepLosses.on_train_batch_end

    def told_to_end(callback, batch, logs=None):
        step(callback, batch, logs)
        if (callback.model.optimizer.iterations.numpy(), callback.path.parts[-3]) == (11, "both"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(study.StepLosses, "on_train_batch_end", told_to_end)
    shutil.copytree(run_folder(found, "none", 0), tmp_path / "study" / "tiny" / "none" / "seed-0")
    options = {**arguments, "folder": tmp_path / "study", "seeds": 1}
    with pytest.raises(PreemptedError, match="saved after 1 epoch and 3 steps"):
        study.heads(**options)
    monkeypatch.undo()
    assert len(read_table(tmp_path / "study" / "tiny" / "both" / "seed-0" / "steps.csv")) == 11
    # What a kill leaves behind the checkpoint does not count.
    with open(tmp_path / "study" / "tiny" / "both" / "seed-0" / "steps.csv", "a") as file:
        file.write("12,0.1,0.69,9.0,9.0,9.0\n13,0.1,0.")
    gone_on = study.heads(**options)
    again, whole = gone_on.trainings[1], found.trainings[2]
    assert (whole.variant, whole.seed) == (again.variant, again.seed) == ("both", 0)
    assert columns(gone_on, again)["step"].tolist() == list(range(1, 17))
    # Sums over threads come in any order.
    np.testing.assert_allclose(again.losses, whole.losses, rtol=1e-3)


@pytest.mark.slow
def test_a_study_needs_validation_images(image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), validation_fraction=0.0)
    with pytest.raises(InputError, match=r"A study needs validation images: use `--validation-fraction`\."):
        study.heads(config, tmp_path / "study", architectures=(TINY,))
    assert list(tmp_path.iterdir()) == []
