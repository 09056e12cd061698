"""What a network costs, row by row: Table 1 as built, beside what the paper printed."""

from dataclasses import dataclass

import keras

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.types import Shape


@dataclass(frozen=True)
class RowCost:
    """One row of Table 1 as built.

    Attributes:
        name: The row's name in `architectures`, `"linear"` for the main classifier, or the name of an auxiliary head.
        output_shape: Shape of the row's output for one image.
        parameters: Number of weights, biases and statistics of normalizations included.
        multiply_adds: Multiplications (each with its addition) of the convolutions and linear layers for one image.
    """

    name: str
    output_shape: Shape
    parameters: int
    multiply_adds: int


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


@dataclass(frozen=True)
class Reductions:
    """What the 1x1 reductions of a module save against the naive module of the paper's Figure 2(a).

    Attributes:
        name: The module's name.
        naive: Multiply-adds without reductions: 1x1, 3x3 and 5x5 read the whole input, and pooling has no projection.
        reduced: Multiply-adds of the module as built.
    """

    name: str
    naive: int
    reduced: int


def convolution_multiply_adds(height: int, width: int, kernel_size: int, channels: int, filters: int) -> int:
    """Returns the multiply-adds of a convolution whose output map is `height` x `width` pixels."""
    return height * width * kernel_size**2 * channels * filters


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
    shape = tuple(model.inputs[0].shape)[1:]
    if None in shape:
        raise InputError(
            "The costs of a network depend on the size of its images. Build it with a fixed `input_shape`. "
            f"Received: a model with input_shape={shape}"
        )
    return [
        RowCost(
            name=name,
            output_shape=tuple(layers[-1].output.shape[1:]),
            parameters=sum(layer.count_params() for layer in layers),
            multiply_adds=sum(map(_multiply_adds, layers)),
        )
        for name, layers in architectures.layers_by_owner(model).items()
    ]


def reductions(model: keras.Model) -> list[Reductions]:
    """Compares each inception module of a built model with the naive module."""
    costs = {cost.name: cost for cost in rows(model)}
    architecture, found = architectures.of(model), []
    for row in architecture.rows:
        if not isinstance(row, architectures.Inception) or row.name not in costs:
            continue
        first = model.get_layer(f"{row.name}_1x1")
        kernels = ((1, row.conv1x1), (3, row.conv3x3), (architecture.conv5x5_kernel_size, row.conv5x5))
        naive = sum(
            convolution_multiply_adds(*_map_size(first), kernel_size, first.kernel.shape[2], filters)
            for kernel_size, filters in kernels
        )
        found.append(Reductions(row.name, naive, costs[row.name].multiply_adds))
    return found


def _multiply_adds(layer: keras.Layer) -> int:
    if isinstance(layer, keras.layers.Conv2D):
        kernel_height, _, channels, filters = layer.kernel.shape
        return convolution_multiply_adds(*_map_size(layer), kernel_height, channels, filters)
    if isinstance(layer, keras.layers.Dense):
        return layer.kernel.shape[0] * layer.kernel.shape[1]
    return 0


def _map_size(layer: keras.Layer) -> tuple[int, int]:
    shape = layer.output.shape
    return tuple(shape[1:3]) if layer.data_format == "channels_last" else tuple(shape[2:4])
