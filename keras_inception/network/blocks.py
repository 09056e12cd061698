"""The rows of Table 1 as functions from tensor to tensor.

Every function takes `conv`, the network's convolution unit: `conv(x, filters, kernel_size, strides=1, name=...)`.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import keras
from keras import layers

from keras_inception.architectures import LRN, Architecture, AuxiliaryHead, Conv, Convolution, Inception, MaxPool, Row
from keras_inception.network.dtypes import output_dtype
from keras_inception.network.initializers import InitialWeights
from keras_inception.network.layers import BatchNormalization, CeilMaxPooling2D, Dropout, LocalResponseNormalization
from keras_inception.types import Tensor

ConvolutionUnit: TypeAlias = Callable[..., Tensor]


def convolution_unit(architecture: Architecture, initial: InitialWeights) -> ConvolutionUnit:
    """Returns the network's convolution unit: convolution, bias or batch normalization, ReLU, with its padding."""
    return partial(_apply_conv, unit=architecture.convolution, padding=architecture.padding, initial=initial)


def _apply_conv(
    x: Tensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    name: str,
    unit: Convolution,
    padding: str,
    initial: InitialWeights,
) -> Tensor:
    if padding == "symmetric" and strides > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    else:
        padding = "same"  # with strides of 1 and odd kernels "same" is symmetric
    conv = partial(layers.Conv2D, filters, kernel_size, strides, padding, name=name)
    if not unit.batch_norm:
        return conv(activation="relu", **initial.of_hidden())(x)
    x = conv(use_bias=False, **initial.of_hidden(use_bias=False))(x)
    # 0.9, not Keras's 0.99: statistics that lag keep the validation at chance for the first hundreds of steps.
    x = BatchNormalization(channel_axis(), momentum=0.9, epsilon=unit.epsilon, scale=unit.gamma, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def output_size(row: Row, size: int, architecture: Architecture) -> int:
    """Returns the height or width, in pixels, of the row's output for an input of `size`."""
    if isinstance(row, MaxPool):
        window, strides = row.pool_size, row.strides
        if architecture.padding == "symmetric":
            return -(-(size - window) // strides) + 1
        return -(-size // strides)
    return -(-size // row.strides) if isinstance(row, Conv) else size


def channel_axis() -> int:
    """Returns the axis of the channels under the current `keras.config.image_data_format()`."""
    return 1 if keras.config.image_data_format() == "channels_first" else -1


def apply_row(row: Row, x: Tensor, architecture: Architecture, conv: ConvolutionUnit) -> Tensor:
    """Applies one row of an architecture to `x`, `(batch, height, width, channels)`.

    Returns:
        The row's output; its layer's name is the row's name, or begins with it.
    """
    name = row.name
    match row:
        case Conv():
            if row.reduce:
                x = conv(x, row.reduce, 1, name=f"{name}_reduce")
            return conv(x, row.filters, row.kernel_size, row.strides, name=name)
        case MaxPool() if architecture.padding == "symmetric":
            return CeilMaxPooling2D(row.pool_size, row.strides, name=name)(x)
        case MaxPool():
            return layers.MaxPooling2D(row.pool_size, row.strides, "same", name=name)(x)
        case LRN():
            return LocalResponseNormalization(name=name)(x)
        case Inception():
            # The order in which layers are made is that of the weights, and of what a seed gives them.
            y1 = conv(x, row.conv1x1, 1, name=f"{name}_1x1")
            y3 = conv(x, row.conv3x3_reduce, 1, name=f"{name}_3x3_reduce")
            y3 = conv(y3, row.conv3x3, 3, name=f"{name}_3x3")
            y5 = conv(x, row.conv5x5_reduce, 1, name=f"{name}_5x5_reduce")
            y5 = conv(y5, row.conv5x5, architecture.conv5x5_kernel_size, name=f"{name}_5x5")
            pool = layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x)
            pool = conv(pool, row.pool_proj, 1, name=f"{name}_pool_proj")
            return layers.Concatenate(channel_axis(), name=f"{name}_output")([y1, y3, y5, pool])


MAIN = "main"


def apply_main_head(x: Tensor, classes: int, activation: str | None, dropout: float, initial: InitialWeights) -> Tensor:
    """Applies the main head to the trunk's output: global average pooling, dropout, linear, softmax.

    Returns:
        `(batch, classes)`, float32 also under mixed precision, float64 under float64; the layer is called "main".
    """
    x = layers.GlobalAveragePooling2D(name="pool5")(x)  # (batch, 1024)
    x = Dropout(dropout, name="pool5_drop")(x)
    x = layers.Dense(classes, name="loss3_classifier", **initial.of_classifier())(x)
    return layers.Activation(activation, dtype=output_dtype(), name=MAIN)(x)


def apply_auxiliary_head(
    x: Tensor,
    head: AuxiliaryHead,
    conv: ConvolutionUnit,
    classes: int,
    activation: str | None,
    dropout: float,
    initial: InitialWeights,
) -> Tensor:
    """Applies an auxiliary head to its tap: average pooling, 1x1 convolution, FC 1024, dropout, linear, softmax.

    Returns:
        `(batch, classes)`, float32 also under mixed precision, float64 under float64; the layer is called `head.name`.
    """
    if head.pool == "adaptive_4x4":
        x = layers.AdaptiveAveragePooling2D(4, name=f"{head.prefix}_ave_pool")(x)
    else:
        x = layers.AveragePooling2D(5, 3, name=f"{head.prefix}_ave_pool")(x)
    x = conv(x, head.conv, 1, name=f"{head.prefix}_conv")
    x = layers.Flatten(name=f"{head.prefix}_flatten")(x)
    x = layers.Dense(head.dense, "relu", name=f"{head.prefix}_fc", **initial.of_hidden())(x)
    x = Dropout(dropout, name=f"{head.prefix}_drop_fc")(x)
    x = layers.Dense(classes, name=f"{head.prefix}_classifier", **initial.of_classifier())(x)
    return layers.Activation(activation, dtype=output_dtype(), name=head.name)(x)
