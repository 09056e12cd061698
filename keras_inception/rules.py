"""Rules for arguments and for the fields of a record, where they stand in the field's metadata; an error names them."""

import math
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from functools import partial
from typing import Any, TypeAlias

from keras_inception.errors import InputError, shown

# What must hold of a field: in words, and as a function of its value.
Rule: TypeAlias = Mapping[str, tuple[str, Callable[[Any], bool]]]


def plain(value: Any, depth: int = 8) -> Any:
    """Returns a value as Python's own: NumPy's numbers as such, arrays and lists as tuples, paths as texts.

    Lists within lists are left as they are from some depth on, which none of the rules allows.
    """
    if callable(getattr(value, "tolist", None)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(plain(each, depth - 1) for each in value) if depth else value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def check(record: Any, where: str = "") -> None:
    """Makes the fields of a dataclass `plain`, and refuses one that breaks its rule; the error begins with `where`.

    Raises:
        InputError: A rule does not hold.
    """
    for field in fields(record):
        object.__setattr__(record, field.name, argument(field.name, getattr(record, field.name), field.metadata, where))


def check_value(field: Field[Any], value: Any, where: str = "") -> None:
    """Refuses a value that breaks the rule of a field, if it has one; the error begins with `where`."""
    argument(field.name, value, field.metadata, where)


def argument(name: str, value: Any, rule: Rule, where: str = "") -> Any:
    """Returns the `plain` value of an argument, and refuses one that breaks its rule; the error begins with `where`.

    Raises:
        InputError: The rule does not hold.
    """
    value = plain(value)
    for words, holds in rule.values():
        if not holds(value):
            raise InputError(f"{where}`{name}` must be {words}. Received: {name}={shown(value)}")
    return value


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Returns whether a value is a finite number from `least` to `most`, NumPy's too; True and False are none."""
    value = plain(value)
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max and least <= value <= most


def is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    """Returns whether a value is a whole number from `least` to `most`."""
    return isinstance(plain(value), int) and is_number(value, least, most)


def rule(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Returns the metadata of a field whose value must be `words`, which `holds` tells."""
    return {"rule": (words, holds)}


def maybe(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Returns the same of a field that may be None, too."""
    return rule(f"None or {words}", lambda value: value is None or holds(value))


def between(least: float, most: float) -> Rule:
    """Returns the same of a number within two bounds."""
    return rule(f"a number from {least} to {most}", partial(is_number, least=least, most=most))


def one_of(choices: Collection[Any]) -> Rule:
    """Returns the same of a word among some."""
    return rule(f"one of {choices}", lambda value: value in choices)


def _is_share(value: Any) -> bool:
    return is_number(value, 0) and value < 1


COUNT = rule("a whole number of at least 1", partial(is_whole, least=1))
WHOLE = rule("a whole number of at least 0", partial(is_whole, least=0))
SEED = rule("a whole number from 0 to 4294967295", partial(is_whole, least=0, most=2**32 - 1))
FROM_0 = rule("a finite number of at least 0", partial(is_number, least=0))
ABOVE_0 = rule("a number above 0", lambda value: is_number(value, 0) and value > 0)
SHARE = rule("at least 0 and below 1", _is_share)
MAYBE_SHARE = maybe("a number of at least 0 and below 1", _is_share)
SWITCH = rule("True or False", lambda value: isinstance(value, bool))
TEXT = rule("a text, not empty", lambda value: isinstance(value, str) and value != "")
MAYBE_TEXT = maybe(*TEXT["rule"])
