"""Rules for the fields of a record, and the error that names the one that does not hold."""

import math

from keras_inception.errors import InputError


def check(record, rules):
    """Refuses a record of which a field is out of range.

    Args:
        record: Any object.
        rules: By name of the field, what must hold: in words, and as a function of the value.

    Raises:
        ValueError: A rule does not hold.
    """
    for name, (rule, holds) in rules.items():
        value = getattr(record, name)
        if not holds(value):
            raise InputError(f"`{name}` must be {rule}. Received: {name}={value!r}")


def is_number(value, least=-math.inf, most=math.inf):
    """Returns whether a value is a finite number from `least` to `most`; True and False are none."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and least <= value <= most


def is_whole(value, least):
    """Returns whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and is_number(value, least)


COUNT = ("a whole number of at least 1", lambda value: is_whole(value, 1))
SHARE = ("at least 0 and below 1", lambda value: is_number(value, 0) and value < 1)
ABOVE_0 = ("a number above 0", lambda value: is_number(value, 0) and value > 0)
FROM_0 = ("a finite number of at least 0", lambda value: is_number(value, 0))
SWITCH = ("True or False", lambda value: isinstance(value, bool))
