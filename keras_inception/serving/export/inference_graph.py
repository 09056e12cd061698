"""The network as it serves: batch norm folded, nothing of the training left, weights as constants of one precision."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.layers import LocalResponseNormalization, _negative_power

PRECISIONS = ("float32", "bfloat16")
FEATURES = "features"

# From so many channels on, local response normalization in blocks of them beats one product of matrices: of GoogLeNet's
# two it is the one over 192 channels, by 1.7 times, and the other way round over 64.
BLOCKED_CHANNELS, BLOCK = 128, 16


def serving_network(model, heads=(MAIN,), precision="float32", *, rearranged=True):
    """Returns the network that gives the model's answers and computes nothing else.

    Batch normalization is folded into the convolutions before it, dropout and the layers of heads that are not asked
    for are gone, and logits go through a softmax.

    Args:
        model: An `InceptionModel` of channels-last images.
        heads: The names of the outputs to keep.
        precision: `"float32"`, or `"bfloat16"` for weights and maps of 16 bits; the divisors of local response
            normalization and the softmaxes stay in float32.
        rearranged: Whether to compute the same in the way that TensorFlow computes fastest; other engines have ways of
            their own.

    Returns:
        A `keras.Model` from preprocessed images, `(batch, height, width, channels)`, to a dict of float32 tensors: by
        head its softmax, `(batch, classes)`, and `"features"`, the pooled features below the main head,
        `(batch, 1024)`. Its weights are copies.

    Raises:
        ValueError: A head or the precision is unknown, the images are channels first, or an output is neither a
            softmax nor logits.
    """
    _check(model, heads, precision)
    part = keras.Model(model.input, [model.outputs[model.output_names.index(head)] for head in heads])
    units = _units(part)
    image = keras.Input(part.input_shape[1:], name="image")
    tensors = {id(part.input): image}
    for layer in part.layers:  # in the order of the graph
        if isinstance(layer, keras.layers.InputLayer) or id(layer.output) in tensors:
            continue
        inputs = [tensors[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        x = inputs if isinstance(layer.input, list) else inputs[0]
        if layer.name in units:
            y = _convolve(units[layer.name], x, precision)
            tensors |= {id(output): y for output in units[layer.name].outputs}
        elif isinstance(layer, keras.layers.Dropout):
            tensors[id(layer.output)] = x
        else:
            tensors[id(layer.output)] = _copy(layer, x, heads, precision, rearranged)
    outputs = {head: tensors[id(output)] for head, output in zip(heads, part.outputs)}
    if MAIN in heads:
        as_float = keras.layers.Activation("linear", dtype="float32", name=FEATURES)
        outputs[FEATURES] = as_float(tensors[id(model.get_layer("pool5").output)])
    return keras.Model(image, outputs, name=model.name)


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
        raise InputError(f"`precision` must be one of {PRECISIONS}. Received: precision={precision!r}")
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers):
        raise InputError(
            "An export takes images of (height, width, channels). Build the network under "
            '`keras.config.set_image_data_format("channels_last")`. Received: a model with data_format="channels_first"'
        )
    for head in heads:
        if head not in model.output_names:
            raise InputError(f"`heads` must be outputs of the model, {model.output_names}. Received: {head!r}")
        activation = getattr(model.get_layer(head), "activation", None)
        if activation not in (keras.activations.softmax, keras.activations.linear):
            raise InputError(
                'An export gives probabilities: build the network with `classifier_activation` of "softmax" or None. '
                f"Received: output {head!r} with activation={getattr(activation, '__name__', activation)}"
            )


@dataclass(frozen=True)
class _Unit:
    """A convolution with the batch normalization and the ReLU that follow it."""

    layer: keras.layers.Conv2D
    outputs: tuple  # of each of these layers
    kernel: np.ndarray
    bias: np.ndarray
    activation: object


def _units(model):
    """Returns the convolutions of a model by their names."""
    after = {id(layer.input): layer for layer in model.layers if not isinstance(layer.input, (list, tuple))}
    units = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights() if layer.use_bias else (*layer.get_weights(), 0.0)
            outputs, activation = [layer.output], layer.activation
            if isinstance(norm := after.get(id(outputs[-1])), keras.layers.BatchNormalization):
                kernel, bias = _folded(kernel, bias, norm)
                outputs.append(norm.output)
            if isinstance(relu := after.get(id(outputs[-1])), keras.layers.ReLU):
                activation = keras.activations.relu
                outputs.append(relu.output)
            units[layer.name] = _Unit(layer, tuple(outputs), kernel, bias + np.zeros(layer.filters), activation)
    return units


def _folded(kernel, bias, norm):
    """Returns kernel and bias of the convolution that does what a convolution and its batch normalization did."""
    mean, variance = (np.asarray(weight, "float64") for weight in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    beta = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)  # (filters,)
    return kernel * scale, beta + (bias - mean) * scale


def _convolve(unit, x, precision):
    config = {"use_bias": True, "activation": unit.activation, "dtype": precision}
    convolution = keras.layers.Conv2D.from_config(unit.layer.get_config() | config)
    y = convolution(x)
    convolution.set_weights([unit.kernel, unit.bias])
    return y


def _copy(layer, x, heads, precision, rearranged):
    """Applies a copy of a layer."""
    config = layer.get_config() | {"dtype": precision}
    kind = type(layer)
    if layer.name in heads:
        config |= {"activation": "softmax", "dtype": "float32"}
    if rearranged and kind is LocalResponseNormalization:
        kind = _Normalization
    copy = kind.from_config(config)
    y = copy(x)
    copy.set_weights(layer.get_weights())
    return y


class _Normalization(LocalResponseNormalization):
    """Local response normalization that TensorFlow computes faster than the layer that it stands for.

    Of many channels the sum over neighbours is a convolution over blocks of them: a block needs itself and the two
    beside it alone, where the product with the whole banded matrix multiplies mostly with zeros. Under bfloat16 squares
    and their sum have its 8 bits, as the maps have; the divisor, which adds 1 to a small number, has float32's.
    """

    def call(self, x):
        sums = keras.ops.cast(self._window_sum(keras.ops.square(x)), "float32")
        factor = _negative_power(self.bias + self.alpha * sums, self.beta)
        return x * keras.ops.cast(factor, x.dtype)

    def _window_sum(self, x):
        channels = x.shape[-1]
        if channels < BLOCKED_CHANNELS or channels % BLOCK or self.depth_radius > BLOCK:
            return super()._window_sum(x)
        index = np.arange(3 * BLOCK)
        band = np.abs(index[:, None] - index[None, BLOCK : 2 * BLOCK]) <= self.depth_radius
        kernel = keras.ops.convert_to_tensor(band.reshape(1, 3, BLOCK, BLOCK).astype("float32"), dtype=x.dtype)
        blocks = keras.ops.reshape(x, (-1, 1, channels // BLOCK, BLOCK))
        sums = keras.ops.conv(blocks, kernel, 1, "same", "channels_last")
        return keras.ops.reshape(sums, (-1, *x.shape[1:]))
