"""The network as it serves: batch norm folded, nothing of the training left, weights as constants of one precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.checks import check_finite, check_image_shape, gives_logits
from keras_inception.network.layers import LocalResponseNormalization, negative_power
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.types import Array, Tensor

EXPORT_PRECISIONS: tuple[str, ...] = ("float32", "bfloat16")
FEATURES: str = "features"

# From so many channels on, local response normalization in blocks of them beats one product of matrices: of GoogLeNet's
# two it is the one over 192 channels, by 1.7 times, and the other way round over 64.
BLOCKED_CHANNELS: int = 128
BLOCK: int = 16


def serving_network(
    model: InceptionModel, heads: Sequence[str] = (MAIN,), precision: str = "float32", *, rearranged: bool = True
) -> InceptionModel:
    """Returns the network that gives the model's answers and computes nothing else.

    Batch normalization is folded into the convolutions before it, dropout and the layers of heads that are not asked
    for are gone, and logits go through a softmax.

    Args:
        model: A model of channels-last images.
        heads: The names of the outputs to keep.
        precision: `"float32"`, or `"bfloat16"` for weights and maps of 16 bits; the divisors of local response
            normalization and the softmaxes stay in float32.
        rearranged: Whether to compute the same in the way that TensorFlow computes fastest; other engines have ways of
            their own.

    Returns:
        A network from preprocessed images, `(batch, height, width, channels)`, to a dict of float32 tensors: by head
        its softmax, `(batch, classes)`, and `"features"`, the pooled features below the main head, `(batch, 1024)`. Its
        weights are copies.

    Raises:
        InputError: It is no such model, a weight is not finite, a head or the precision is unknown, or an output is
            neither a softmax nor logits.
    """
    _check(model, heads, precision)
    ends = [model.outputs[model.output_names.index(head)] for head in heads]
    part = keras.Model(model.input, ends, name=model.name)
    check_finite(part)
    folded = _folded_convolutions(part)
    gone = {name for convolution in folded.values() for name in convolution.absorbed}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind, config = type(layer), layer.get_config() | {"dtype": precision}
        if layer.name in folded:
            config |= {"use_bias": True, "activation": folded[layer.name].activation}
        elif layer.name in heads:
            config |= {"activation": "softmax", "dtype": "float32"}
        elif rearranged and kind is LocalResponseNormalization:
            kind = BlockedNormalization
        return kind.from_config(config)

    def call(layer: keras.layers.Layer, x: Tensor, **kwargs: Any) -> Tensor:
        return x if layer.name in gone or isinstance(layer, keras.layers.Dropout) else layer(x, **kwargs)

    network = keras.models.clone_model(part, clone_function=copy, call_function=call)
    for layer in network.layers:
        convolution = folded.get(layer.name)
        layer.set_weights(convolution.weights if convolution else part.get_layer(layer.name).get_weights())
    outputs = {head: network.get_layer(head).output for head in heads}
    if MAIN in heads:
        as_float = keras.layers.Activation("linear", dtype="float32", name=FEATURES)
        outputs[FEATURES] = as_float(network.get_layer("pool5").output)
    return InceptionModel(
        network.input,
        outputs,
        name=model.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        resize=model.resize,
    )


def frozen(network: keras.Model) -> Callable[[Tensor], dict[str, Tensor]]:
    """Returns a function of tensors that calls a network whose variables became constants of the graph.

    The constants are made in the graph that calls the function, also within the branches of a `tf.cond`: TensorFlow
    rearranges weights for the processor once, and not at every call, where it sees that they are constant.
    """
    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in network.variables]

    def call(x: Tensor) -> dict[str, Tensor]:
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            return network(x, training=False)

    return call


def _check(model: InceptionModel, heads: Sequence[str], precision: str) -> None:
    check_model(model)
    architectures.of(model)
    if precision not in EXPORT_PRECISIONS:
        raise InputError(f"`precision` must be one of {EXPORT_PRECISIONS}. Received: precision={precision!r}")
    for head in heads:
        if head not in model.output_names:
            raise InputError(
                f"An export needs the head {head!r}. Build the network with `include_top=True` and its heads. "
                f"Received: a model with the outputs {model.output_names}"
            )
        gives_logits(model, head)  # refuses other activations
    quantized = [layer.name for layer in model.layers if layer.quantization_mode is not None]
    if quantized:
        raise InputError(
            "An export rearranges floating-point weights, which a network no longer has after `quantize`. Export the "
            "network as it was trained; `keras-inception export --format onnx --int8` quantizes it. "
            f"Received: a model with quantized layers: {', '.join(quantized)}"
        )
    check_image_shape(model)


@dataclass(frozen=True)
class _Convolution:
    """A convolution that does what the batch normalization and the ReLU after it did, whose names are `absorbed`."""

    weights: list[Array]
    activation: Callable[[Tensor], Tensor]
    absorbed: list[str]


def _folded_convolutions(model: keras.Model) -> dict[str, _Convolution]:
    after = {id(layer.input): layer for layer in model.layers if not isinstance(layer.input, (list, tuple))}
    found = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        kernel, bias = layer.get_weights() if layer.use_bias else (*layer.get_weights(), np.zeros(layer.filters))
        activation, absorbed, end = layer.activation, [], layer
        if isinstance(after.get(id(end.output)), keras.layers.BatchNormalization):
            end = after[id(end.output)]
            kernel, bias = _folded(kernel, bias, end)
            absorbed.append(end.name)
        if isinstance(after.get(id(end.output)), keras.layers.ReLU):
            activation = keras.activations.relu
            absorbed.append(after[id(end.output)].name)
        found[layer.name] = _Convolution([kernel, bias], activation, absorbed)
    return found


def _folded(kernel: Array, bias: Array, norm: keras.layers.BatchNormalization) -> tuple[Array, Array]:
    """Returns kernel and bias of the convolution that does what a convolution and its batch normalization did."""
    mean, variance = (np.asarray(weight, "float64") for weight in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    beta = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)  # (filters,)
    return kernel * scale, beta + (bias - mean) * scale


@keras.saving.register_keras_serializable(package="keras_inception")
class BlockedNormalization(LocalResponseNormalization):
    """Local response normalization that TensorFlow computes faster than the layer that it stands for.

    Of many channels the sum over neighbours is a convolution over blocks of them: a block needs itself and the two
    beside it alone, where the product with the whole banded matrix multiplies mostly with zeros. Under bfloat16 squares
    and their sum have its 8 bits, as the maps have; the divisor, which adds 1 to a small number, has float32's.
    """

    def call(self, inputs: Tensor) -> Tensor:
        squares, channels = keras.ops.square(inputs), inputs.shape[-1]
        if channels >= BLOCKED_CHANNELS and channels % BLOCK == 0 and self.depth_radius <= BLOCK:
            kernel = self._band(inputs.dtype, 3 * BLOCK)[:, BLOCK : 2 * BLOCK]
            blocks = keras.ops.reshape(squares, (-1, 1, channels // BLOCK, BLOCK))
            kernel = keras.ops.reshape(kernel, (1, 3, BLOCK, BLOCK))
            sums = keras.ops.conv(blocks, kernel, 1, "same", "channels_last")
            sums = keras.ops.reshape(sums, (-1, *inputs.shape[1:]))
        else:
            sums = keras.ops.matmul(squares, self._band(inputs.dtype, channels))
        factor = negative_power(self.bias + self.alpha * keras.ops.cast(sums, "float32"), self.beta)
        return inputs * keras.ops.cast(factor, inputs.dtype)

    def _band(self, dtype: str, channels: int) -> Tensor:
        """Returns the matrix of ones where two channels are neighbours, and zeros."""
        index = np.arange(channels)
        band = np.abs(index[:, None] - index[None, :]) <= self.depth_radius
        return keras.ops.convert_to_tensor(band.astype("float32"), dtype=dtype)
