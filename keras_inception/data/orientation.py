"""Which way up a file's image is shown: the orientation that a camera wrote into EXIF, as Pillow's `exif_transpose`.

It stands in the APP1 segment of a JPEG, and in a chunk of a PNG or WebP; BMP and GIF have none. A PNG of ImageMagick
has it in hexadecimal digits, as the text "Raw profile type exif" (tEXt, or zTXt where it is compressed). Tag 0x0112 of
the first directory counts, one SHORT or LONG in [1, 8], signed or not; all else, damaged EXIF included, means 1: shown
as it is stored. What XMP says is not read.

All of it is TensorFlow operations, for `tf.data` and an exported graph alike.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_inception.types import Tensor
from keras_inception.undocumented import apart

# Of a file, segments or chunks among which EXIF is looked for: a bound on the time that a strange one takes.
MOST_PARTS: int = 4096
# Of a JPEG, bytes in which EXIF is looked for: it stands at the beginning, at most behind profiles of colours.
MOST_BEFORE: int = 2**18
# Of a PNG's text, bytes that are read, compressed or not: hexadecimal digits of as much EXIF as a JPEG can hold.
MOST_TEXT: int = 2**17
_EXIF = b"Exif\0\0"
_PROFILE = b"Raw profile type exif\0"
_DIGITS = [b"0123456789abcdef".find(bytes([byte]).lower()) for byte in range(256)]
_REVERSED = [[False, False], [False, True], [True, True], [True, False]] * 2


def orientation(encoded: Tensor) -> Tensor:
    """Returns how the image of a file is stored, from 1 (upright) to 8, int32, from its bytes; both are scalars."""
    kind = tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 1))
    is_jpeg, is_png, is_webp = (tf.equal(kind, first) for first in (b"\xff", b"\x89", b"R"))
    name = tf.where(is_png, b"eXIf", tf.where(is_webp, b"EXIF", _EXIF))
    # Most files have no EXIF, and to know that takes one search, of a PNG two.
    searched = tf.strings.substr(encoded, 0, tf.where(is_jpeg, MOST_BEFORE, 2**31 - 1))
    named = tf.size(_cut(searched, name, 1)) > 1
    profile = tf.cond(is_png & ~named, lambda: _cut(encoded, _PROFILE, 1), lambda: tf.constant([b""]))
    return tf.cond(
        named | (tf.size(profile) > 1), lambda: _parsed(encoded, kind, named, profile), lambda: tf.constant(1)
    )


@apart
def _parsed(encoded: Tensor, kind: Tensor, named: Tensor, profile: Tensor) -> Tensor:
    """Returns the orientation of a file in which a name of EXIF was found, or a profile, cut there."""
    is_jpeg, is_png, is_webp = (tf.equal(kind, first) for first in (b"\xff", b"\x89", b"R"))
    padded = encoded + b"\0" * 16  # what is read at the end of a file is not too short
    exif = tf.case(
        [
            (is_jpeg, lambda: _exif_of_jpeg(padded)),
            (is_png & named, lambda: _exif_of_chunks(padded, 8, b"eXIf", 4, little_endian=False)),
            (is_png, lambda: _exif_of_text(profile)),
            (is_webp, lambda: _exif_of_chunks(padded, 12, b"EXIF", 0, little_endian=True)),
        ],
        default=lambda: tf.constant(b""),
    )
    return _orientation_of_exif(exif)


def upright(image: Tensor, stored: Tensor) -> Tensor:
    """Turns an image, or a part of it, as it is to be seen; `stored` is what `orientation` gives."""

    def transposed() -> Tensor:
        # What `tf.transpose` gives; of integers TensorFlow says as an error that oneDNN does not do that.
        height, width, channels = tf.unstack(tf.shape(image))
        places = tf.range(width)[:, tf.newaxis] + width * tf.range(height)
        return tf.gather(tf.reshape(image, (-1, channels)), places)

    def turned() -> Tensor:
        swapped = tf.cond(stored > 4, transposed, lambda: image)
        return tf.raw_ops.Reverse(tensor=swapped, dims=tf.concat([tf.gather(_REVERSED, stored - 1), [False]], 0))

    shown = tf.cond(stored > 1, turned, lambda: image)
    shown.set_shape((None, None, image.shape[-1]))
    return shown


def swapped(pair: Tensor, stored: Tensor) -> Tensor:
    """Returns height and width, or row and column, of the upright image from those of the stored one, and back."""
    return tf.where(stored > 4, pair[::-1], pair)


def stored_window(window: Tensor, size: Tensor, stored: Tensor) -> Tensor:
    """Returns where a window of the upright image is stored.

    Args:
        window: `(4,)`, int32: top, left, height and width in pixels.
        size: `(2,)`, int32, height and width of the upright image.
        stored: What `orientation` gives.
    """
    begin, sides = window[:2], window[2:]
    begin = tf.where(tf.gather(_REVERSED, stored - 1), size - begin - sides, begin)
    return tf.concat([swapped(begin, stored), swapped(sides, stored)], 0)


def _exif_of_jpeg(padded: Tensor) -> Tensor:
    """Returns what follows "Exif" in the first APP1 segment that begins so, "" if there is none before the pixels."""

    def goes_on(at: Tensor, head: Tensor) -> Tensor:
        is_exif = (head[0] == 0xFFE1) & tf.reduce_all(head[2:] == [0x4578, 0x6966, 0])
        return (head[0] != 0xFFDA) & ~is_exif

    def step(at: Tensor, head: Tensor) -> Tensor:
        marker, length = head[0], head[1]
        alone = (marker >= 0xFFD0) & (marker <= 0xFFD8) | (marker <= 0xFF01)  # it has no length
        fills = (marker < 0xFF00) | (marker == 0xFFFF)
        return at + tf.where(fills, 1, tf.where(alone, 2, 2 + length))

    at, head = _walk(padded, 2, (10, tf.uint16, False), goes_on, step)
    return tf.where(head[0] == 0xFFE1, tf.strings.substr(padded, at + 10, tf.maximum(head[1] - 8, 0)), b"")


def _exif_of_chunks(padded: Tensor, first: int, name: bytes, name_at: int, *, little_endian: bool) -> Tensor:
    """Returns the first chunk of a name, "" if there is none; a chunk begins with length and name, or the other way."""
    wanted = int.from_bytes(name, "little" if little_endian else "big", signed=True)
    length_at = 1 - name_at // 4
    extra = 8 if little_endian else 12  # a PNG's chunk ends in a checksum

    def step(at: Tensor, head: Tensor) -> Tensor:
        length = tf.maximum(head[length_at], 0)
        return at + tf.minimum(extra + length + (length % 2 if little_endian else 0), 2**30)

    at, head = _walk(padded, first, (8, tf.int32, little_endian), lambda at, head: head[name_at // 4] != wanted, step)
    found = head[name_at // 4] == wanted
    return tf.where(found, tf.strings.substr(padded, at + 8, tf.maximum(head[length_at], 0)), b"")


def _exif_of_text(around: Tensor) -> Tensor:
    """Returns the EXIF of a text chunk, from what stands before and after the first name of such a profile."""
    front = tf.strings.join([b"\0" * 8, around[0]])
    length = tf.io.decode_raw(tf.strings.substr(front, -8, 4), tf.int32, False)[0]
    name = tf.strings.substr(front, -4, 4)
    text = tf.strings.substr(around[1], 0, tf.clip_by_value(length - len(_PROFILE), 0, MOST_TEXT))
    text = tf.case(
        [
            (tf.equal(name, b"tEXt"), lambda: text),
            (
                tf.equal(name, b"zTXt"),
                lambda: tf.io.decode_compressed(tf.strings.substr(text + b"\0", 1, 2**30), "ZLIB"),
            ),
        ],
        default=lambda: tf.constant(b""),
    )
    # An empty line, the kind of the profile, its size, and lines of digits.
    digits = tf.strings.reduce_join(_cut(tf.strings.substr(text, 0, MOST_TEXT), b"\n", 3)[3:])
    digits = tf.gather(_DIGITS, tf.cast(tf.io.decode_raw(digits, tf.uint8), tf.int32))
    digits = tf.boolean_mask(digits, digits >= 0)
    pairs = tf.reshape(digits[: tf.size(digits) // 2 * 2], (-1, 2))
    return tf.strings.reduce_join(tf.gather([bytes([number]) for number in range(256)], 16 * pairs[:, 0] + pairs[:, 1]))


def _cut(text: Tensor, by: bytes, times: int) -> Tensor:
    return tf.raw_ops.StringSplitV2(input=[text], sep=by, maxsplit=times).values


def _walk(
    padded: Tensor,
    first: int,
    head: tuple[int, tf.DType, bool],
    goes_on: Callable[[Tensor, Tensor], Tensor],
    step: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Goes from part to part of a file; returns where it stops, and the numbers with which that part begins."""
    count, kind, little_endian = head
    end = tf.strings.length(padded) - 16

    def read(at: Tensor) -> Tensor:
        return tf.cast(tf.io.decode_raw(tf.strings.substr(padded, at, count), kind, little_endian), tf.int32)

    def move(at: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
        at = tf.minimum(step(at, head), end)
        return at, read(at)

    at = tf.minimum(first, end)
    return tf.while_loop(
        lambda at, head: (at < end) & goes_on(at, head),
        move,
        (at, read(at)),
        parallel_iterations=1,
        maximum_iterations=MOST_PARTS,
    )


def _orientation_of_exif(exif: Tensor) -> Tensor:
    """Returns the orientation that a TIFF header and its directory name, 1 where they name none."""
    exif = tf.cond(
        tf.equal(tf.strings.substr(exif, 0, tf.minimum(6, tf.strings.length(exif))), _EXIF),
        lambda: tf.strings.substr(exif, 6, 2**30),
        lambda: exif,
    )
    padded = exif + b"\0" * 16
    header = tf.strings.substr(padded, 0, 4)
    little_endian = tf.equal(header, b"II*\0")

    def numbers(part: Tensor) -> Tensor:
        """Returns the numbers that the bytes along the last axis make, in the file's order."""
        part = tf.where(little_endian, part, part[..., ::-1])
        return tf.reduce_sum(part * [256**place for place in range(part.shape[-1])], -1)

    def read(at: Tensor, count: int, width: int) -> Tensor:
        part = tf.io.decode_raw(tf.strings.substr(padded, at, count), tf.uint8)
        return tf.reshape(tf.cast(part, tf.int64), (-1, width))

    length = tf.strings.length(exif, "BYTE")
    start = tf.cast(tf.minimum(numbers(read(4, 4, 4)[0]), tf.cast(length, tf.int64)), tf.int32)
    count = tf.minimum(tf.cast(numbers(read(start, 2, 2)[0]), tf.int32), tf.maximum(length - start - 2, 0) // 12)
    entries = read(start + 2, 12 * count, 12)  # tag, type, how many values, the value
    kind = numbers(entries[:, 2:4])
    kind -= tf.where((kind == 8) | (kind == 9), tf.constant(5, tf.int64), 0)  # SSHORT and SLONG as SHORT and LONG
    value = tf.where(kind == 3, numbers(entries[:, 8:10]), numbers(entries[:, 8:12]))
    valid = ((kind == 3) | (kind == 4)) & (numbers(entries[:, 4:8]) == 1) & (value >= 1) & (value <= 8)
    values = tf.boolean_mask(tf.where(valid, value, 1), numbers(entries[:, :2]) == 0x0112)
    known = little_endian | tf.equal(header, b"MM\0*")
    return tf.where(known, tf.cast(tf.concat([[1], values], 0)[-1], tf.int32), 1)
