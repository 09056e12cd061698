"""Which files of a folder are images, and their bytes: one rule for training, evaluation and prediction."""

import os
import stat
from pathlib import Path

from keras_inception.errors import InputError
from keras_inception.files import named
from keras_inception.types import PathLike

# What Windows and macOS leave in folders of images, in any case; names that begin with a dot are hidden as well.
NO_IMAGES: frozenset[str] = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
# More bytes than an image of as many pixels as are decoded has uncompressed, in 16 bits with alpha.
MAX_BYTES: int = 2**30

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (lambda mode: not stat.S_ISREG(mode), "it is a device"),
)


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name holds no image, whatever is in it."""
    return name.startswith(".") or name.lower() in NO_IMAGES


def folders_in(folder: PathLike) -> list[Path]:
    """Returns the folders that a folder holds, sorted, without hidden ones."""
    return sorted(path for path in Path(folder).iterdir() if path.is_dir() and not is_hidden(path.name))


def files_in(folder: PathLike) -> list[Path]:
    """Returns all that should be an image in a folder and in those below it, sorted, without what is hidden."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [Path(root, name) for name in names if not is_hidden(name)]
    return sorted(found)


def _fail(error: OSError) -> None:
    raise error


def read_bytes(path: PathLike) -> bytes:
    """Returns the bytes of an image file.

    Raises:
        InputError: It cannot be read, is no file, or has more than `MAX_BYTES`: the reason, in a few words.
    """
    path = named(path, "path")
    try:
        status = os.stat(path)
        for is_kind, reason in _KINDS:
            if is_kind(status.st_mode):  # to read it might never end
                raise InputError(reason)
        if status.st_size > MAX_BYTES:
            raise InputError(f"it has more than {MAX_BYTES:,} bytes")
        return Path(path).read_bytes()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # the latter of a name that no system has
        raise InputError(getattr(error, "strerror", None) or str(error)) from error
