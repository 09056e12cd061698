"""Where published files hold the weights of a network, and in which order of axes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_inception.architectures import Architecture, Conv, Inception
from keras_inception.types import Array

# The convolutions of a module, as the builder names them.
BRANCHES: tuple[str, ...] = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")


@dataclass(frozen=True)
class Stored:
    """One tensor of a published file: the layer that the publisher knows, the rest of its name, and how it is turned.

    `convert` makes the array of the Keras weight from the file's, and raises a `ValueError` for one of another rank.
    """

    layer: str
    suffix: str
    convert: Callable[[Array], Array] = np.asarray

    @property
    def name(self) -> str:
        """The name of the tensor in the file."""
        return self.layer + self.suffix


def convolutions(architecture: Architecture) -> tuple[list[str], list[str]]:
    """Returns the names of the convolutions before the first module, and of the modules ("3a"), in order."""
    stem, modules = [], []
    for row in architecture.rows:
        if isinstance(row, Conv):
            stem += ([f"{row.name}_reduce"] if row.reduce else []) + [row.name]
        elif isinstance(row, Inception):
            modules.append(row.name.removeprefix("inception_"))
    return stem, modules


def matrix(array: Array) -> Array:
    """Turns the weights of a linear layer from `(outputs, inputs)` to `(inputs, outputs)`; axes of 1 may lead."""
    return array.reshape(array.shape[-2:]).T


def kernel(array: Array) -> Array:
    """Turns the weights of a convolution from `(filters, channels, height, width)` to Keras's order of axes."""
    return array.transpose(2, 3, 1, 0)


def flattened_matrix(array: Array, channels: int) -> Array:
    """Turns the weights of a linear layer that reads a flattened square map of so many channels.

    Caffe and PyTorch flatten it with the channels varying slowest, `(outputs, channels * height * width)`; Keras with
    the channels varying fastest, `(height * width * channels, outputs)`. Axes of 1 may lead.
    """
    outputs, inputs = array.shape[-2:]
    return array.reshape(outputs, channels, -1).transpose(2, 1, 0).reshape(inputs, outputs)
