"""What is known of image files without decoding them: by their headers and ends, and by earlier looks at them.

A file whose header Pillow reads and which ends as its format ends is taken for an image; of any other the decoder says
whether it is one. What was found is kept in Keras's cache, `~/.keras/keras_inception/images` (`KERAS_HOME`), by path,
size and time of the last change. Nothing needs it: without the cache, files are looked at again.
"""

import contextlib
import hashlib
import os
import stat
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image, WebPImagePlugin  # noqa: F401, which reads WebP

from keras_inception.data.decoding import MAX_PIXELS, MAX_PNG_SIDE, decode_or_say_why
from keras_inception.data.image_files import MAX_BYTES, DamagedError, is_lossless, read_bytes
from keras_inception.errors import InputError
from keras_inception.files import written_aside
from keras_inception.types import Array, PathLike

# One file: its bytes, when its content and when its entry in the file system was changed (nanoseconds), its mark, the
# shorter side in pixels, whether it was decoded, and whether it is no image that can be read.
LOOK: np.dtype[Any] = np.dtype(
    [
        *(("size", "i8"), ("mtime", "i8"), ("ctime", "i8"), ("mark", "u4"), ("side", "i4")),
        *(("decoded", "?"), ("bad", "?")),
    ]
)
# So many bytes of the beginning and of the end make the mark, and hold the header and what ends an image.
HEAD: int = 2**14
TAIL: int = 2**12

_CHUNK = 64

# What is known of some files: the look at each, and why a bad one, by its place, is no image.
_Known: TypeAlias = tuple[Array, dict[int, str]]
_UNKNOWN: tuple[Any, ...] = (-1, 0, 0, 0, 0, False, False)  # a size that no file has


def check(
    folder: PathLike,
    names: Sequence[str],
    *,
    full: bool = False,
    on_check: Callable[[int, int], None] | None = None,
) -> tuple[Array, dict[str, str]]:
    """Looks at the images of a folder.

    Args:
        folder: Where they are.
        names: Their paths within it.
        full: Whether to decode each of them, unless that was done.
        on_check: Function of how many files were checked, and of how many there are, called from time to time.

    Returns:
        What is known of each, `LOOK`, and by name why a file is no image that can be read.
    """
    known, why = _remembered(folder, names)
    looks = known.copy()
    root = os.path.join(folder, "")

    def look(start: int) -> list[tuple[tuple[Any, ...], str] | None]:
        part = range(start, min(start + _CHUNK, len(names)))
        return [_look(root + names[index], known[index], full) for index in part]

    # Pillow may warn of a header; what the decoder makes of the file counts.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        index = 0
        for found in pool.map(look, range(0, len(names), _CHUNK)):
            for result in found:
                if result is not None:
                    looks[index], why[index] = result
                index += 1
            if on_check is not None:
                on_check(index, len(names))
    why = {index: reason for index, reason in why.items() if reason}
    if not np.array_equal(looks, known):
        _remember(folder, names, (looks, why))
    return looks, {names[index]: why[index] for index in sorted(why)}


def _look(path: str, known: Any, full: bool) -> tuple[tuple[Any, ...], str] | None:
    """Returns what is found of a file, and why it is no image that can be read, or ""; None where all is known."""
    state = (-1, 0, 0)
    try:
        status = os.stat(path)
        # The time of the entry tells what was moved here, where the system says it, and the other is there everywhere.
        state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if (known["size"], known["mtime"], known["ctime"]) == state and (known["decoded"] or not full):
            return None
        if not full and stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            with open(path, "rb", buffering=HEAD) as file:
                return (*state, *_glance(file, status.st_size), False, False), ""
    except Exception:
        pass  # Pillow raises errors of all kinds; what is no file has a reason of its own
    try:
        image = decode_or_say_why(read_bytes(path))
    except DamagedError as error:
        image = str(error)
    except InputError as error:
        return _UNKNOWN, str(error)  # of the system, which may be another the next time
    try:
        with open(path, "rb") as file:
            mark = _mark(*_ends(file, state[0]))
    except OSError as error:
        return _UNKNOWN, error.strerror or str(error)
    if isinstance(image, str):
        return (*state, mark, 0, True, True), image
    return (*state, mark, int(min(image.shape[:2])), True, False), ""


def _glance(file: IO[bytes], size: int) -> tuple[int, int]:
    """Returns the mark and the shorter side of an image that seems to be whole; raises an error for any other."""
    head, tail = _ends(file, size)
    file.seek(0)
    with Image.open(file, formats=("JPEG", "PNG", "WEBP", "GIF", "BMP")) as image:
        if not _is_whole(image, head, tail, size) or not 0 < image.width * image.height <= MAX_PIXELS:
            raise ValueError("the decoder is to say why")
        return _mark(head, tail), min(image.size)


def _is_whole(image: Image.Image, head: bytes, tail: bytes, size: int) -> bool:
    match image.format:
        case "JPEG" | "MPO":
            # An end is never within pixels, but a thumbnail, which stands before them, has one too.
            return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda") and not is_lossless(head)
        case "PNG":  # one without pixels has no tile
            return bool(image.tile) and max(image.size) <= MAX_PNG_SIDE and b"IEND\xaeB`\x82" in tail
        case "GIF":  # Pillow makes the screen as large as the frames
            return any(head[6:8]) and any(head[8:10]) and tail.endswith(b";")
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
        case "BMP":  # 24 bits a pixel, without compression
            _, _, offset, (layout, stride, *_) = image.tile[0]
            is_read = layout == "BGR" and int.from_bytes(head[14:18], "little") >= 40
            return is_read and offset + stride * image.height <= size
    return False


def _ends(file: IO[bytes], size: int) -> tuple[bytes, bytes]:
    """Returns the beginning and the end of a file of so many bytes."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(max(size - TAIL, 0))
    return head, file.read(TAIL)


def _mark(head: bytes, tail: bytes) -> int:
    return zlib.crc32(tail, zlib.crc32(head))


def _cache(folder: PathLike) -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
    return Path(home, "keras_inception", "images", f"{name}.npz")


def _remembered(folder: PathLike, names: Sequence[str]) -> _Known:
    """Returns what is known of each file; of an unknown one a size that no file has."""
    text, found, why = _kept(folder)
    if text == _text(names):
        return found, why
    looks, reasons = np.array([_UNKNOWN] * len(names), LOOK), {}
    places = {name: place for place, name in enumerate(text.split(b"\0"))} if len(found) else {}
    for index, name in enumerate(names):
        place = places.get(os.fsencode(name))
        if place is not None:
            looks[index] = found[place]
            if place in why:
                reasons[index] = why[place]
    return looks, reasons


def _kept(folder: PathLike) -> tuple[bytes, Array, dict[int, str]]:
    """Returns the names of all files of a folder of which something is known, with a zero between them, and that."""
    # The cache may be damaged, of another version, or not to be read; there may be no place for one.
    with contextlib.suppress(Exception), open(_cache(folder), "rb") as file:
        kept = np.load(file)
        text, looks = kept["names"].tobytes(), kept["looks"]
        reasons = kept["reasons"].tobytes().decode().split("\0")
        bad = np.flatnonzero(looks["bad"]).tolist()
        if looks.dtype == LOOK and len(looks) == text.count(b"\0") + 1 and len(reasons) == max(len(bad), 1):
            return text, looks, dict(zip(bad, reasons))
    return b"", np.zeros(0, LOOK), {}


def _remember(folder: PathLike, names: Sequence[str], known: _Known) -> None:
    """Keeps what is known of some files, beside what was kept of others that are still there."""
    text, kept, kept_why = _kept(folder)
    looks, why = known[0].copy(), dict(known[1])
    encoded = [os.fsencode(name) for name in names]
    places = {name: place for place, name in enumerate(encoded)}
    others: list[int] = []
    for place, name in enumerate(text.split(b"\0") if len(kept) else []):
        index = places.get(name)
        if index is None:
            if os.path.lexists(os.path.join(os.fsencode(folder), name)):
                encoded.append(name)
                others.append(place)
        elif kept["decoded"][place] and not looks["decoded"][index] and _is_unchanged(kept[place], looks[index]):
            looks[index] = kept[place]  # another process has decoded it meanwhile
            if place in kept_why:
                why[index] = kept_why[place]
    looks = np.concatenate([looks, kept[others]])
    why |= {len(names) + index: kept_why[place] for index, place in enumerate(others) if place in kept_why}
    found = np.flatnonzero(looks["size"] >= 0).tolist()
    of_names = b"\0".join(encoded[index] for index in found)
    of_reasons = "\0".join(why[index] for index in found if index in why).encode()
    with contextlib.suppress(OSError, RuntimeError, InputError):  # no home, or nothing can be written there
        cache = _cache(folder)
        cache.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(cache) as aside, open(aside, "wb") as file:
            names_kept, reasons = np.frombuffer(of_names, "u1"), np.frombuffer(of_reasons, "u1")
            np.savez(file, looks=looks[found], names=names_kept, reasons=reasons)


def _is_unchanged(one: Any, other: Any) -> bool:
    return all(one[name] == other[name] for name in ("size", "mtime", "ctime"))


def _text(names: Sequence[str]) -> bytes:
    return os.fsencode("\0".join(names))
