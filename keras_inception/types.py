"""The types that the annotations of the package share."""

import os
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

# A tensor of Keras's backend, a symbolic `keras.KerasTensor`, or an array: Keras has no common type for them.
Tensor: TypeAlias = Any
if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray
PathLike: TypeAlias = str | os.PathLike[str]
# `(batch, height, width, channels)` and its like; None where a size is not fixed.
Shape: TypeAlias = tuple[int | None, ...]
# What Keras logs of an epoch or a batch, by name.
Logs: TypeAlias = dict[str, float]


def __getattr__(name: str) -> Any:
    if name == "Array":  # NumPy is imported by whom it serves: `keras-inception --help` answers without
        import numpy

        return numpy.ndarray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# A `tf.data.Dataset`, a `tf.distribute.Strategy` and a schedule of Keras: their libraries have no complete types.
Dataset: TypeAlias = Any
Strategy: TypeAlias = Any
Schedule: TypeAlias = Any
