"""The labels of a batch: which ones name a class."""

import numpy as np

from keras_inception.errors import InputError
from keras_inception.types import Array

# How far a row's sum may be from 1: what bfloat16 rounds away of shares that sum to 1.
ROUNDING = 0.02


def check_labels(labels: Array, classes: int) -> None:
    """Refuses labels of which one names no class.

    Args:
        labels: Class indices, whole numbers of any type, `(batch,)` or `(batch, 1)`; or distributions over the classes,
            one-hot or smoothed or mixed, `(batch, classes)`.
        classes: The number of classes.

    Raises:
        InputError: A label is a text, not finite, negative, not whole or `classes` or more; or a row is no
            distribution: of another width, with negative or not finite shares, or shares that do not sum to 1.
    """
    labels = np.asarray(labels)
    rule = f"Labels must be integers from 0 to {classes - 1}, or one-hot, for a model of {classes} classes."
    if labels.dtype.kind in "OSUM":
        raise InputError(f"{rule} Number the classes. Received: labels of type {labels.dtype}")
    if labels.dtype.kind not in "biu":
        labels = labels.astype("float64")  # NumPy has no arithmetic for bfloat16
    if labels.ndim == 2 and labels.shape[1] == classes:
        sums = labels.sum(axis=1)
        bad = ~(np.all(labels >= 0, axis=1) & (np.abs(sums - 1) <= ROUNDING))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{rule} A row of shares must be at least 0 and sum to 1. "
                f"Received: row {row} of the batch, {_shown(labels[row])}, with a sum of {sums[row]:g}"
            )
    elif labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1):
        indices = labels.reshape(-1)
        bad = ~((indices >= 0) & (indices < classes) & (indices == np.floor(indices)))
        if bad.any():
            raise InputError(
                f"{rule} Renumber them, or build the model with as many classes as there are. "
                f"Received: labels from {indices.min()} to {indices.max()}, {indices[bad][0]} among them"
            )
    else:
        raise InputError(f"{rule} Received: labels of shape {labels.shape}")


def _shown(row: Array) -> str:
    return f"[{', '.join(f'{share:g}' for share in row[:6])}{', ...' if len(row) > 6 else ''}]"
