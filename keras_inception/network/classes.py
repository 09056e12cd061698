"""A trained network for other classes."""

from collections.abc import Sequence

import keras

from keras_inception.errors import InputError
from keras_inception.network.googlenet import CLASSES, compile_model
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.trained import classifiers
from keras_inception.rules import argument


def change_classes(model: InceptionModel, classes: int, class_names: Sequence[str] | None = None) -> InceptionModel:
    """Returns a copy of a network with new classifiers for other classes; all other layers keep their weights.

    Args:
        model: A network with heads, such as a trained one. It stays as it is.
        classes: Number of classes of the copy, at least 2.
        class_names: Their names, or None.

    Returns:
        An `InceptionModel` with variables of its own and the heads, layer names, frozen layers and dtype of `model`,
        compiled by `compile_model` where that was compiled. The new classifiers learn, wherever it was frozen.

    Raises:
        InputError: The model has no heads of softmaxes or logits, or the classes are fewer than 2.
    """
    check_model(model)
    classes = argument("classes", classes, CLASSES)
    fresh = classifiers(model)
    if len(fresh) < len(model.outputs):
        raise InputError(
            "The heads must end in a classifier and its activation, as `GoogLeNet` builds them. "
            f"Received: a model with the outputs {model.output_names}"
        )

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config() | ({"units": classes, "trainable": True} if layer.name in fresh else {})
        config |= {"class_names": None} if "class_names" in config else {}
        return type(layer).from_config(config)

    part = keras.Model(model.inputs[0], model.outputs)  # of which Keras copies no compilation
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.InputLayer))
    image = keras.Input(batch_shape=first.batch_shape, dtype=first.dtype, name=first.name)
    copied = keras.models.clone_model(part, image, clone_function=copy)
    for layer in copied.layers:
        if layer.name not in fresh:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    changed = InceptionModel(copied.input, copied.outputs if len(fresh) > 1 else copied.outputs[0], name=model.name)
    changed.class_names = class_names
    return compile_model(changed) if model.compiled else changed
