"""The labels and the weights of examples, and the names of classes: which ones say what they should."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from keras_inception.errors import InputError, shown
from keras_inception.types import Array

# How far a row's sum may be from 1: what bfloat16 rounds away of shares that sum to 1.
ROUNDING = 0.02


def check_labels(labels: Array, classes: int, *, ignore_class: int | None = None) -> None:
    """Refuses labels of which one names no class.

    Args:
        labels: Class indices, whole numbers of any type, `(batch,)` or `(batch, 1)`; or distributions over the classes,
            one-hot or smoothed or mixed, `(batch, classes)`.
        classes: The number of classes.
        ignore_class: An index that stands for no class and is allowed besides; Keras's argument of that name.

    Raises:
        InputError: A label is a text, not finite, negative, not whole or `classes` or more; or a row is no
            distribution: of another width, with negative or not finite shares, or shares that do not sum to 1.
    """
    labels = np.asarray(labels)
    rule = f"Labels must be integers from 0 to {classes - 1}, or one-hot, for a model of {classes} classes."
    if labels.dtype.kind in "cmMOSU":
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
        bad &= ignore_class is None or indices != ignore_class
        if bad.any():
            raise InputError(
                f"{rule} Renumber them, or build the model with as many classes as there are. "
                f"Received: labels from {indices.min()} to {indices.max()}, {indices[bad][0]} among them"
            )
    else:
        raise InputError(f"{rule} Received: labels of shape {labels.shape}")


def check_shares(labels: Array, *, bounded: bool) -> None:
    """Refuses labels, of any shape, that are not finite numbers and, where they are `bounded`, not from 0 to 1.

    Raises:
        InputError: A label is not such a number.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind in "cmMOSU":
        raise InputError(f"Labels must be numbers. Received: labels of type {labels.dtype}")
    if labels.dtype.kind not in "biu":
        labels = labels.astype("float64")  # NumPy has no arithmetic for bfloat16
    bad = ~np.isfinite(labels) | (bounded & ((labels < 0) | (labels > 1)))
    if bad.any():
        rule = "from 0 to 1, as the loss wants them" if bounded else "finite"
        raise InputError(f"Labels must be numbers {rule}. Received: {labels[bad][0]:g} among labels")


def check_weights(weights: Any, argument: str) -> None:
    """Refuses weights of examples, classes or losses, of any shape, that are not finite numbers of at least 0.

    Raises:
        InputError: A weight is not such a number.
    """
    try:
        values = np.asarray(weights)
    except ValueError:  # lists of several lengths
        values = np.array(None)
    if values.dtype.kind not in "biu":  # "V" is bfloat16's
        values = values.astype("float64") if values.dtype.kind in "fV" else np.array(np.nan)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        shown = values[bad].item(0) if values.ndim else repr(weights)
        raise InputError(f"`{argument}` must be finite numbers of at least 0. Received: {shown} among {argument}")


def class_weight_by_index(class_weight: Any, classes: int, class_names: Sequence[str] | None) -> dict[int, float]:
    """Returns `class_weight` as Keras wants it, a dict by class index, from one by class index or by class name.

    Raises:
        InputError: It is no such dict, a key is no class, or a value is not a finite number of at least 0.
    """
    names = {name: index for index, name in enumerate(class_names or ())}
    keys = class_weight if isinstance(class_weight, Mapping) else [class_weight]
    indices = [names.get(key, key) if isinstance(key, str) else key for key in keys]
    unknown = [
        key
        for key, index in zip(keys, indices)
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < classes
    ]
    if not isinstance(class_weight, Mapping) or unknown:
        raise InputError(
            f"`class_weight` must be a dict of numbers by class, from 0 to {classes - 1}, or by the model's class "
            "names, and serves all heads; `sample_weight` may be given by head. Received: "
            + (f"the key {unknown[0]!r}" if isinstance(class_weight, Mapping) else f"class_weight={class_weight!r}")
        )
    check_weights(list(class_weight.values()), "class_weight")
    if len(set(indices)) < len(indices):
        raise InputError(f"`class_weight` must name each class once. Received: class_weight={class_weight!r}")
    given = {int(index): float(weight) for index, weight in zip(indices, class_weight.values())}
    if len(given) == classes and not any(given.values()):
        raise InputError(f"`class_weight` must be above 0 for a class. Received: class_weight={class_weight!r}")
    return dict.fromkeys(range(classes), 1.0) | given  # of data in batches Keras wants all of them


def is_class_name(name: Any) -> bool:
    """Returns whether a name is a text of one line that a terminal shows and a file of UTF-8 holds."""
    is_line = isinstance(name, str) and name.splitlines() == [name] and bool(name.strip())
    # Cc are NUL, escape and their like, Cs lone surrogates, Cf what is not seen or turns a line around; of these words
    # and emoji need the joiners.
    unseen = (character for character in name if character not in "\u200c\u200d") if is_line else ()
    return is_line and not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in unseen)


def check_class_names(class_names: Iterable[Any], classes: int) -> tuple[str, ...]:
    """Returns the names of classes as a tuple.

    Raises:
        InputError: There is not one name for each class, in an order, two are the same, or one is no text of a single
            line, or holds characters that control a terminal or that no file can hold.
    """
    rule = f"`class_names` must hold one name for each of the {classes} classes, in the order of the outputs."
    if isinstance(class_names, (str, bytes, Mapping, Set)) or not isinstance(class_names, Iterable):
        raise InputError(f"{rule} Give a list. Received: class_names={shown(class_names)}")
    names = tuple(class_names)
    if len(names) != classes:
        raise InputError(f"{rule} How many there are is said with `classes`. Received: {len(names)} names")
    for name in names:
        if not is_class_name(name):
            raise InputError(
                f"{rule} A name is a text of one line, not empty and without control characters. "
                f"Received: {shown(name)} among them"
            )
    if len(set(names)) < classes:
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{rule} Each must have its own. Received: {twice!r} {names.count(twice)} times")
    return tuple(map(str, names))


def _shown(row: Array) -> str:
    return f"[{', '.join(f'{share:g}' for share in row[:6])}{', ...' if len(row) > 6 else ''}]"
