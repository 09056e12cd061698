"""A small network, its exports, and both ways to load them; made once a session."""

import pytest

pytest.importorskip("tensorflow")

import numpy as np
import tensorflow as tf
from served_network import CLASS_NAMES, build, random_images

import keras_inception as ki
from keras_inception.serving.export.c_loader import Server


@pytest.fixture(scope="session")
def model():
    """A network with three heads, compiled, for 7 classes."""
    return build(class_names=CLASS_NAMES)


@pytest.fixture(scope="session")
def answers(model):
    """The softmaxes of all heads for 64 images, by head."""
    return dict(zip(model.output_names, model.predict(random_images(64), batch_size=64, verbose=0)))


@pytest.fixture(scope="session")
def thresholds(answers):
    """Thresholds that half of the images reach; none of them is the probability of an image."""
    return {head: float(np.median(answers[head].max(axis=1))) for head in ("aux1", "aux2")}


@pytest.fixture(scope="session")
def exports(model, thresholds, tmp_path_factory):
    """A folder of versions: 1 as by default, 2 with all heads, 3 with early exits; the last two mask bad images."""
    folder = tmp_path_factory.mktemp("served") / "animals"
    ki.export_saved_model(model, folder, summary={"results": {"main": {"accuracy": 0.5}}})
    ki.export_saved_model(model, folder, all_heads=True, on_bad_image="mask", top=2)
    ki.export_saved_model(model, folder, exits=thresholds, on_bad_image="mask", top=100)
    return folder


@pytest.fixture(scope="session")
def server(exports):
    """Version 1 in the C++ loader: `server(signature, name=array)`."""
    return Server(exports / "1")


@pytest.fixture(scope="session")
def masking_server(exports):
    """Version 2 in the C++ loader."""
    return Server(exports / "2")


@pytest.fixture(scope="session")
def exiting_server(exports):
    """Version 3 in the C++ loader."""
    return Server(exports / "3")


@pytest.fixture(scope="session")
def loaded(exports):
    """Version 1 read back in Python, called like the server."""
    served = tf.saved_model.load(str(exports / "1"))

    def call(signature, **inputs):
        answer = served.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    return call
