"""Rules for the fields of a record, and the error that names the one that does not hold."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from keras_inception.errors import InputError

# What must hold of a field: in words, and as a function of its value.
Rule: TypeAlias = tuple[str, Callable[[Any], bool]]


def check(record: object, rules: Mapping[str, Rule]) -> None:
    """Refuses a record of which a field is out of range.

    Args:
        record: Any object.
        rules: By name of the field, what must hold.

    Raises:
        InputError: A rule does not hold.
    """
    for name, (rule, holds) in rules.items():
        value = getattr(record, name)
        if not holds(value):
            raise InputError(f"`{name}` must be {rule}. Received: {name}={value!r}")


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Returns whether a value is a finite number from `least` to `most`; True and False are none."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and least <= value <= most


def is_whole(value: Any, least: int) -> bool:
    """Returns whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and is_number(value, least)


COUNT: Rule = ("a whole number of at least 1", lambda value: is_whole(value, 1))
SHARE: Rule = ("at least 0 and below 1", lambda value: is_number(value, 0) and value < 1)
ABOVE_0: Rule = ("a number above 0", lambda value: is_number(value, 0) and value > 0)
FROM_0: Rule = ("a finite number of at least 0", lambda value: is_number(value, 0))
SWITCH: Rule = ("True or False", lambda value: isinstance(value, bool))
