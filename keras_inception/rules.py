"""Rules for arguments and for the fields of a record, where they stand in the field's metadata; an error names them."""

import math
import sys
from collections.abc import Callable, Collection
from dataclasses import Field, fields
from functools import partial
from typing import Any, TypeAlias

from keras_inception.errors import InputError, shown

# What must hold of a field: in words, and as a function of its value.
Rule: TypeAlias = dict[str, tuple[str, Callable[[Any], bool]]]


def check(record: Any) -> None:
    """Makes tuples of a dataclass's lists, as files hold them, and refuses one of which a field breaks its rule.

    Raises:
        InputError: A rule does not hold.
    """
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(record, field.name, value)
        check_value(field, value)


def check_value(field: Field[Any], value: Any, where: str = "") -> None:
    """Refuses a value that breaks the rule of a field, if it has one; the error begins with `where`."""
    for words, holds in field.metadata.values():
        if not holds(value):
            raise InputError(f"{where}`{field.name}` must be {words}. Received: {field.name}={shown(value)}")


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Returns whether a value is a finite number from `least` to `most`; True and False are none."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max and least <= value <= most


def is_whole(value: Any, least: int) -> bool:
    """Returns whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and is_number(value, least)


def rule(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Returns the metadata of a field whose value must be `words`, which `holds` tells."""
    return {"rule": (words, holds)}


def maybe(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Returns the same of a field that may be None, too."""
    return rule(f"None or {words}", lambda value: value is None or holds(value))


def between(least: float, most: float) -> Rule:
    """Returns the same of a number within two bounds."""
    return rule(f"a number from {least} to {most}", partial(is_number, least=least, most=most))


def one_of(choices: Collection[str]) -> Rule:
    """Returns the same of a word among some."""
    return rule(f"one of {choices}", lambda value: value in choices)


def _is_share(value: Any) -> bool:
    return is_number(value, 0) and value < 1


COUNT = rule("a whole number of at least 1", partial(is_whole, least=1))
WHOLE = rule("a whole number of at least 0", partial(is_whole, least=0))
FROM_0 = rule("a finite number of at least 0", partial(is_number, least=0))
ABOVE_0 = rule("a number above 0", lambda value: is_number(value, 0) and value > 0)
SHARE = rule("at least 0 and below 1", _is_share)
MAYBE_SHARE = maybe("a number of at least 0 and below 1", _is_share)
SWITCH = rule("True or False", lambda value: isinstance(value, bool))
