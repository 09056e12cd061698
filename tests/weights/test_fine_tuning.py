"""Published weights with other classes, and frozen rows."""

import dataclasses
import warnings

import keras
import numpy as np
import published_networks as published
import pytest

import keras_inception as ki
from keras_inception import architectures
from keras_inception.weights import SOURCES, freeze, load_published_weights

CLASSIFIERS = ("loss1_classifier", "loss2_classifier", "loss3_classifier")
ROWS = (
    "conv1_7x7_s2, pool1_3x3_s2, conv2_3x3, pool2_3x3_s2, inception_3a, inception_3b, pool3_3x3_s2, inception_4a, "
    "inception_4b, inception_4c, inception_4d, inception_4e, pool4_3x3_s2, inception_5a, inception_5b"
)


@pytest.fixture
def networks(monkeypatch, tensors, tmp_path):
    """Lets `weights="imagenet"` find the random weights of every source."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name, source in SOURCES.items():
        (tmp_path / name).touch()
        arrays = tensors(name)
        if name == "bvlc":
            arrays = {f"{layer}[{index}]": blob for layer, blobs in arrays.items() for index, blob in enumerate(blobs)}
        changed = dataclasses.replace(
            source, address=(tmp_path / name).as_uri(), hash_algorithm="", read=lambda path, arrays=arrays: arrays
        )
        monkeypatch.setitem(SOURCES, name, changed)


def test_other_classes_keep_everything_but_the_classifiers(networks, loaded):
    message = (
        "BVLC Caffe are for 1000 classes. All .* except the classifiers loss3_classifier, loss1_classifier, loss2_cl"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        model = ki.GoogLeNet(weights="imagenet", classes=5, class_names=list("abcde"))
    assert len(caught) == 1
    original = loaded("bvlc")
    for layer in model.layers:
        if layer.name in CLASSIFIERS:
            assert layer.kernel.shape == (1024, 5)
            assert 0 < np.abs(layer.get_weights()[0]).max() < 0.1  # as initialised
            continue
        for found, expected in zip(layer.get_weights(), original.get_layer(layer.name).get_weights()):
            np.testing.assert_array_equal(found, expected)
    x = np.random.default_rng(0).uniform(-100, 100, (2, 224, 224, 3)).astype("float32")
    for name in CLASSIFIERS:  # random weights give activations of hundreds, which would saturate the softmaxes
        kernel = model.get_layer(name).kernel
        kernel.assign(0.01 * keras.ops.convert_to_numpy(kernel))
    before = np.array(model.get_layer("loss2_classifier").get_weights()[0])
    freeze(model, through="inception_4e")
    logs = model.fit(x, np.array([1, 4]), verbose=0).history
    assert np.isfinite(logs["loss"][0])
    assert np.abs(model.get_layer("loss2_classifier").get_weights()[0] - before).max() > 0
    np.testing.assert_array_equal(
        model.get_layer("inception_4e_1x1").get_weights()[0], original.get_layer("inception_4e_1x1").get_weights()[0]
    )


@pytest.mark.parametrize(("classes", "fresh"), [(1000, False), (999, True)])
def test_slim_has_its_1001_classes_or_1000(networks, classes, fresh):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = ki.GoogLeNet(
            weights="imagenet", architecture="inception_v1_slim", classes=classes, input_shape=(64, 64, 3)
        )
    assert ["1001 classes" in str(warning.message) for warning in caught] == [True] * fresh
    bias = np.asarray(model.get_layer("loss3_classifier").get_weights()[1])
    assert bool(np.all(bias == 0)) is fresh


def test_torchvision_has_1000_classes_and_no_background(networks):
    with pytest.warns(UserWarning, match="torchvision are for 1000 classes"):
        ki.GoogLeNet(weights="imagenet", architecture="inception_v1_torchvision", classes=999, input_shape=(64, 64, 3))


def test_files_of_other_classes_fit_models_of_as_many(tmp_path):
    path = tmp_path / "flowers.caffemodel"
    path.write_bytes(published.caffemodel(published.bvlc_tensors(classes=5), encoding="layer", header="shape"))
    model = load_published_weights(ki.GoogLeNet(classes=5, aux_heads=["aux1"]), "bvlc", path)  # and does not warn
    expected = published.bvlc_tensors(classes=5)["loss1/classifier"][0].T
    np.testing.assert_array_equal(model.get_layer("loss1_classifier").get_weights()[0], expected)


# ------------------------------------------------------------------------------------------------------------- freezing


@pytest.fixture(scope="module")
def small():
    """A network that the tests train and freeze one after another: what is frozen depends on the last call alone."""
    return ki.GoogLeNet(input_shape=(79, 79, 3), classes=3, architecture="googlenet_bn")


def test_frozen_batch_normalization_uses_its_moving_statistics(small):
    freeze(small, through="inception_3b")
    x = np.random.default_rng(0).uniform(-1, 1, (4, 79, 79, 3)).astype("float32")
    for row, is_frozen in (("inception_3b", True), ("inception_4a", False)):
        part = keras.Model(small.input, small.get_layer(f"{row}_output").output)
        trained, served = (keras.ops.convert_to_numpy(part(x, training=training)) for training in (True, False))
        difference = np.abs(trained - served).max()
        assert bool(difference == 0) is is_frozen


@pytest.fixture
def sketch():
    """A network of three rows that `fit` traces at once, with the names of the great one."""
    x = image = keras.Input((4,))
    for name in ("conv1_7x7_s2", "inception_4a_1x1", "inception_5b_1x1", "loss3_classifier"):
        x = keras.layers.Dense(3, bias_initializer="ones", name=name)(x)
        if not name.startswith("loss3"):
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    model = ki.InceptionModel(image, keras.layers.Softmax(name="main")(x), architecture=architectures.GOOGLENET_BN)
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_last_call_of_freeze_counts(sketch):
    x, y = np.random.default_rng(0).normal(size=(8, 4)).astype("float32"), np.arange(8) % 3
    layers = [layer for layer in sketch.layers if layer.weights]
    assert len(layers) == 7
    for through, frozen in ((None, 0), ("inception_5b", 6), ("inception_4e", 4), ("conv1_7x7_s2", 2), (None, 0)):
        freeze(sketch, through=through)
        before = [[np.array(weight) for weight in layer.get_weights()] for layer in layers]
        sketch.fit(x, y, verbose=0)
        changed = [
            any(not np.array_equal(old, new) for old, new in zip(weights, layer.get_weights()))
            for weights, layer in zip(before, layers)
        ]
        assert changed == [False] * frozen + [True] * (7 - frozen)
        assert (float(sketch.optimizer.learning_rate), sketch.optimizer.momentum) == (0.25, 0.5)
        assert "accuracy" in sketch.get_metrics_result()


def test_all_of_the_trunk_can_be_frozen(small):
    freeze(small, through="inception_5b")
    learning = {layer.name.split("_")[0] for layer in small.layers if layer.trainable_weights}
    assert learning == {"loss1", "loss2", "loss3"}


def test_freezing_leaves_uncompiled_models_uncompiled():
    trunk = freeze(ki.GoogLeNet(include_top=False, input_shape=(64, 64, 3)), through="inception_5b")
    assert not trunk.compiled
    assert trunk.trainable_weights == []


def test_freeze_knows_the_rows(small):
    with pytest.raises(
        ki.InputError, match=rf"`through` must be None or a row of 'googlenet_bn': {ROWS}, or 'main'\. .*through='4e'"
    ):
        freeze(small, through="4e")
    with pytest.raises(ki.InputError, match=r"must know its architecture.*architecture=None"):
        freeze(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="own"), through="inception_3a")
