"""A small network, its exports, and both ways to load them; made once a session."""

import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf
from c_loader import Server
from served_network import CLASS_NAMES, TINY, build

import keras_inception as ki


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(with_architecture):
    with with_architecture(TINY):
        yield


@pytest.fixture(scope="package")
def model(with_architecture):
    """A network with three heads, compiled, for 7 classes."""
    with with_architecture(TINY):
        return build(class_names=CLASS_NAMES)


@pytest.fixture(scope="package")
def directory(model, with_architecture, tmp_path_factory):
    """A folder of two versions: 1 as by default, 2 with all heads and masked images."""
    directory = tmp_path_factory.mktemp("served") / "animals"
    with with_architecture(TINY):
        ki.export_saved_model(model, directory, summary={"results": {"main": {"accuracy": 0.5}}})
        ki.export_saved_model(model, directory, all_heads=True, on_bad_image="mask", top_k=100)
    return directory


@pytest.fixture(scope="package")
def server(directory):
    """Version 1 in the C++ loader: `server(signature, name=array)`."""
    return Server(directory / "1")


@pytest.fixture(scope="package")
def masking_server(directory):
    """Version 2 in the C++ loader."""
    return Server(directory / "2")


@pytest.fixture(scope="package")
def loaded(directory):
    """Version 1 read back in Python, called like the server."""
    served = tf.saved_model.load(str(directory / "1"))

    def call(signature, **inputs):
        answer = served.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    return call
