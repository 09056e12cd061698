"""Files that are written whole or not at all, folders that one process writes to, tables, and clear errors."""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from keras_inception import undocumented
from keras_inception.errors import InputError, shown
from keras_inception.types import PathLike

T = TypeVar("T")

LOCK: str = ".lock"
MAKE_ROOM: str = "choose another place, or make room"


@contextlib.contextmanager
def written_aside(path: PathLike) -> Iterator[Path]:
    """Gives the path to write a file to, which takes its place when the context ends; on an error it is removed.

    Raises:
        InputError: There is no folder to write it into.
        OSError: It cannot be written; the error names `path`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"There is no folder to write {path.name} into. Make it, or choose another. Received: {path}")
    aside = path.with_name(f"part-{uuid.uuid4().hex}-{path.name}")  # no other process writes there
    try:
        with writing(path, aside):
            yield aside
            with open(aside, "rb") as file:
                os.fsync(file.fileno())  # whole on the disk before its name is
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):  # it may be the folder that lets nothing be written
            aside.unlink()
        raise


@contextlib.contextmanager
def writing(path: PathLike, aside: PathLike | None = None) -> Iterator[None]:
    """Lets a failure of the system to write a file or folder name it, with `MAKE_ROOM` as a note.

    Only who writes knows that a file was not to be read: the numbers of the system are the same.

    Args:
        path: The file or folder.
        aside: Where it is written until it is whole. What fails for another file, which was read, is let through.
    """
    try:
        yield
    except Exception as error:
        failure = error if isinstance(error, OSError) else undocumented.system_error(error)
        if failure is None or failure.errno is None:
            raise
        place, files = Path(aside or path), [Path(os.fsdecode(f)) for f in (failure.filename, failure.filename2) if f]
        if files and not any(place in (file, *file.parents) or file in place.parents for file in files):
            raise
        failed = OSError(failure.errno, failure.strerror, str(path))
        failed.add_note(MAKE_ROOM)
        raise failed from error


def make_folder(path: PathLike) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        OSError: It cannot be made.
    """
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def locked(folder: PathLike) -> Iterator[None]:
    """Makes a folder, if there is none, and keeps other processes out of it as long as the context lasts.

    The lock ends with the process, so that a killed one keeps nobody out; what it had begun to write is removed. Of a
    folder in which nothing was written nothing is left.

    Raises:
        InputError: Another process has locked it.
        OSError: It cannot be made.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"Another process is writing to {folder}. Wait for it, or choose another folder with `--out`."
        ) from None
    except (OSError, NotImplementedError):
        pass  # the file system knows no locks, or the folder is read-only
    try:
        if lock.is_locked:
            for leftover in folder.glob(f"part-{'[0-9a-f]' * 32}*"):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
        yield
    finally:
        if folder.is_dir() and is_empty(folder):
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another process has begun to use them
                for path in made:
                    path.rmdir()
        lock.release()


def is_empty(folder: PathLike) -> bool:
    """Returns whether a folder holds nothing, but for its lock."""
    return all(path.name == LOCK for path in Path(folder).iterdir())


def named(path: PathLike, argument: str) -> Path:
    """Returns the path that someone gave as an argument.

    Raises:
        InputError: It is an empty string, which would mean the current folder, or can name no file.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(path):
        raise InputError(
            f"`{argument}` must be the path of a file or folder, and not empty: a dot names the current folder. "
            f"Received: {argument}={shown(path)}"
        )
    return Path(path)


def write_json(path: PathLike, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    with written_aside(path) as aside, open(aside, "w", encoding="utf-8") as file:
        file.writelines(_json_of(value))  # in parts, for it may be large
        file.write("\n")


def to_json(value: Any) -> str:
    """Returns a value as JSON; a number that is not finite, for which JSON has no name, is null."""
    return "".join(_json_of(value))


def _json_of(value: Any) -> Iterator[str]:
    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(part) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.JSONEncoder(indent=2, allow_nan=False).iterencode(finite(value))


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
    path = named(path, "path")
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is a folder or a device")
        return parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
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


def read_table(path: PathLike, numbers: Sequence[str] = ()) -> list[dict[str, str]]:
    """Returns the rows of a CSV file as dicts of strings.

    Args:
        path: The file.
        numbers: Columns that must be there, with a number in each row.

    Raises:
        InputError: The file is damaged, or not there.
    """
    rows = read_text(path, lambda text: list(csv.DictReader(io.StringIO(text, newline=""))), "CSV")
    for name in numbers:
        try:
            holds = bool(rows) and all(math.isfinite(float(row[name])) for row in rows)
        except (KeyError, TypeError, ValueError):
            holds = False
        if not holds:
            raise InputError(f"{path} must have a number in each row of the column {name}, and is damaged.")
    return rows
