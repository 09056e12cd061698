"""Models that serve: one head of a trained GoogLeNet, or its features, without what training alone needs."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.rules import Rule, argument, plain, rule

NAMES: Rule = rule(
    "a list of at least one name",
    lambda value: isinstance(value, tuple) and value != () and all(isinstance(name, str) for name in value),
)


def inference_model(model: keras.Model, head: str = MAIN) -> InceptionModel:
    """Returns the model of one head, which shares the trained model's layers and variables.

    Args:
        model: A model of several named outputs: just built, trained, or loaded from a `.keras` file.
        head: The output to keep. `"main"` is the classifier of the paper's tests; `"aux1"` is the network cut after
            module 4a, `"aux2"` after 4d.

    Returns:
        An `InceptionModel` of one output, `(batch, classes)`, not compiled, without any layer that the head does not
        need. Its variables are those of `model`, not copies: training either one changes both.

    Raises:
        InputError: The model has no such head.
    """
    check_model(model)
    names = list(model.output_names)
    if plain(head) not in names:
        raise InputError(f"`head` must be one of the model's outputs, {names}. Received: head={head!r}")
    name = model.name if head == MAIN else f"{model.name}_{head}"
    return _view(model, model.outputs[names.index(head)], name)


def features(model: keras.Model, names: Sequence[str]) -> InceptionModel:
    """Returns the model of the maps at some places of the network, which shares the model's layers and variables.

    `features(model, ["inception_3b", "inception_4e", "inception_5b"])` gives the maps at strides 8, 16 and 32 that
    detectors and style transfer read.

    Args:
        model: What `GoogLeNet` or `inference_model` returned, with or without heads.
        names: Names of rows of the architecture, whose outputs are meant (a convolution's after its ReLU), or of any
            layers.

    Returns:
        An `InceptionModel`, not compiled, without any layer that the features do not need. Its output is a dict by
        `names`; a row's map is `(batch, height, width, channels)`, as in Table 1. Its variables are those of `model`.

    Raises:
        InputError: A name is neither a row nor a layer, or there is none.
    """
    check_model(model, heads=False)
    names = argument("names", names, NAMES)
    architecture, rows = model.architecture, {}
    if architecture is not None:
        layers = architectures.layers_by_owner(model)
        rows = {row.name: layers[row.name][-1].output for row in architecture.rows if row.name in layers}
    outputs = {layer.name: layer.output for layer in model.layers} | rows
    for name in names:
        if name not in outputs:
            raise InputError(
                f"`names` must be rows of the network ({', '.join(rows)}) or layers in `model.layers`. "
                f"Received: {name!r}"
            )
    return _view(model, {name: outputs[name] for name in names}, f"{model.name}_features")


def _view(model: InceptionModel, outputs: Any, name: str) -> InceptionModel:
    view = InceptionModel(model.input, outputs, name=name)
    view.record = model.record
    return view
