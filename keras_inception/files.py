"""Files that are written whole or not at all, tables as CSV files, and reading with one clear error."""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from keras_inception.errors import InputError
from keras_inception.types import PathLike

T = TypeVar("T")


@contextlib.contextmanager
def written_aside(path: PathLike) -> Iterator[Path]:
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


def write_json(path: PathLike, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: It is missing or no JSON.
    """
    return read_text(path, json.loads, "JSON")


def read_text(path: PathLike, parse: Callable[[str], T], kind: str) -> T:
    """Returns what a function makes of a file's text.

    Args:
        path: The file.
        parse: A function of a string, which refuses with a `ValueError`.
        kind: What the file should be, for the error.

    Raises:
        InputError: It is missing, or the function cannot read it.
    """
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is missing or no {kind} file ({reason}).") from error


def write_table(path: PathLike, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Writes rows as a CSV file, whole or not at all; None and NaN leave a cell empty.

    Args:
        path: The file.
        rows: A dict for each row.
        columns: The names of the columns; by default those of the first row.
    """
    names = list(rows[0]) if columns is None else list(columns)
    with written_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        # NaN equals nothing, itself included.
        writer.writerows({k: "" if v is None or v != v else v for k, v in row.items()} for row in rows)


def read_table(path: PathLike) -> list[dict[str, str]]:
    """Returns the rows of a CSV file as dicts of strings."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
