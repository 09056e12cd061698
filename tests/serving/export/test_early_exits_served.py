"""Early exits in the SavedModel: the branches answer in the C++ loader as the model does in Python."""

import numpy as np
import pytest
from c_loader import Server
from served_network import SIDE

import keras_inception as ki
from keras_inception.serving.export import early_exit_network, export_saved_model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(4).integers(0, 256, (8, SIDE, SIDE, 3), "uint8")


@pytest.fixture(scope="module")
def exiting(model, pixels):
    """Half of the images leave at aux1, some at aux2; no threshold is the probability of an image."""
    outputs = dict(zip(model.output_names, model.predict(ki.preprocess_input(pixels), verbose=0)))
    return ki.early_exit_model(model, {head: float(np.median(outputs[head].max(axis=1))) for head in ("aux1", "aux2")})


@pytest.fixture(scope="module")
def served(model, exiting, tmp_path_factory):
    directory = tmp_path_factory.mktemp("early")
    export_saved_model(model, directory, network=early_exit_network(model, exiting.thresholds))
    return Server(directory / "1")


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_a_server_gives_the_answers_and_the_exits_of_the_model(served, exiting, pixels, count):
    found = exiting(ki.preprocess_input(pixels[:count]))
    answer = served("serving_uint8", images=pixels[:count])
    np.testing.assert_array_equal(answer["exit"], found["exit"])
    # The folded batch normalization rounds otherwise.
    np.testing.assert_allclose(answer["probabilities"], found["probabilities"], atol=1e-5)
    assert answer["classes"].shape == (count, 5)


def test_images_leave_at_several_heads(exiting, pixels):
    assert len(set(exiting(ki.preprocess_input(pixels))["exit"].numpy())) >= 2
