"""Which way up a file's image is shown: the orientation that a camera wrote into EXIF, as Pillow's `exif_transpose`.

It stands in the APP1 segment of a JPEG, and in a chunk of a PNG or WebP; BMP and GIF have none. A PNG of ImageMagick
has it in hexadecimal digits, as the text "Raw profile type exif" (tEXt, or zTXt where it is compressed). Tag 0x0112 of
the first directory counts, one SHORT or LONG in [1, 8], signed or not; all else, damaged EXIF included, means 1: shown
as it is stored. What XMP says is not read.

All of it is TensorFlow operations, for `tf.data` and an exported graph alike.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_inception.data.fields import bytes_at, numbers
from keras_inception.types import Tensor
from keras_inception.undocumented import apart

# Of a file, segments or chunks among which EXIF is looked for: a bound on the time that a strange one takes.
MOST_PARTS: int = 4096
# Of a JPEG, bytes in which EXIF is looked for: it stands at the beginning, at most behind profiles of colours.
MOST_BEFORE: int = 2**18
# Of a PNG's text, bytes that are read, compressed or not: hexadecimal digits of as much EXIF as a JPEG can hold.
MOST_TEXT: int = 2**17
_EXIF = b"Exif\0\0"
_ANY = -1


class _Kind(NamedTuple):
    """Where the files of a format have EXIF."""

    first: bytes  # the byte that they begin with
    name: bytes  # without which a file has none
    wanted: tuple[int, ...]  # the first ten bytes of its segment or chunk
    start: int  # where the first segment or chunk begins
    before: int  # how many of its bytes its length does not count, at its beginning ...
    begin: int  # where the EXIF begins in it
    after: int  # ... and at its end


_KINDS = (
    _Kind(b"\xff", _EXIF, (0xFF, 0xE1, _ANY, _ANY, *_EXIF), start=2, before=2, begin=10, after=0),
    _Kind(b"\x89", b"eXIf", (*[_ANY] * 4, *b"eXIf", _ANY, _ANY), start=8, before=8, begin=8, after=4),
    _Kind(b"R", b"EXIF", (*b"EXIF", *[_ANY] * 6), start=12, before=8, begin=8, after=0),
)
_PROFILE = b"Raw profile type exif\0"
_DIGITS = [b"0123456789abcdef".find(bytes([byte]).lower()) for byte in range(256)]
_REVERSED = [[False, False], [False, True], [True, True], [True, False]] * 2


def orientation(encoded: Tensor) -> Tensor:
    """Returns how the image of a file is stored, from 1 (upright) to 8, int32, from its bytes; both are scalars."""
    first = tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 1))
    is_kind = tf.equal(first, [kind.first for kind in _KINDS])
    kind = tf.argmax(tf.cast(is_kind, tf.int32), output_type=tf.int32)
    # Most files have no EXIF, and to know that takes one search, of a PNG two.
    searched = tf.strings.substr(encoded, 0, tf.where(is_kind[0], MOST_BEFORE, 2**31 - 1))
    name = tf.gather([kind.name for kind in _KINDS], kind)
    named = tf.reduce_any(is_kind) & (tf.size(_cut(searched, name, 1)) > 1)
    profile = tf.cond(is_kind[1] & ~named, lambda: _cut(encoded, _PROFILE, 1), lambda: tf.constant([b""]))
    return tf.cond(named | (tf.size(profile) > 1), lambda: _parsed(encoded, kind, profile), lambda: tf.constant(1))


@apart
def _parsed(encoded: Tensor, kind: Tensor, profile: Tensor) -> Tensor:
    """Returns the orientation of a file in which a name of EXIF was found, or a profile, cut there."""
    exif = tf.cond(tf.size(profile) > 1, lambda: _exif_of_text(profile), lambda: _exif_of_parts(encoded, kind))
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


def _exif_of_parts(encoded: Tensor, kind: Tensor) -> Tensor:
    """Returns the EXIF of the first segment or chunk that has it, of a JPEG before the pixels; "" if there is none."""
    padded = encoded + b"\0" * 16  # what is read at the end of a file is not too short
    end = tf.strings.length(padded) - 16
    wanted = tf.gather(tf.constant([row.wanted for row in _KINDS], tf.int64), kind)
    start, before, begin, after = tf.unstack(tf.gather([row[3:] for row in _KINDS], kind))
    is_jpeg, is_webp = kind == 0, kind == 2

    def step(at: Tensor, length: Tensor, found: Tensor, goes_on: Tensor) -> tuple[Tensor, ...]:
        """Looks at a part and, where it is not what is looked for, goes to the next one."""
        head = bytes_at(padded, at, 10)
        found = tf.reduce_all((head == wanted) | (wanted == _ANY))
        marker, of_segment, of_chunk = tf.unstack(numbers(head, [(0, 2), (2, 2), (0, 4)], little_endian=False))
        of_webp = numbers(head, [(4, 4)])[0]
        length = tf.where(is_jpeg, of_segment, tf.where(is_webp, of_webp, of_chunk))
        length = tf.cast(tf.where(length < 2**31, tf.minimum(length, 2**30), 0), tf.int32)  # of more is damaged
        alone = (marker >= 0xFFD0) & (marker <= 0xFFD8) | (marker <= 0xFF01)  # it has no length
        fills = (marker < 0xFF00) | (marker == 0xFFFF)
        size = before + length + after + tf.where(is_webp, length % 2, 0)
        size = tf.where(is_jpeg & fills, 1, tf.where(is_jpeg & alone, 2, size))
        goes_on = ~found & ~(is_jpeg & (marker == 0xFFDA)) & (size < end - at)
        return tf.where(goes_on, at + size, at), length, found, goes_on

    at, length, found, _ = tf.while_loop(
        lambda at, length, found, goes_on: goes_on,
        step,
        (start, 0, False, start < end),
        parallel_iterations=1,
        maximum_iterations=MOST_PARTS,
    )
    length = tf.maximum(before + length - begin, 0)
    return tf.where(found, tf.strings.substr(padded, tf.minimum(at + begin, end), length), b"")


def _exif_of_text(around: Tensor) -> Tensor:
    """Returns the EXIF of a text chunk, from what stands before and after the first name of such a profile."""
    front = tf.strings.join([b"\0" * 8, around[0]])
    length = tf.io.decode_raw(tf.strings.substr(front, -8, 4), tf.int32, False)[0]
    name = tf.strings.substr(front, -4, 4)
    text = tf.strings.substr(around[1], 0, tf.clip_by_value(length - len(_PROFILE), 0, MOST_TEXT))
    inflated = tf.cond(
        tf.equal(name, b"zTXt"),
        lambda: tf.io.decode_compressed(tf.strings.substr(text + b"\0", 1, 2**30), "ZLIB"),
        lambda: text,
    )
    text = tf.where(tf.reduce_any(tf.equal(name, [b"tEXt", b"zTXt"])), inflated, b"")
    # An empty line, the kind of the profile, its size, and lines of digits.
    digits = tf.strings.reduce_join(_cut(tf.strings.substr(text, 0, MOST_TEXT), b"\n", 3)[3:])
    digits = tf.gather(_DIGITS, tf.cast(tf.io.decode_raw(digits, tf.uint8), tf.int32))
    digits = tf.boolean_mask(digits, digits >= 0)
    pairs = tf.reshape(digits[: tf.size(digits) // 2 * 2], (-1, 2))
    return tf.strings.reduce_join(tf.gather([bytes([number]) for number in range(256)], 16 * pairs[:, 0] + pairs[:, 1]))


def _cut(text: Tensor, by: Tensor | bytes, times: int) -> Tensor:
    return tf.raw_ops.StringSplitV2(input=[text], sep=by, maxsplit=times).values


def _orientation_of_exif(exif: Tensor) -> Tensor:
    """Returns the orientation that a TIFF header and its directory name, 1 where they name none."""
    is_named = tf.equal(tf.strings.substr(exif, 0, tf.minimum(6, tf.strings.length(exif))), _EXIF)
    exif = tf.strings.substr(exif, tf.where(is_named, 6, 0), 2**30)
    padded = exif + b"\0" * 16
    header, length = tf.strings.substr(padded, 0, 4), tf.strings.length(exif)
    is_little, is_big = tf.equal(header, b"II*\0"), tf.equal(header, b"MM\0*")

    start = numbers(bytes_at(padded, 4, 4), [(0, 4)], is_little)[0]
    start = tf.cast(tf.minimum(start, tf.cast(length, tf.int64)), tf.int32)
    count = tf.cast(numbers(bytes_at(padded, start, 2), [(0, 2)], is_little)[0], tf.int32)
    count = tf.minimum(count, tf.maximum(length - start - 2, 0) // 12)
    entries = tf.io.decode_raw(tf.strings.substr(padded, start + 2, 12 * count), tf.uint8)
    entries = tf.reshape(tf.cast(entries, tf.int64), (-1, 12))
    places = [(0, 2), (2, 2), (4, 4), (8, 2), (8, 4)]  # tag, type, how many values, the value as SHORT and as LONG
    tag, kind, values, short, long = tf.unstack(numbers(entries, places, is_little), axis=1)
    is_short, is_long = (kind == 3) | (kind == 8), (kind == 4) | (kind == 9)  # with a sign or without
    value = tf.where(is_short, short, long)
    valid = (is_short | is_long) & (values == 1) & (value >= 1) & (value <= 8)
    found = tf.boolean_mask(tf.where(valid, value, 1), tag == 0x0112)
    return tf.where(is_little | is_big, tf.cast(tf.concat([[1], found], 0)[-1], tf.int32), 1)
