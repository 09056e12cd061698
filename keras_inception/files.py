"""Files that are written whole or not at all, and read with one clear error."""

import contextlib
import json
import os
from pathlib import Path

from keras_inception.errors import InputError


@contextlib.contextmanager
def written_aside(path):
    """Gives the path to write a file to, which takes its place when the context ends; on an error it is removed."""
    path = Path(path)
    aside = path.with_name(f"part-{path.name}")
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())  # whole on the disk before its name is
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Writes a JSON file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path):
    """Reads a JSON file.

    Raises:
        ValueError: It is missing or no JSON.
    """
    return read_text(path, json.loads, "JSON")


def read_text(path, parse, kind):
    """Returns what a function makes of a file's text.

    Args:
        path: The file.
        parse: A function of a string.
        kind: What the file should be, for the error.

    Raises:
        ValueError: It is missing, or the function cannot read it.
    """
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # each parser has errors of its own
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is missing or no {kind} file ({reason}).") from error
