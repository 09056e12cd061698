"""Converted networks against what the publishers' own programs computed with the same weights and images.

`tests/vectors/` holds those outputs. `test_weights_against_engines.py` compares with the programs themselves, and
writes the vectors anew.
"""

import pathlib

import keras
import numpy as np
import published_networks as published
import pytest

import keras_inception as ki
from keras_inception.network.layers import CeilMaxPooling2D, LocalResponseNormalization
from keras_inception.weights import load_published_weights

VECTORS = pathlib.Path(__file__).parent / "vectors"
TOLERANCE = 1e-4  # of a softmax: float32 through 22 layers stays below 1e-5
NOTICED = 20 * TOLERANCE

HEADS = {"bvlc": ["main", "aux1", "aux2"], "tf_slim": ["main"], "torchvision": ["main", "aux1", "aux2"]}


@pytest.fixture(scope="module")
def vectors():
    return lambda source: np.load(VECTORS / f"{source}.npz")


def preprocessed(model, size):
    return ki.preprocess_input(published.images(size), preprocessing=model.preprocessing)


@pytest.mark.parametrize("source", HEADS)
def test_softmaxes_at_224_are_the_engines(loaded, outputs, vectors, source):
    model, expected = loaded(source), vectors(source)
    found = outputs(model, preprocessed(model, 224))
    assert sorted(found) == sorted([*HEADS[source], "map"])
    for head in HEADS[source]:
        assert expected[f"{head}_224"].max() > 0.05  # far from uniform: 1000 classes give 0.001
        np.testing.assert_allclose(found[head], expected[f"{head}_224"], rtol=0, atol=TOLERANCE, err_msg=head)


@pytest.mark.parametrize("source", HEADS)
def test_odd_maps_of_299_are_the_engines(any_size, outputs, vectors, source):
    heads = HEADS[source] if source == "torchvision" else ["main"]  # BVLC's heads flatten what 224 pixels give
    model, expected = any_size(source), vectors(source)
    found = outputs(model, preprocessed(model, 299))
    sample = found["map"][..., ::32]
    assert sample.shape == expected["map_299"].shape
    np.testing.assert_allclose(sample, expected["map_299"], rtol=1e-3, atol=TOLERANCE * sample.std())
    for head in heads:
        np.testing.assert_allclose(found[head], expected[f"{head}_299"], rtol=0, atol=TOLERANCE, err_msg=head)


# ------------------------------------------------------------------- each thing that ports got wrong, done wrong here


@pytest.fixture
def instead(monkeypatch):
    """Returns `instead(layer, call)`, which lets a layer of a shared network compute something else in this test."""
    return lambda layer, call: monkeypatch.setattr(layer, "call", call)


def difference(found, expected, heads, size=224):
    return {head: float(np.abs(found[head] - expected[f"{head}_{size}"]).max()) for head in heads}


WRONG_INPUTS = {
    "bvlc": {
        "RGB": lambda pixels: ki.preprocess_input(pixels, preprocessing="caffe")[..., ::-1],
        "no mean": lambda pixels: pixels[..., ::-1],
        "mean in the order of RGB": lambda pixels: pixels[..., ::-1] - np.float32([123, 117, 104]),
        "[-1, 1]": lambda pixels: ki.preprocess_input(pixels),
    },
    "tf_slim": {
        "BGR": lambda pixels: ki.preprocess_input(pixels)[..., ::-1],
        "[0, 1]": lambda pixels: pixels / np.float32(255),
    },
    "torchvision": {
        "BGR": lambda pixels: ki.preprocess_input(pixels)[..., ::-1],
        "ImageNet's deviations": lambda pixels: (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "mistake"), [(source, name) for source in WRONG_INPUTS for name in WRONG_INPUTS[source]]
)
def test_wrong_preprocessing_is_noticed(loaded, outputs, vectors, source, mistake):
    found = outputs(loaded(source), WRONG_INPUTS[source][mistake](published.images(224).astype("float32")))
    assert min(difference(found, vectors(source), HEADS[source]).values()) > NOTICED


def is_lrn(layer):
    return isinstance(layer, LocalResponseNormalization)


def is_batch_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def named(*names):
    return lambda layer: layer.name in names


def stem_padded_as_same(layer):
    return keras.layers.ZeroPadding2D(((2, 3), (2, 3))).call


def stem_padded_symmetrically(layer):
    return lambda x: keras.ops.conv(keras.ops.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)]), layer.kernel, 2, "valid")


def small_epsilon(layer):
    def call(x, training=None, mask=None):
        value = (x - layer.moving_mean) / keras.ops.sqrt(layer.moving_variance + 1e-5)
        return (value if layer.gamma is None else value * layer.gamma) + layer.beta

    return call


# source, what is wrong, which layers, what they compute instead, the heads that notice
WRONG_LAYERS = [
    ("bvlc", "SAME padding of the stem", named("conv1_7x7_s2_pad"), stem_padded_as_same, ["main", "aux1", "aux2"]),
    ("bvlc", "no LRN", is_lrn, lambda layer: lambda x: x, ["main", "aux1", "aux2"]),
    (
        "bvlc",
        "alpha of LRN not divided by its window",
        is_lrn,
        lambda layer: LocalResponseNormalization(alpha=1e-4).call,
        ["main", "aux1", "aux2"],
    ),
    ("tf_slim", "symmetric padding of the stem", named("conv1_7x7_s2"), stem_padded_symmetrically, ["main"]),
    ("tf_slim", "epsilon of 1e-5", is_batch_norm, small_epsilon, ["main"]),
    (
        "torchvision",
        "SAME padding of the stem",
        named("conv1_7x7_s2_pad"),
        stem_padded_as_same,
        ["main", "aux1", "aux2"],
    ),
    ("torchvision", "epsilon of 1e-5", is_batch_norm, small_epsilon, ["main", "aux1", "aux2"]),
    (
        "torchvision",
        "average pooling of 5x5/3 for the adaptive one",
        named("loss1_ave_pool", "loss2_ave_pool"),
        lambda layer: keras.layers.AveragePooling2D(5, 3).call,
        ["aux1", "aux2"],
    ),
    (
        "torchvision",
        "3x3/2 for 2x2/2 before 5a",
        named("pool4_2x2_s2"),
        lambda layer: CeilMaxPooling2D(3, 2).call,
        ["main"],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "chosen", "replacement", "heads"),
    [
        pytest.param(source, chosen, new, heads, id=f"{source}-{what}")
        for source, what, chosen, new, heads in WRONG_LAYERS
    ],
)
def test_wrong_layer_is_noticed(loaded, outputs, vectors, instead, source, chosen, replacement, heads):
    model = loaded(source)
    layers = [layer for layer in model.layers if chosen(layer)]
    assert layers
    for layer in layers:
        instead(layer, replacement(layer))
    found = outputs(model, preprocessed(model, 224))
    assert min(difference(found, vectors(source), heads).values()) > NOTICED
    unaffected = set(HEADS[source]) - set(heads)
    assert max(difference(found, vectors(source), unaffected).values(), default=0) < TOLERANCE


def pool_same(layer):
    return keras.layers.MaxPooling2D(layer.pool_size, layer.strides, "same").call


def pool_valid(layer):
    return keras.layers.MaxPooling2D(layer.pool_size, layer.strides, "valid").call


def pool_ceil(layer):
    return CeilMaxPooling2D(layer.pool_size, layer.strides).call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "wrong_pool"),
    [("bvlc", pool_same), ("bvlc", pool_valid), ("torchvision", pool_same), ("tf_slim", pool_ceil)],
)
def test_wrong_rounding_of_pools_is_noticed(any_size, outputs, vectors, instead, source, wrong_pool):
    model = any_size(source)
    for layer in model.layers:
        if layer.name.startswith("pool") and isinstance(layer, keras.layers.MaxPooling2D):
            instead(layer, wrong_pool(layer))
    found = outputs(model, preprocessed(model, 299))
    assert found["map"].shape[:3] != vectors(source)["map_299"].shape[:3]


@pytest.mark.parametrize("source", ["bvlc", "torchvision"])
def test_flattening_in_keras_order_is_noticed(loaded, outputs, vectors, source):
    model = loaded(source)
    kernels = [model.get_layer(f"{prefix}_fc").kernel for prefix in ("loss1", "loss2")]
    right = [np.array(keras.ops.convert_to_numpy(kernel)) for kernel in kernels]
    try:
        for kernel, value in zip(kernels, right):  # the rows in the order of the file
            kernel.assign(value.reshape(4, 4, 128, 1024).transpose(2, 0, 1, 3).reshape(2048, 1024))
        found = outputs(model, preprocessed(model, 224))
    finally:
        for kernel, value in zip(kernels, right):
            kernel.assign(value)
    assert min(difference(found, vectors(source), ["aux1", "aux2"]).values()) > NOTICED
    assert difference(found, vectors(source), ["main"])["main"] < TOLERANCE


def test_a_thousand_classes_of_slim_leave_out_the_background(loaded, outputs, vectors):
    model = loaded("tf_slim", classes=1000)
    expected = vectors("tf_slim")["main_224"][:, 1:]
    found = outputs(model, preprocessed(model, 224))["main"]
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=0, atol=TOLERANCE)


def test_channels_first_networks_compute_the_same(files, outputs, vectors, channels_first):
    model = load_published_weights(ki.GoogLeNet(input_shape=(3, 224, 224)), "bvlc", files("bvlc"))
    inputs = ki.preprocess_input(published.images(224).transpose(0, 3, 1, 2), preprocessing="caffe")
    found = outputs(model, inputs)
    assert max(difference(found, vectors("bvlc"), HEADS["bvlc"]).values()) < TOLERANCE
