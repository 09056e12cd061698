"""Files as the publishers made them, with random weights, and models that loaded them; written once a session."""

import dataclasses

import keras
import numpy as np
import published_networks as published
import pytest

import keras_inception as ki
from keras_inception.weights import SOURCES, load_published_weights

TENSORS = {
    "bvlc": published.bvlc_tensors,
    "tf_slim": published.slim_tensors,
    "torchvision": published.torchvision_tensors,
}


@pytest.fixture(scope="session")
def tensors():
    """Returns `tensors(source)`, the random weights under the publisher's names."""
    made = {}

    def tensors(source):
        if source not in made:
            made[source] = TENSORS[source]()
        return made[source]

    return tensors


@pytest.fixture(scope="session")
def caffemodel(tensors, tmp_path_factory):
    """The path of a `.caffemodel` in the encoding of the published one."""
    path = tmp_path_factory.mktemp("bvlc") / "bvlc_googlenet.caffemodel"
    path.write_bytes(published.caffemodel(tensors("bvlc")))
    return path


@pytest.fixture(scope="session")
def files(tensors, caffemodel, tmp_path_factory):
    """Returns `files(source)`, a path to load; the file of `"torchvision"` is empty."""
    made = {"bvlc": caffemodel}

    def file(source):
        if source not in made:
            made[source] = tmp_path_factory.mktemp(source) / {"tf_slim": "inception_v1.ckpt"}.get(source, "empty.pth")
            if source == "tf_slim":
                tensorflow = pytest.importorskip("tensorflow", reason="TF-slim's file is written by TensorFlow")
                published.write_checkpoint(tensorflow, made[source], tensors(source))
            else:
                made[source].touch()
        return made[source]

    return file


@pytest.fixture(scope="session")
def loaded(files, tensors):
    """Returns `loaded(source, **arguments)`, a network with the random weights of the source; not to be changed."""
    made = {}

    def network(source, **arguments):
        key = (source, *sorted(arguments.items()))
        if key not in made:
            if source == "tf_slim":
                arguments = {"classes": 1001, **arguments}
            if source != "bvlc":
                arguments = {"input_shape": (None, None, 3), **arguments}
            model = ki.GoogLeNet(architecture=SOURCES[source].architecture, **arguments)
            with pytest.MonkeyPatch.context() as patch:
                if source == "torchvision":
                    without = dataclasses.replace(SOURCES[source], read=lambda path: tensors(source))
                    patch.setitem(SOURCES, source, without)
                made[key] = load_published_weights(model, source, files(source))
        return made[key]

    return network


@pytest.fixture(scope="session")
def any_size(loaded):
    """Returns `any_size(source)`, a loaded network for images of any size; BVLC's without its auxiliary heads."""

    def network(source):
        if source == "bvlc":
            return loaded(source, input_shape=(None, None, 3), aux_heads=False)
        return loaded(source)

    return network


@pytest.fixture(scope="session")
def outputs():
    """Returns `outputs(model, inputs)`: a dict of the heads' softmaxes and of the map of 5b, `"map"`."""

    def outputs(model, inputs):
        names = [*model.output_names, "map"]
        both = keras.Model(model.input, [*model.outputs, model.get_layer("inception_5b_output").output])
        return dict(zip(names, map(keras.ops.convert_to_numpy, both(np.asarray(inputs, "float32"), training=False))))

    return outputs
