"""What a network computes in: the dtype policy of its layers, and the type of its outputs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_inception.errors import InputError, shown


@contextlib.contextmanager
def policy(dtype: Any = None) -> Iterator[None]:
    """Makes a dtype policy the one that new layers take, and afterwards the old one again.

    Args:
        dtype: The policy or its name, such as `"mixed_bfloat16"`; None for the one that is set already.

    Raises:
        InputError: There is no such policy for convolutions.
    """
    before = keras.config.dtype_policy()
    try:
        chosen = before if dtype is None else keras.dtype_policies.get(dtype)
        is_float = keras.backend.is_float_dtype(chosen.compute_dtype) and chosen.quantization_mode is None
    except (ValueError, TypeError, AttributeError):
        is_float = False
    if not is_float:
        raise InputError(
            '`dtype` must be a floating-point type or a policy such as "float32", "float64", "mixed_bfloat16" or '
            f'"mixed_float16"; a trained network is quantized with `export`. Received: dtype={shown(dtype)}'
        )
    keras.config.set_dtype_policy(chosen)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def output_dtype() -> str:
    """Returns the type of the outputs, and of the losses computed from them: float32 at least."""
    return "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"
