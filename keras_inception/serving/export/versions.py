"""The numbered folders that TensorFlow Serving polls: a version is there whole or not at all, and is never replaced."""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from pathlib import Path

from keras_inception.errors import InputError


def publish(write, directory, version=None):
    """Lets a function write a new version and gives it its number when it is whole and on the disk.

    Meanwhile it stands beside the versions under a name that is no number, which a server that polls the directory
    does not look at.

    Args:
        write: Called with the path of an empty folder.
        directory: The folder of the versions; made if there is none.
        version: The number, at least 0; by default one more than the highest, or 1.

    Returns:
        The path of the version, `directory/NUMBER`.

    Raises:
        ValueError: The version exists, is no number, or the directory is a file.
        OSError: The disk is full, or the directory may not be written to.
    """
    directory = Path(directory)
    _check(directory, version)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    name = f"part-{uuid.uuid4().hex}"
    aside = directory / f".{name}"
    aside.mkdir()  # with the rights that the umask gives, so that a server under another name can read it
    lock = _lock(aside)
    try:
        aside = aside.rename(directory / name)
        write(aside)
        _synchronize(aside)
        target = _take_number(aside, directory, version)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    _fsync(directory)
    return target


def _remove_leftovers(directory):
    """Removes what killed exports left: the lock of one that lives cannot be had."""
    for path in directory.glob("part-" + 32 * "[0-9a-f]"):
        with contextlib.suppress(OSError):
            lock = _lock(path, must=True)
            shutil.rmtree(path)
            os.close(lock)


def _lock(folder, *, must=False):
    """Returns a handle whose lock on a folder ends with the process.

    Args:
        folder: The folder.
        must: Whether to fail where another process has the lock, or the file system knows no locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if must:
            os.close(handle)
            raise
    return handle


def _check(directory, version):
    if directory.exists() and not directory.is_dir():
        raise InputError(f"`directory` must be a folder, and this is a file. Received: directory={str(directory)!r}")
    if version is None:
        return
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise InputError(
            "`version` must be a whole number of at least 0, the only names that TensorFlow Serving looks at, or None "
            f"for the next one. Received: version={version!r}"
        )
    if directory.is_dir() and version in _versions(directory):
        raise InputError(
            f"{directory / str(version)} exists, and a version is never replaced while a server may read it. Choose "
            f"another number, or None for the next one. Received: version={version}"
        )


def _versions(directory):
    return {int(path.name) for path in directory.iterdir() if path.name.isascii() and path.name.isdigit()}


def _take_number(aside, directory, version):
    """Renames the folder; where another process took the number meanwhile, the next one is tried."""
    while True:
        _check(directory, version)
        target = directory / str(max(_versions(directory), default=0) + 1 if version is None else version)
        try:
            os.rename(aside, target)  # fails where there is a version, which is never empty
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return target


def _synchronize(folder):
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            _fsync(Path(path) / name)
        _fsync(path)


def _fsync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
