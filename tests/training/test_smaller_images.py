"""Training images that are smaller than the network's input, and final epochs of whole ones."""

import keras
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

import keras_inception as ki
from keras_inception import files
from keras_inception.data import load
from keras_inception.errors import InputError
from keras_inception.recipes import Augmentation
from keras_inception.training import TrainConfig, runs, train


def network(size, **options):
    model = ki.GoogLeNet(architecture=TINY, input_shape=(size, size, 3), classes=2, **options)
    ki.compile_model(model, keras.optimizers.SGD(0.1))
    return model


def images_of(size, count=4):
    return np.random.default_rng(size).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def test_smaller_images_are_computed_as_a_network_of_their_size_computes_them():
    model, smaller = network(14), network(10)
    smaller.set_weights(model.get_weights())
    names, whole = [layer.name for layer in model.layers], model.predict(images_of(14), verbose=0)
    model.also_train_at(10)
    for ours, theirs in zip(model.of_size(images_of(10))(images_of(10)), smaller(images_of(10))):
        np.testing.assert_array_equal(ours, theirs)
    assert model.of_size(images_of(14)) is model
    assert [layer.name for layer in model.layers] == names
    np.testing.assert_array_equal(model.predict(images_of(14), verbose=0), whole)


def test_a_step_of_smaller_images_is_that_of_a_network_of_their_size(tmp_path):
    model, smaller = network(14, dropout=0, aux_dropout=0), network(10, dropout=0, aux_dropout=0)
    smaller.set_weights(model.get_weights())
    model.also_train_at(10)
    for each in (model, smaller):
        each.fit(images_of(10), np.arange(4) % 2, batch_size=4, verbose=0)
    for ours, theirs in zip(model.get_weights(), smaller.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    read = keras.models.load_model(tmp_path / "model.keras")
    assert read.input_shape == (None, 14, 14, 3)
    np.testing.assert_array_equal(read.predict(images_of(14), verbose=0), model.predict(images_of(14), verbose=0))


def test_other_images_and_sizes_that_no_head_fits_are_refused():
    model = network(14)
    model.also_train_at(10)
    with pytest.raises(InputError, match=r"of shape \(None, 14, 14, 3\).*Received: .* \(4, 12, 12, 3\)"):
        model.fit(images_of(12), np.arange(4) % 2, verbose=0)
    with pytest.raises(InputError, match=r"Choose a size nearer to that.*Received: images of 10x10"):
        network(16).also_train_at(10)
    with pytest.raises(InputError, match=r"at least 10x10 .* with its heads.*Received: image_size=4"):
        network(14).also_train_at(4)


@pytest.mark.parametrize("call", ["evaluate", "predict", "test_on_batch", "predict_on_batch", "validation_data"])
def test_only_a_training_takes_smaller_images(call):
    model, images, labels = network(14), images_of(10), np.arange(4) % 2
    model.also_train_at(10)
    calls = {
        "evaluate": lambda: model.evaluate(images, labels, verbose=0),
        "predict": lambda: model.predict(images, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(images, labels),
        "predict_on_batch": lambda: model.predict_on_batch(images),
        "validation_data": lambda: model.fit(images, labels, validation_data=(images, labels), verbose=0),
    }
    with pytest.raises(InputError, match=r"of shape \(None, 14, 14, 3\).*Received: .* \(4, 10, 10, 3\)"):
        calls[call]()


@pytest.mark.parametrize("size", [0, -1, "10", 10.0, (10, 10), None, True])
def test_a_size_is_a_whole_number(size, image_folder):
    with pytest.raises(InputError, match=r"`image_size` must be .*whole number of at least 1"):
        network(14).also_train_at(size)
    if size is not None:
        data = load(image_folder, image_size=14, architecture=TINY)
        with pytest.raises(InputError, match=r"`image_size` must be .*whole number of at least 1"):
            data.train_from(0, image_size=size)


def test_a_size_is_one_that_the_network_could_be_built_for():
    with pytest.raises(InputError, match=r"at least 2x2 .* Received: image_size=1"):
        network(14, aux_heads=False).also_train_at(1)
    with pytest.raises(InputError, match="GiB of memory"):
        network(14, aux_heads=False).also_train_at(10**6)


def test_a_network_of_any_size_takes_them_anyway():
    model = ki.GoogLeNet(architecture=TINY, input_shape=(None, None, 3), classes=2, aux_heads=False)
    ki.compile_model(model, keras.optimizers.SGD(0.1))
    model.also_train_at(10)
    for size in (10, 14):
        model.fit(images_of(size), np.arange(4) % 2, verbose=0)


class Sizes(keras.callbacks.Callback):
    """Notes how large the images of each step are, and fails before an epoch."""

    def __init__(self, fails_before=None):
        super().__init__()
        self.seen, self.fails_before = [], fails_before

    def on_train_begin(self, logs=None):
        self.model.observe(lambda batch, waited: self.seen.append(batch[0].shape[1]))

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.fails_before:
            raise RuntimeError("ended here")


def config_of(folder, **options):
    values = {"epochs": 3, "final_epochs": 1, "image_size": 14, "train_image_size": 10, "batch_size": 8}
    return TrainConfig.of(dataset=str(folder), architecture=TINY, crop_area=(0.3, 0.6), **values | options)


def test_a_training_ends_with_whole_images_and_goes_on_as_if_it_had_not_been_interrupted(image_folder, tmp_path):
    whole, begun, rest = Sizes(), Sizes(fails_before=2), Sizes()
    config, quiet = config_of(image_folder), {"verbose": 0, "report": lambda message: None}
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")  # which begins anew in each `fit`
    run = train(config, tmp_path / "whole", callbacks=[whole, log], **quiet)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert whole.seen == 8 * [10] + 4 * [14]
    assert (run.epochs, run.model.input_shape) == (3, (None, 14, 14, 3))
    assert runs.load_model(run.folder).input_shape == (None, 14, 14, 3)
    with pytest.raises(RuntimeError, match="ended here"):
        train(config, tmp_path / "parts", callbacks=begun, **quiet)
    train(None, tmp_path / "parts", resume=True, callbacks=rest, **quiet)
    assert (begun.seen, rest.seen) == (8 * [10], 4 * [14])
    first, second = (
        files.read_table(tmp_path / name / "history.csv", ["epoch", "loss"]) for name in ("whole", "parts")
    )
    assert [row["epoch"] for row in first] == [row["epoch"] for row in second] == ["1", "2", "3"]
    for one, other in zip(first, second):  # sums over threads come in any order
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)


@pytest.mark.slow
def test_a_finished_run_goes_on_with_final_epochs_of_its_new_end(image_folder, tmp_path):
    config, quiet = config_of(image_folder, epochs=1), {"verbose": 0, "report": lambda message: None}
    train(config, tmp_path / "run", **quiet)
    sizes = Sizes()
    train(config_of(image_folder), tmp_path / "run", resume=True, callbacks=sizes, **quiet)
    assert sizes.seen == 4 * [10] + 4 * [14]


def test_final_epochs_show_whole_images_with_their_own_labels(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(8):
            pixels = random.integers(0, 255, (20, 20, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    mixed = Augmentation(crop_area=(0.2, 0.3), mixup=0.5, cutmix=1.0, mixup_off_epoch=3)
    data = load(tmp_path, image_size=14, architecture=TINY, augmentation=mixed, batch_size=16)
    count = data.sizes["train"]
    plain, labels = next(iter(data.some("train", count)[0].batch(1).as_numpy_iterator()))
    seen, seen_labels = next(iter(data.train_from(5, whole_from=4).as_numpy_iterator()))
    assert seen.shape == plain[0].shape
    places = [np.abs(plain[0] - image).max(axis=(1, 2, 3)).argmin() for image in seen]
    assert sorted(places) == list(range(count))
    np.testing.assert_array_equal(seen, plain[0][places])
    np.testing.assert_array_equal(seen_labels, np.eye(2)[labels[0][places]])
    assert next(iter(data.train_from(0, image_size=10).as_numpy_iterator()))[0].shape == (count, 10, 10, 3)


def test_final_epochs_that_end_nothing_are_refused():
    with pytest.raises(InputError, match=r"`final_epochs` needs `train_image_size`, `crop_area`.*final_epochs=2"):
        TrainConfig.of(final_epochs=2)
