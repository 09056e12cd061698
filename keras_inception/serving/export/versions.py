"""The numbered folders that TensorFlow Serving polls: a version is there whole or not at all, and is never replaced."""

import numbers
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from keras_inception import files
from keras_inception.errors import InputError, shown
from keras_inception.types import PathLike

HIGHEST: int = 2**63 - 1  # the server counts in 64 bits


def publish(write: Callable[[Path], object], folder: PathLike, version: int | None = None) -> Path:
    """Lets a function write a new version and gives it its number when it is whole and on the disk.

    One export writes into a folder at a time, see `files.locked`; what is half written is called as nothing that a
    server looks at.

    Args:
        write: Called with the path of an empty folder.
        folder: The folder of the versions; made if there is none.
        version: The number, from 1 to 2^63 - 1; by default one more than the highest, or 1.

    Returns:
        The path of the version, `folder/NUMBER`.

    Raises:
        InputError: The version exists, is no number, the folder is a file, or another process has locked it.
        OSError: The disk is full, or the folder may not be written to.
    """
    folder = files.named(folder, "folder")
    _check(folder, version)
    with files.locked(folder):
        return _write(write, folder, version)


def _write(write: Callable[[Path], object], folder: Path, version: int | None) -> Path:
    aside = folder / f"part-{uuid.uuid4().hex}"
    try:
        with files.writing(folder, aside):
            aside.mkdir()  # with the rights that the umask gives, so that a server under another name can read it
            write(aside)
            _synchronize(aside)
            _check(folder, version)  # another export may have been faster
            number = _next(folder) if version is None else version
            target = aside.rename(folder / str(number))  # fails where there is a version, which is never empty
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _fsync(folder)
    return target


def _check(folder: Path, version: int | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`folder` must be a folder, and this is a file. Received: folder={str(folder)!r}")
    if version is None:
        _next(folder)
        return
    if not isinstance(version, numbers.Integral) or isinstance(version, bool) or not 1 <= version <= HIGHEST:
        raise InputError(
            "`version` must be a whole number from 1 to 2^63 - 1, as TensorFlow Serving reads them, or None for the "
            f"next one. Received: version={shown(version)}"
        )
    if version in numbers_in(folder):
        raise InputError(
            f"{folder / str(version)} exists, and a version is never replaced while a server may read it. Choose "
            f"another number, or None for the next one. Received: version={version}"
        )


def _next(folder: Path) -> int:
    number = max(numbers_in(folder), default=0) + 1
    if number > HIGHEST:
        raise InputError(
            f"{folder} holds the highest version that TensorFlow Serving reads, 2^63 - 1, and no next one can follow. "
            "Give a `version` that is free. Received: version=None"
        )
    return number


def numbers_in(folder: Path) -> dict[int, Path]:
    """Returns the versions that a server finds in a folder by their numbers; names that are too long for one are none.

    A name may begin with zeros, for the server reads it as a number.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [path for path in paths if path.name.isascii() and path.name.isdigit() and len(path.name) < 4000]
    return {int(path.name): path for path in named if int(path.name) <= HIGHEST}


def _synchronize(folder: Path) -> None:
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            _fsync(Path(path, name))
        _fsync(Path(path))


def _fsync(path: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders, and flushes no file that is open for reading alone
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
