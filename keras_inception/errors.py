"""What the library refuses, and what ends a training or a search before its time."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 8
        self.maxstring = self.maxlong = self.maxother = 200


def shown(value: Any) -> str:
    """Returns a value as a message shows it, however long or deep it is."""
    return _Short().repr(value)


def shortened(text: str, most: int = 2000) -> str:
    """Returns a message without its middle where it is too long to be read."""
    return text if len(text) <= most else f"{text[: most - 400]} [...] {text[-400:]}"


def on_one_line(text: str) -> str:
    """Returns a text, such as the name of a file, with escapes for what a terminal does not show on a line."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def counted(count: int, noun: str) -> str:
    """Returns a number and what it counts, such as "1 epoch" and "2 epochs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Returns a sentence that asks whether the known name nearest to one was meant, with a space behind; "" if none is.

    Args:
        name: What was given.
        known: The names that there are.
    """
    close = difflib.get_close_matches(str(name)[:99], list(known), 1)
    return f"Did you mean {close[0]}? " if close else ""


class InputError(ValueError):
    """An argument, a file or a configuration that the library refuses, with the rule, the reason and the way out."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class MissingPackageError(InputError, ImportError):
    """A library that only this use needs is not installed; the message says what to install."""


class MissingFileError(InputError, FileNotFoundError):
    """There is no file where one was named."""


class DownloadError(InputError, ConnectionError):
    """A published file could not be downloaded."""


class StoppedError(RuntimeError):
    """A training, search or study that ended before its time; what it had finished is kept."""
