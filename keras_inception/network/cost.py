"""What a network costs, row by row: Table 1 as built, beside what the paper printed."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import keras

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.types import Shape


@dataclass(frozen=True)
class RowCost:
    """One row of Table 1 as built.

    Attributes:
        name: The row's name in `architectures`, `"linear"` for the main classifier, or the name of an auxiliary head.
        output_shape: Shape of the row's output for one image.
        parameters: Number of weights, biases and statistics of normalizations included.
        multiply_adds: Multiplications (each with its addition) of the convolutions and linear layers for one image.
        naive: For an inception module, those of the naive module of the paper's Figure 2(a): 1x1, 3x3 and 5x5 read the
            whole input, and pooling has no projection. None for other rows.
    """

    name: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    naive: int | None = None


@dataclass(frozen=True)
class Printed:
    """What Table 1 prints of a row: thousands of parameters (of 1,024, without biases), millions of operations."""

    parameters: float
    operations: float
    note: str = ""


PRINTED: dict[str, Printed] = {
    "conv1_7x7_s2": Printed(2.7, 34, "printed: fits a separable 7x7 with depth multiplier 8, not this 7x7"),
    "conv2_3x3": Printed(112, 360),
    "inception_3a": Printed(159, 128),
    "inception_3b": Printed(380, 304),
    "inception_4a": Printed(364, 73, "printed: fits 204 filters of 3x3, as Google's inception5h has, not 208"),
    "inception_4b": Printed(437, 88),
    "inception_4c": Printed(463, 100, "printed: the parameters are a misprint, the operations fit"),
    "inception_4d": Printed(580, 119, "printed: the parameters are 2% below what the operations imply"),
    "inception_4e": Printed(840, 170),
    "inception_5a": Printed(1072, 54, "printed: fits a 5x5 reduce of 48, as Google's inception5h has, not 32"),
    "inception_5b": Printed(1388, 71, "printed: the parameters are 2% below what the operations imply"),
    "linear": Printed(1000, 1),
}


def rows(model: keras.Model) -> list[RowCost]:
    """Measures a built model row by row.

    Args:
        model: An `InceptionModel`. Its input must have a height and a width.

    Returns:
        The rows of the architecture in order, then the main classifier and the auxiliary heads, where the model has
        them.

    Raises:
        InputError: The model does not say its architecture, or has no fixed image size.
    """
    architectures.of(model)
    shape = tuple(model.inputs[0].shape)[1:]
    if None in shape:
        raise InputError(
            "The costs of a network depend on the size of its images. Build it with a fixed `input_shape`. "
            f"Received: a model with input_shape={shape}"
        )
    architecture = architectures.of(model)
    modules = {row.name: row for row in architecture.rows if isinstance(row, architectures.Inception)}
    found = []
    for name, layers in architectures.layers_by_owner(model).items():
        naive = None
        if (module := modules.get(name)) is not None:
            weights = module.conv1x1 + 9 * module.conv3x3 + architecture.conv5x5_kernel_size**2 * module.conv5x5
            first = next(layer for layer in layers if isinstance(layer, keras.layers.Conv2D))
            naive = _positions(first) * first.kernel.shape[2] * weights
        shape = tuple(layers[-1].output.shape[1:])
        parameters = sum(layer.count_params() for layer in layers)
        found.append(RowCost(name, shape, parameters, sum(map(_layer_cost, layers)), naive))
    return found


def of_heads(model: keras.Model, heads: Collection[str]) -> int:
    """Returns the multiply-adds for one image of some heads and of all rows that they read.

    Args:
        model: An `InceptionModel` with a fixed image size.
        heads: Names of its heads, at least one.

    Raises:
        InputError: As `rows`.
    """
    costs = {row.name: row.multiply_adds for row in rows(model)}
    architecture = architectures.of(model)
    names = [row.name for row in architecture.rows]
    read = [names.index(architecture.taps[head]) + 1 for head in heads]
    own = [costs["linear" if head == MAIN else head] for head in heads]
    return sum(own) + sum(costs[name] for name in names[: max(read)])


def _layer_cost(layer: keras.Layer) -> int:
    if isinstance(layer, keras.layers.Conv2D):
        return _positions(layer) * math.prod(layer.kernel.shape)
    return math.prod(layer.kernel.shape) if isinstance(layer, keras.layers.Dense) else 0


def _positions(layer: keras.Layer) -> int:
    """Returns the height times the width of a layer's output map, `(batch, height, width, channels)` or the like."""
    shape = layer.output.shape
    return math.prod(shape[1:3] if layer.data_format == "channels_last" else shape[2:4])
