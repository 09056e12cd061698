"""Which files of a folder are images, and their bytes: one rule for training, evaluation and prediction."""

import errno
import glob
import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from keras_inception.errors import InputError
from keras_inception.files import named
from keras_inception.types import PathLike

# What systems leave in folders of images, in any case; names that begin with a dot are hidden as well.
NO_IMAGES: frozenset[str] = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
        *("__macosx", "lost+found"),  # macOS, Linux
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@__thumb"),  # network storage: Synology, QNAP
    }
)
# The names of image files that stand where none is read are found by their endings.
ENDINGS: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# More bytes than an image of as many pixels as are decoded has uncompressed, in 16 bits with alpha.
MAX_BYTES: int = 2**30

DAMAGED: str = "it is damaged or truncated"
_LOSSLESS = "a lossless or hierarchical JPEG is not read; save it as PNG"
# What the marker of a JPEG's frame says of its coding: libjpeg decodes none of these.
_LOSSLESS_FRAMES = frozenset(b"\xc3\xc5\xc6\xc7\xcb\xcd\xce\xcf")


class DamagedError(InputError):
    """A file itself cannot be read, by its bytes, whatever the system does: the reason, in a few words."""


# What a system says of a link that leads to itself, on from a file, or to a name too long for one.
_NOWHERE = (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)

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


def loose_images(folder: PathLike) -> list[str]:
    """Returns the names of files in a folder, not below it, that end as an image's does, sorted."""
    names = (entry.name for entry in os.scandir(folder) if not _is_folder(entry))
    return sorted(name for name in names if name.lower().endswith(ENDINGS) and not is_hidden(name))


def files_in(folder: PathLike) -> Iterator[str]:
    """Yields the paths of all that should be an image in a folder and in those below it, without what is hidden.

    They come in the order of their names, folder by folder. Links are followed, to files and to folders alike.

    Raises:
        InputError: A link leads back to a folder above it.
        OSError: A folder cannot be read.
    """
    return _files_in(os.fspath(folder), ())


def _files_in(folder: str, above: tuple[os.stat_result, ...]) -> Iterator[str]:
    status = os.stat(folder)
    if any(os.path.samestat(status, other) for other in above):
        raise InputError(f"A link must not lead back to a folder above it. Remove it. Received: {folder}")
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    for entry in entries:
        if _is_folder(entry):
            yield from _files_in(entry.path, (*above, status))
        else:
            yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a folder, or a link to one; a link that leads nowhere, or to itself, is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return False


def matching(pattern: str) -> list[str]:
    """Returns the images that a path or a glob pattern names: a file, all in a folder, or in the folders that match.

    Raises:
        InputError: There is none, or as `files_in`.
    """
    if os.path.lexists(pattern):
        paths = _all_in([pattern])
    elif "**" in (parts := Path(pattern).parts):
        start, rest = Path(*parts[: (at := parts.index("**"))]), "/".join(("", *parts[at + 1 :]))
        folders = [folder for folder in _named_by(str(start)) if os.path.isdir(folder)]
        paths = [path for folder in folders for path in files_in(folder) if _matches(path, folder, rest)]
    else:
        paths = _all_in(path for path in _named_by(pattern) if not is_hidden(os.path.basename(path)))
    if not paths:
        if os.path.lexists(pattern):
            raise InputError(f"there is no image in {pattern}")
        is_path = pattern == glob.escape(pattern)
        raise InputError(f"there is no file {pattern}" if is_path else f"no image matches {pattern}")
    return [str(Path(path)) for path in paths]  # without "./"


def _named_by(pattern: str) -> list[str]:
    """Returns what a glob pattern names, sorted; `glob` alone takes a folder that may not be read for an empty one."""
    above, name = os.path.split(pattern)
    for folder in _named_by(above) if above not in ("", pattern) else ():
        if is_hidden(os.path.basename(folder)):
            continue
        try:
            if name == glob.escape(name):
                os.lstat(os.path.join(folder, name))
            else:
                os.scandir(folder).close()
        except PermissionError:
            raise
        except (OSError, ValueError):  # it is not there, or no folder
            pass
    return sorted(glob.glob(pattern))


def _matches(path: str, folder: str, rest: str) -> bool:
    """Returns whether a path, or a folder of it, is what a pattern names at any depth below a folder."""
    pattern = f"{glob.escape(folder)}*{rest}"  # a star of `fnmatch` stands for any number of folders
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")


def _all_in(paths: Iterable[str]) -> list[str]:
    return [file for path in paths for file in (files_in(path) if os.path.isdir(path) else [path])]


def read_bytes(path: PathLike) -> bytes:
    """Returns the bytes of an image file.

    Raises:
        InputError: It cannot be read, is no file, a JPEG without an end or without losses, or has more than
            `MAX_BYTES`: the reason, in a few words.
    """
    path = named(path, "path")
    try:
        status = os.stat(path)
        for is_kind, reason in _KINDS:
            if is_kind(status.st_mode):  # to read it might never end
                raise InputError(reason)
        if status.st_size > MAX_BYTES:
            raise InputError(f"it has more than {MAX_BYTES:,} bytes")
        encoded = Path(path).read_bytes()
        if _is_cut_off(encoded):
            raise DamagedError(DAMAGED)
        if is_lossless(encoded):
            raise DamagedError(_LOSSLESS)
        return encoded
    except InputError:
        raise
    except (OSError, ValueError) as error:  # the latter of a name that no system has
        raise InputError(getattr(error, "strerror", None) or str(error)) from error


def _is_cut_off(encoded: bytes) -> bool:
    """Returns whether a JPEG has no end: libjpeg would print a line past Python, before TensorFlow fails."""
    if not encoded.startswith(b"\xff\xd8\xff"):
        return False
    at = 2
    while encoded[at : at + 2] != b"\xff\xda":  # where pixels begin; before, thumbnails have ends of their own
        if at + 4 > len(encoded):
            return True
        if encoded[at] != 0xFF:
            return False
        at += 2 + max(int.from_bytes(encoded[at + 2 : at + 4]), 2)
    return encoded.find(b"\xff\xd9", at) < 0


def is_lossless(encoded: bytes) -> bool:
    """Returns whether bytes, or a beginning with the frame's header, are of a lossless or hierarchical JPEG."""
    if not encoded.startswith(b"\xff\xd8\xff"):
        return False
    at = 2
    while at + 4 <= len(encoded) and encoded[at] == 0xFF and encoded[at + 1] != 0xDA:
        if encoded[at + 1] in _LOSSLESS_FRAMES:
            return True
        at += 2 + max(int.from_bytes(encoded[at + 2 : at + 4]), 2)
    return False
