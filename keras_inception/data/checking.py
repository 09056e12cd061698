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
from typing import IO, Any

import numpy as np
from PIL import Image, WebPImagePlugin  # noqa: F401, which reads WebP

from keras_inception.data.decoding import MAX_PIXELS, decode_or_say_why
from keras_inception.data.image_files import MAX_BYTES, read_bytes
from keras_inception.errors import InputError
from keras_inception.files import written_aside
from keras_inception.types import Array, PathLike

# One file: its bytes, when it was changed (nanoseconds), its mark, the shorter side in pixels, whether it was decoded.
LOOK: np.dtype[Any] = np.dtype([("size", "i8"), ("time", "i8"), ("mark", "u4"), ("side", "i4"), ("decoded", "?")])
# So many bytes of the beginning and of the end make the mark, and hold the header and what ends an image.
HEAD: int = 2**14
TAIL: int = 2**12

_CHUNK = 64


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
    known = _remembered(folder, names)
    looks, reasons = known.copy(), {}
    root = os.path.join(folder, "")

    def look(start: int) -> list[tuple[Any, ...] | str]:
        part = range(start, min(start + _CHUNK, len(names)))
        return [_look(root + names[index], known[index], full) for index in part]

    # Pillow may warn of a header; what the decoder makes of the file counts.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        index = 0
        for found in pool.map(look, range(0, len(names), _CHUNK)):
            for result in found:
                looks[index] = (-1, 0, 0, 0, False) if isinstance(result, str) else result
                if isinstance(result, str):
                    reasons[names[index]] = result
                index += 1
            if on_check is not None:
                on_check(index, len(names))
    if not np.array_equal(looks, known):
        _remember(folder, names, looks)
    return looks, reasons


def _look(path: str, known: Any, full: bool) -> tuple[Any, ...] | str:
    """Returns what is known of a file, or why it is no image that can be read."""
    try:
        status = os.stat(path)
        # The former tells what was moved here, where the system says it, and the latter is there everywhere.
        changed = max(status.st_ctime_ns, status.st_mtime_ns)
        if (known["size"], known["time"]) == (status.st_size, changed) and (known["decoded"] or not full):
            return known.item()
        if not full and stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            with open(path, "rb", buffering=HEAD) as file:
                return status.st_size, changed, *_glance(file, status.st_size), False
    except Exception:
        pass  # Pillow raises errors of all kinds; what is no file has a reason of its own
    try:
        encoded = read_bytes(path)
    except InputError as error:
        return str(error)
    image = decode_or_say_why(encoded)
    if isinstance(image, str):
        return image
    return len(encoded), changed, _mark(encoded[:HEAD], encoded[-TAIL:]), int(min(image.shape[:2])), True


def _glance(file: IO[bytes], size: int) -> tuple[int, int]:
    """Returns the mark and the shorter side of an image that seems to be whole; raises an error for any other."""
    head = file.read(HEAD)
    file.seek(0)
    with Image.open(file, formats=("JPEG", "PNG", "WEBP", "GIF", "BMP")) as image:
        file.seek(max(size - TAIL, 0))
        tail = file.read(TAIL)
        if not _is_whole(image, head, tail, size) or image.width * image.height > MAX_PIXELS:
            raise ValueError("the decoder is to say why")
        return _mark(head, tail), min(image.size)


def _is_whole(image: Image.Image, head: bytes, tail: bytes, size: int) -> bool:
    match image.format:
        case "JPEG" | "MPO":
            # An end is never within pixels, but a thumbnail, which stands before them, has one too.
            return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")
        case "PNG":
            return b"IEND\xaeB`\x82" in tail
        case "GIF":
            return tail.endswith(b";")
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
        case "BMP":  # 24 bits a pixel, without compression
            _, _, offset, (layout, stride, *_) = image.tile[0]
            is_read = layout == "BGR" and int.from_bytes(head[14:18], "little") >= 40
            return is_read and offset + stride * image.height <= size
    return False


def _mark(head: bytes, tail: bytes) -> int:
    return zlib.crc32(tail, zlib.crc32(head))


def _cache(folder: PathLike) -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
    return Path(home, "keras_inception", "images", f"{name}.npz")


def _remembered(folder: PathLike, names: Sequence[str]) -> Array:
    """Returns what is known of each file; of an unknown one a size that no file has."""
    looks = np.zeros(len(names), LOOK)
    looks["size"] = -1
    # The cache may be damaged, of another version, or not to be read.
    with contextlib.suppress(Exception), open(_cache(folder), "rb") as file:
        kept = np.load(file)
        text, found = kept["names"].tobytes(), kept["looks"]
        if found.dtype != LOOK:
            return looks
        if text == _text(names):
            return found
        places = {name: place for place, name in enumerate(text.split(b"\0"))}
        for index, name in enumerate(names):
            place = places.get(os.fsencode(name))
            if place is not None:
                looks[index] = found[place]
    return looks


def _remember(folder: PathLike, names: Sequence[str], looks: Array) -> None:
    cache = _cache(folder)
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(cache) as aside, open(aside, "wb") as file:
            np.savez(file, names=np.frombuffer(_text(names), "u1"), looks=looks)


def _text(names: Sequence[str]) -> bytes:
    return os.fsencode("\0".join(names))
