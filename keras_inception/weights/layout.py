"""What a published file holds: the names of its tensors for the layers of a network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_inception.architectures import Architecture, Conv, Inception
from keras_inception.types import Array

# The convolutions of a module, as the builder names them.
BRANCHES: tuple[str, ...] = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")


@dataclass(frozen=True)
class Stored:
    """One tensor of a published file, and the function from its array to the array of the Keras weight.

    The function raises a `ValueError` for an array of another rank.
    """

    name: str
    convert: Callable[[Array], Array] = np.asarray


def stem_layers(architecture: Architecture) -> tuple[str, ...]:
    """Returns the names of the convolutions before the first module, in order."""
    rows = [row for row in architecture.rows if isinstance(row, Conv)]
    return tuple(name for row in rows for name in ([f"{row.name}_reduce"] if row.reduce else []) + [row.name])


def modules(architecture: Architecture) -> tuple[str, ...]:
    """Returns the names of the inception modules in order: "3a" of the row "inception_3a" and so on."""
    return tuple(row.name.removeprefix("inception_") for row in architecture.rows if isinstance(row, Inception))


def matrix(array: Array) -> Array:
    """Turns the weights of a linear layer from `(outputs, inputs)` to `(inputs, outputs)`; axes of 1 may lead."""
    return array.reshape(array.shape[-2:]).T


def kernel(array: Array) -> Array:
    """Turns the weights of a convolution from `(filters, channels, height, width)` to Keras's order of axes."""
    return array.transpose(2, 3, 1, 0)


def flattened_matrix(array: Array, channels: int) -> Array:
    """Turns the weights of a linear layer that reads a flattened square map.

    Args:
        array: `(outputs, channels * height * width)`, the channels varying slowest, as Caffe and PyTorch flatten; axes
            of 1 may lead.
        channels: The number of channels of the map.

    Returns:
        `(height * width * channels, outputs)`, the channels varying fastest, as Keras flattens.
    """
    outputs, inputs = array.shape[-2:]
    return array.reshape(outputs, channels, -1).transpose(2, 1, 0).reshape(inputs, outputs)
