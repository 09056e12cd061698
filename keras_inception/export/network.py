"""The network as it serves: batch norm folded, nothing of the training left, weights as constants of one precision."""

import keras
import numpy as np
import tensorflow as tf

from keras_inception.heads import MAIN

PRECISIONS = ("float32", "bfloat16")
FEATURES = "features"


def serving_network(model, heads=(MAIN,), precision="float32"):
    """Returns the network that gives the model's answers and computes nothing else.

    Batch normalization is folded into the convolutions before it, dropout and the layers of heads that are not asked
    for are gone, and logits go through a softmax.

    Args:
        model: An `InceptionModel` of channels-last images.
        heads: The names of the outputs to keep.
        precision: `"float32"`, or `"bfloat16"` for weights and maps of 16 bits; local response normalization and the
            softmaxes stay in float32.

    Returns:
        A `keras.Model` from preprocessed images, `(batch, height, width, channels)`, to a dict of float32 tensors: by
        head its softmax, `(batch, classes)`, and `"features"`, the pooled features below the main head,
        `(batch, 1024)`. Its weights are copies.

    Raises:
        ValueError: A head or the precision is unknown, the images are channels first, or an output is neither a
            softmax nor logits.
    """
    _check(model, heads, precision)
    outputs = {head: model.outputs[model.output_names.index(head)] for head in heads}
    if MAIN in heads:
        as_float = keras.layers.Activation("linear", dtype="float32", name=FEATURES)
        outputs[FEATURES] = as_float(model.get_layer("pool5").output)
    part = keras.Model(model.input, outputs, name=model.name)
    folds = _folds(part)

    def clone(layer):
        if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Dropout)):
            return _Nothing(name=layer.name, dtype=precision)
        config = layer.get_config()
        if layer.name in heads:
            config |= {"activation": "softmax", "dtype": "float32"}
        elif layer.name != FEATURES:
            config |= {"dtype": precision}
        if layer.name in folds:
            config |= {"use_bias": True}
        return type(layer).from_config(config)

    network = keras.models.clone_model(part, clone_function=clone)
    for layer in network.layers:
        if layer.weights:
            trained = part.get_layer(layer.name)
            layer.set_weights(_folded(trained, folds[layer.name]) if layer.name in folds else trained.get_weights())
    return network


class _Nothing(keras.layers.Layer):
    """What stands in the place of a layer that is gone; takes the arguments that any layer is called with."""

    def call(self, x, **arguments):
        return x


def frozen(network):
    """Returns a function of tensors that calls a Keras model whose variables became constants of the graph.

    The constants are made in the graph that calls the function, also within the branches of a `tf.cond`: TensorFlow
    rearranges weights for the processor once, and not at every call, where it sees that they are constant.

    Args:
        network: A Keras model.
    """
    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in network.variables]

    def call(x):
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            return network(x, training=False)

    return call


def _check(model, heads, precision):
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: precision={precision!r}")
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers):
        raise ValueError(
            "An export takes images of (height, width, channels). Build the network under "
            '`keras.config.set_image_data_format("channels_last")`. Received: a model with data_format="channels_first"'
        )
    for head in heads:
        if head not in model.output_names:
            raise ValueError(f"`heads` must be outputs of the model, {model.output_names}. Received: {head!r}")
        activation = getattr(model.get_layer(head), "activation", None)
        if activation not in (keras.activations.softmax, keras.activations.linear):
            raise ValueError(
                'An export gives probabilities: build the network with `classifier_activation` of "softmax" or None. '
                f"Received: output {head!r} with activation={getattr(activation, '__name__', activation)}"
            )


def _folds(model):
    """Returns the batch normalizations of a model by the names of the convolutions that they follow."""
    convolutions = {id(layer.output): layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    return {
        convolutions[id(layer.input)]: layer  # the builder puts it nowhere else
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }


def _folded(convolution, norm):
    """Returns kernel and bias of the convolution that does what a convolution and its batch normalization did."""
    weights = {name: np.asarray(getattr(norm, name), "float64") for name in ("moving_mean", "moving_variance")}
    gamma = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    beta = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = gamma / np.sqrt(weights["moving_variance"] + norm.epsilon)  # (filters,)
    bias = np.asarray(convolution.bias, "float64") if convolution.use_bias else 0.0
    kernel = np.asarray(convolution.kernel, "float64") * scale  # (height, width, channels, filters)
    return [kernel.astype("float32"), (beta + (bias - weights["moving_mean"]) * scale).astype("float32")]
