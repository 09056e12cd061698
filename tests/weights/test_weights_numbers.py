"""Converted networks against what the publishers' own programs computed with the same weights and images.

`vectors/` holds those outputs. `test_weights_against_engines.py` compares with the programs themselves, and
writes the vectors anew.
"""

import pathlib

import numpy as np
import published_networks as published
import pytest
import tensorflow as tf

import keras_inception as ki
from keras_inception.weights import load_published_weights

VECTORS = pathlib.Path(__file__).parent / "vectors"
TOLERANCE = 1e-4  # of a softmax: float32 through 22 layers stays below 1e-5

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


def test_a_thousand_classes_of_slim_leave_out_the_background(loaded, outputs, vectors):
    model = loaded("tf_slim", classes=1000)
    expected = vectors("tf_slim")["main_224"][:, 1:]
    found = outputs(model, preprocessed(model, 224))["main"]
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=0, atol=TOLERANCE)


def test_channels_first_networks_compute_the_same(files, outputs, vectors, channels_first):
    model = load_published_weights(ki.GoogLeNet(input_shape=(3, 224, 224)), "bvlc", files("bvlc"))
    inputs = ki.preprocess_input(published.images(224).transpose(0, 3, 1, 2), preprocessing="caffe")
    try:
        found = outputs(model, inputs)
    except tf.errors.UnimplementedError:
        pytest.skip("TensorFlow has no channels_first convolution on this processor")
    for head in HEADS["bvlc"]:
        np.testing.assert_allclose(found[head], vectors("bvlc")[f"{head}_224"], rtol=0, atol=TOLERANCE)
