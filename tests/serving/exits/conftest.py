"""A small network with three heads, its answers, and a count of the rows that its layers compute."""

import pytest
import tensorflow as tf
from small_network import SMALL, build, random_images


@pytest.fixture(scope="module", autouse=True)
def _small_architecture(with_architecture):
    with with_architecture(SMALL):
        yield


@pytest.fixture(scope="module", autouse=True)
def _fewer_combinations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_inception.serving.exits.calibration.COMBINATIONS", 200)
        yield


@pytest.fixture(scope="package")
def network(with_architecture):
    with with_architecture(SMALL):
        return build()


@pytest.fixture(scope="package")
def answers(network):
    """The softmaxes of all heads for 64 images, by head."""
    outputs = network.predict(random_images(64), batch_size=64, verbose=0)
    return dict(zip(network.output_names, outputs))


@pytest.fixture
def count_rows(monkeypatch):
    """Returns `count(model, layer names)`, which makes the layers count the rows that they compute.

    The count is a variable that the layer itself adds to when the graph runs: it does not know of stages.
    """

    def count(model, names):
        counters = {name: tf.Variable(0) for name in names}
        for name in names:
            layer = model.get_layer(name)

            def call(x, *args, _call=layer.call, _counter=counters[name], **kwargs):
                _counter.assign_add(tf.shape(x)[0])
                return _call(x, *args, **kwargs)

            monkeypatch.setattr(layer, "call", call)
        return lambda: {name: int(counter.numpy()) for name, counter in counters.items()}

    return count
