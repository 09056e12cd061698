"""A finished run that goes on, the images that it keeps decoded, and those whose labels may be wrong."""

import csv
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from tiny_network import TINY

from keras_inception import GoogLeNet, InputError, data, evaluation
from keras_inception.training import TrainConfig, configured, runs, train
from keras_inception.training import finished as writing


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    """The training of `run`, once more, with images that are kept and may be left out."""
    root = shutil.copytree(image_folder, tmp_path_factory.mktemp("copy") / "images")
    config = TrainConfig.of(
        dataset=str(root), architecture=TINY, epochs=2, batch_size=8, cache="disk", skip_bad_images=True
    )
    kept = []
    found = train(config, root.parent / "run", verbose=0, report=lambda message: None,
                  on_data=lambda loaded, _: kept.append(loaded.cached_bytes))  # fmt: skip
    return found, config, kept


def test_a_training_whose_images_are_kept_learns_the_same(run, finished):
    found, _, kept = finished
    assert kept == [36 * 40 * 36 * 3]
    for weight, expected in zip(found.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-7)  # threads may add in another order
    assert not (found.folder / runs.CACHE).exists()


def test_training_images_that_are_called_otherwise_are_drawn(finished):
    found, config, _ = finished
    images = data.load(config.dataset, architecture=TINY)
    inputs, originals = images.some("train", 10)
    assert [len(list(each)) for each in (inputs.unbatch(), originals)] == [8, 8]  # every fourth of 32
    wrong = evaluation.predict(found.model, images.some("train", 100)[0])
    wrong = (wrong.probabilities["main"].argmax(1) != wrong.labels).sum()
    assert (found.folder / runs.SUSPICIOUS).exists() == (0 < wrong < 8)  # of 32, and half would be wrong at chance


@pytest.mark.parametrize(("wrong", "drawn"), [(16, False), (8, False), (7, True), (1, True), (0, False)])
def test_a_network_that_has_not_learned_puts_no_label_in_doubt(wrong, drawn, image_folder, tmp_path, monkeypatch):
    images = data.load(image_folder, architecture=TINY)
    labels = np.concatenate([batch.numpy() for _, batch in images.some("train", 100)[0]])
    assert np.bincount(labels).tolist() == [16, 16]
    answers = np.eye(2)[np.where(np.arange(32) < wrong, 1 - labels, labels)] * 0.8 + 0.1
    predictions = SimpleNamespace(labels=labels, probabilities={"main": answers})
    monkeypatch.setattr(evaluation, "predict", lambda model, inputs: predictions)
    (tmp_path / runs.SUSPICIOUS).write_text("of before")
    said = []
    writing._write_suspicious(tmp_path, None, images, said.append)
    assert (tmp_path / runs.SUSPICIOUS).exists() == drawn
    assert len(said) == (wrong >= 8)
    assert all(f"right on {1 - wrong / 32:.1%} of the training images" in text for text in said)


@pytest.mark.slow
def test_a_finished_run_goes_on_without_an_image_that_turns_out_bad(finished):
    found, config, _ = finished
    damaged, reached = [], []

    def damage(loaded, progress):
        reached.append((progress.epoch, progress.step))
        if not damaged:
            damaged.append(found.folder.parent / "images" / next(iter(loaded.record["splits"]["train"])))
            damaged[0].write_bytes(b"")

    longer = replace(config, recipe=replace(config.recipe, epochs=3))
    said = []
    again = train(longer, found.folder, resume=True, verbose=0, report=said.append, on_data=damage)
    assert (again.sizes["train"], again.epochs) == (31, 3)
    assert reached[0] == (2, 0)  # what the command says that it goes on after
    with open(found.folder / runs.HISTORY) as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert any(f"are left out now: {damaged[0]}: " in line for line in said)
    assert "`cache` is of no use, for there is no second epoch that would read an image again" in said


@pytest.mark.slow
def test_a_run_waits_for_the_last_image_of_a_class(image_folder, tmp_path):
    """Without it there is nothing to test that class on; brought back, the same command ends the run."""
    images = tmp_path / "images"
    for name in ("dark", "light"):
        for split, count in (("train", 8), ("test", 1)):
            (images / split / name).mkdir(parents=True)
            for index in range(count):
                shutil.copy(image_folder / name / f"{index + 9 * (split == 'test')}.png", images / split / name)
    last = images / "test" / "dark" / "9.png"
    content, said = last.read_bytes(), []
    options = {"architecture": TINY, "image_size": 10, "epochs": 1, "batch_size": 8, "validation_fraction": 0.0}
    config = TrainConfig.of(dataset=str(images), skip_bad_images=True, **options)

    def damage(loaded, progress):
        if content not in said:
            last.write_bytes(b"")
            said.append(content)

    def begin():
        return train(config, tmp_path / "run", verbose=0, report=said.append, on_data=damage)

    for message in (
        r"Bring them back, and the same command goes on.*9\.png.*Every class needs",
        r"Every class needs.*9\.png",
    ):
        with pytest.raises(InputError, match=message):
            begin()
    last.write_bytes(content)
    assert begin().sizes == {"train": 16, "validation": 0, "test": 2}
    assert runs.data_record(tmp_path / "run")["skipped"] == []


def test_the_network_of_the_weights_is_loaded_once(finished, monkeypatch):
    found, config, _ = finished
    loaded = []
    load_model = configured.GoogLeNet.__globals__["load_trained_weights"].__globals__["load_model"]
    for module in ("trained", "saved"):
        monkeypatch.setattr(
            f"keras_inception.network.{module}.load_model",
            lambda *args, **kwargs: loaded.append(args) or load_model(*args, **kwargs),
        )
    config = TrainConfig(dataset=config.dataset, weights=str(found.folder), skip_bad_images=True)
    images = configured.load_data(config)
    model = configured.compiled_model(config, images.image_shape, 2, images.class_names)
    assert (images.image_shape, model.architecture, len(loaded)) == ((10, 10, 3), TINY, 1)


@pytest.mark.slow
def test_a_run_goes_on_when_what_its_weights_began_with_is_gone(image_folder, tmp_path):
    start = GoogLeNet(architecture=TINY, classes=3)
    start.preprocessing = "caffe"
    start.save(tmp_path / "start.keras")
    options = {"dataset": str(image_folder), "weights": str(tmp_path / "start.keras"), "batch_size": 16}
    with pytest.warns(UserWarning, match="which begin anew"):
        begun = train(TrainConfig.of(epochs=1, **options), tmp_path / "run", verbose=0, report=lambda message: None)
    (tmp_path / "start.keras").unlink()
    config = runs.begun(begun.folder)
    longer = replace(config, recipe=replace(config.recipe, epochs=2))
    # Nothing begins anew any more: a warning would be an error.
    again = train(longer, begun.folder, resume=True, verbose=0, report=lambda message: None)
    assert (again.epochs, again.model.preprocessing, again.model.input_shape) == (2, "caffe", begun.model.input_shape)
    assert runs.begun(begun.folder).weights == options["weights"]
