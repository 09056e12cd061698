"""Layers that Keras lacks (local response normalization, ceil-mode max pooling) and two that know about replicas."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inception.errors import InputError
from keras_inception.network.replicas import replica_count, replica_index
from keras_inception.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_inception")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activation by a power of the summed squares of its neighbours in the channel dimension.

    `y[c] = x[c] / (bias + alpha * sum(x[c - depth_radius : c + depth_radius + 1] ** 2)) ** beta`, the formula and
    the argument names of `tf.nn.local_response_normalization`. The defaults are GoogLeNet's: window 5, and Caffe's
    alpha of 1e-4 divided by that window, because Caffe divides by it and this formula does not.

    The sum is one matrix product with a banded matrix of zeros and ones, which is faster than TensorFlow's kernel
    on the CPU, forward and backward (`benchmarks/normalization.py`). It is computed in float32 at least, also under
    mixed precision: `bias + alpha * sum` does not fit into 8 bits of mantissa.

    Args:
        depth_radius: Half the width of the window of channels, at least 0.
        bias: Offset, above 0, that keeps the divisor away from 0.
        alpha: Scale of the sum of squares.
        beta: Exponent.
        data_format: `"channels_last"` or `"channels_first"`; by default `keras.config.image_data_format()`.

    Input and output shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Reference: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 1.0,
        alpha: float = 2e-5,
        beta: float = 0.75,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if depth_radius < 0 or bias <= 0:
            raise InputError(
                "`depth_radius` must be at least 0 and `bias` above 0, or the divisor could be 0. "
                f"Received: depth_radius={depth_radius}, bias={bias}"
            )
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        if self.data_format not in ("channels_last", "channels_first"):
            raise InputError(
                f'`data_format` must be "channels_last" or "channels_first". Received: data_format={data_format!r}'
            )

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        divisor = self.bias + self.alpha * self._window_sum(ops.square(x))
        return ops.cast(x * negative_power(divisor, self.beta), inputs.dtype)

    def _window_sum(self, x: Tensor) -> Tensor:
        channels = x.shape[1 if self.data_format == "channels_first" else -1]
        index = np.arange(channels)
        band = np.abs(index[:, None] - index[None, :]) <= self.depth_radius
        band = ops.convert_to_tensor(band.astype("float32"), dtype=x.dtype)
        if self.data_format == "channels_last":
            return ops.matmul(x, band)
        return ops.moveaxis(ops.matmul(ops.moveaxis(x, 1, -1), band), -1, 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "depth_radius": self.depth_radius,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
            "data_format": self.data_format,
        }


def negative_power(x: Tensor, exponent: float) -> Tensor:
    """Returns `x ** -exponent`; the two exponents in use take square roots, several times faster than a power."""
    if exponent == 0.75:
        root = ops.rsqrt(x)
        return root * ops.sqrt(root)
    if exponent == 0.5:
        return ops.rsqrt(x)
    return ops.power(x, -exponent)


@keras.saving.register_keras_serializable(package="keras_inception")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling without padding whose output size is rounded up, as in Caffe and PyTorch's `ceil_mode=True`.

    The last window may reach past the edge and then takes the maximum of what is there: a map of `n` becomes
    `ceil((n - pool_size) / strides) + 1`. TensorFlow's "same" padding agrees on even maps of a 3x3/2 pooling and is
    one larger on odd ones. Arguments and shapes are those of `keras.layers.MaxPooling2D` without `padding`.
    """

    def __init__(self, pool_size: int = 3, strides: int = 2, **kwargs: Any):
        super().__init__(pool_size=pool_size, strides=strides, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        spatial = self._spatial(inputs.shape)
        overhangs = [_overhang(*dimension) for dimension in spatial]
        if not any(overhangs):
            return super().call(inputs)
        if all(_same_padding(*dimension) == overhang == 1 for dimension, overhang in zip(spatial, overhangs)):
            # "same" puts a single row of padding on the far side too, and saves the copy that `ops.pad` makes.
            return ops.max_pool(inputs, self.pool_size, self.strides, "same", self.data_format)
        pad = [(0, overhang) for overhang in overhangs]
        pad = [(0, 0), *pad, (0, 0)] if self.data_format == "channels_last" else [(0, 0), (0, 0), *pad]
        return super().call(ops.pad(inputs, pad, constant_values=-np.inf))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = [
            None if size is None else -(-(size - pool) // stride) + 1
            for size, pool, stride in self._spatial(input_shape)
        ]
        if self.data_format == "channels_last":
            return (input_shape[0], *sizes, input_shape[3])
        return (*input_shape[:2], *sizes)

    def compute_output_spec(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def _spatial(self, shape: Shape) -> list[tuple[int | None, int, int]]:
        sizes = shape[1:3] if self.data_format == "channels_last" else shape[2:4]
        return list(zip(sizes, self.pool_size, self.strides))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["padding"]
        return config


def _overhang(size: int | None, pool_size: int, strides: int) -> int:
    """Returns how far the last window reaches past the edge."""
    # An unknown size is padded as far as any size needs: what no window reaches changes nothing.
    return strides - 1 if size is None else (pool_size - size) % strides


def _same_padding(size: int | None, pool_size: int, strides: int) -> int | None:
    """Returns the number of rows that "same" padding adds, on both sides together; None if `size` is unknown."""
    return None if size is None else max(pool_size - (size % strides or strides), 0)


@keras.saving.register_keras_serializable(package="keras_inception")
class Dropout(keras.layers.Dropout):
    """Keras's layer of that name whose replicas draw masks of their own; Keras's would all draw the same one."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if replica_count() == 1 or not training or not self.rate:
            return super().call(inputs, training)
        return keras.random.dropout(inputs, self.rate, self.noise_shape, _SeedOfThisReplica(self.seed_generator))


class _SeedOfThisReplica(keras.random.SeedGenerator):
    """The seeds of another generator, shifted on all replicas but the first. It has no state of its own."""

    def __init__(self, generator: keras.random.SeedGenerator):
        self.generator = generator

    def next(self, ordered: bool = True) -> Tensor:
        seed = self.generator.next(ordered)
        shift = ops.cast(replica_index() * 1_000_003, seed.dtype)
        return seed + ops.stack([shift, ops.zeros_like(shift)])


@keras.saving.register_keras_serializable(package="keras_inception")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer of that name, with the moments of the whole batch under replicas, and in one pass on TensorFlow.

    There is nothing to choose: under several replicas it computes as Keras's does with `synchronized=True`. On one
    device TensorFlow trains it with the operation that it has for that, which Keras does not use: moments,
    normalization and their gradients are one pass each over the activations, which stay in their own type
    (`benchmarks/normalization.py`). Results differ from Keras's by rounding.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        in_one_pass = mask is None and not self.renorm and _has_fused_batch_norm(inputs, self.axis)
        if not (training and self.trainable and in_one_pass):
            return super().call(inputs, training=training, mask=mask)
        from keras_inception.network.tensorflow_ops import fused_batch_norm

        outputs, mean, variance = fused_batch_norm(inputs, self.gamma, self.beta, self.epsilon, self.axis)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(ops.cast(moving, new.dtype) * self.momentum + new * (1 - self.momentum))
        return outputs

    @property
    def synchronized(self) -> bool:
        return replica_count() > 1

    @synchronized.setter
    def synchronized(self, value: bool) -> None:
        """Keras's constructor sets it; it is decided while a step is traced."""

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["synchronized"]
        return config


def _has_fused_batch_norm(x: Tensor, axis: int) -> bool:
    """Whether TensorFlow normalizes this batch of images over one device in one operation."""
    return (
        keras.backend.backend() == "tensorflow"
        and replica_count() == 1
        and len(x.shape) == 4
        and axis % 4 in (1, 3)
        and keras.backend.standardize_dtype(x.dtype) != "float64"
    )
