"""The bytes of an image file to pixels, in TensorFlow operations: upright, the first frame alone, of a bounded size."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_inception.data.fields import first_bytes, numbers
from keras_inception.data.image_files import DAMAGED
from keras_inception.data.orientation import MOST_PARTS, orientation, upright
from keras_inception.types import Tensor
from keras_inception.undocumented import apart

# The largest image that is decoded: as many pixels as Pillow opens without a warning, 256 MiB in red, green, blue.
MAX_PIXELS: int = 2**30 // 4 // 3
MAX_PNG_SIDE: int = 1_000_000  # libpng's bound

# With what a JPEG, PNG, GIF, BMP and WebP image begins.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF")
_UNKNOWN = "it is no JPEG, PNG, BMP, GIF or WebP image"
_TOO_LARGE = f"it has more than {MAX_PIXELS:,} pixels; scale it down"
_TOO_LONG = f"a PNG of more than {MAX_PNG_SIDE:,} pixels along a side is not read; scale it down"
_BMP = "TensorFlow reads a BMP of 24 or 32 bits, or of 8 in evenly spaced greys, uncompressed; save it as PNG"


@tf.autograph.experimental.do_not_convert  # it has nothing to convert, and the attempt takes seconds
def decode(encoded: Tensor, channels: int = 3) -> Tensor:
    """Decodes a JPEG, PNG, BMP, GIF or WebP image; of an animated one the first frame.

    It is turned as the orientation in its EXIF says. CMYK becomes RGB, 16 bits become 8, a palette its colours,
    greyscale is repeated, and alpha is dropped. Memory is taken only after the header was looked at.

    Args:
        encoded: Scalar string tensor with the bytes of one file.
        channels: 1 (greyscale), 3 (red, green, blue) or 4 (with alpha; PNG and BMP alone).

    Returns:
        `(height, width, channels)`, uint8.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such image, are incomplete, or have more than `MAX_PIXELS`
            pixels, are a PNG of more than 1,000,000 along a side, or are a BMP that TensorFlow does not read or would
            read with wrong colours. Inside a graph it is raised when the graph runs.
    """
    if tf.executing_eagerly():  # a graph for one image takes longer than its operations
        return upright(decode_stored(encoded, channels), orientation(encoded))
    return _decoder(channels)(tf.convert_to_tensor(encoded, tf.string))


@functools.cache
def _decoder(channels: int) -> Callable[[Tensor], Tensor]:
    """Returns `decode` as a graph of one trace, which any number of pipelines and threads may call."""

    def traced(encoded: Tensor) -> Tensor:
        stored = decode_stored(encoded, channels)
        with tf.control_dependencies([stored]):  # of a damaged file, what its header says is told first
            return upright(stored, orientation(encoded))

    return tf.function(traced, [tf.TensorSpec((), tf.string)], autograph=False).get_concrete_function()


def decode_stored(encoded: Tensor, channels: int = 3) -> Tensor:
    """Decodes an image as `decode` does, but not turned."""
    head = first_bytes(encoded, 32)
    _, is_png, is_gif, _, is_webp = kinds = tf.unstack(_kinds(head))
    planes = max(channels, 3)

    def decoded(file: Tensor, planes: int = planes) -> Tensor:
        return tf.io.decode_image(file, channels=planes, expand_animations=False)

    check = _check(_size(encoded, head, kinds), is_png)
    with tf.control_dependencies([] if check is None else [check]):  # None where it ran eagerly
        encoded = tf.identity(encoded)
    is_animated_webp = is_webp & (head[15] == ord("X")) & (head[20] & 2 > 0)
    image = tf.cond(
        is_gif | is_animated_webp,
        lambda: tf.cond(
            is_gif,
            lambda: decoded(_first_frame(encoded)),
            lambda: decoded(_with_alpha(encoded, head), 4)[..., :planes],
        ),
        lambda: decoded(encoded),
    )
    image.set_shape((None, None, planes))
    return with_channels(image, channels)


def with_channels(image: Tensor, channels: int) -> Tensor:
    """Returns an image with 1 or 3 channels: greyscale is repeated, colours are weighed."""
    if image.shape[-1] == channels:
        return image
    return tf.image.grayscale_to_rgb(image) if channels == 3 else tf.image.rgb_to_grayscale(image)


def decode_or_say_why(encoded: bytes) -> Tensor | str:
    """Returns what `decode` makes of these bytes, or in a few words why they are no image that it reads."""
    if not encoded:
        return "it is empty"
    try:
        return _decoder(3)(tf.constant(encoded))
    except tf.errors.ResourceExhaustedError:  # which says nothing about the file
        raise
    except tf.errors.OpError as error:
        return next((reason for reason in (_UNKNOWN, _TOO_LARGE, _TOO_LONG, _BMP) if reason in error.message), DAMAGED)


def _kinds(head: Tensor) -> Tensor:
    """Returns whether a file begins with each of `_MAGIC`, `(5,)` bool."""
    magic = np.array([list(begin.ljust(8, b"\0")) for begin in _MAGIC])
    counts = np.array([[place < len(begin) for place in range(8)] for begin in _MAGIC])
    return tf.reduce_all(head[:8] * counts.astype(np.int64) == magic, 1)


def _check(size: Tensor, is_png: Tensor) -> tf.Operation | None:
    """Returns an operation that fails where a file is not to be decoded, by what `_size` gives; None if it ran."""
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))  # of two numbers of 32 bits: too much for an integer
    wrong = {
        _UNKNOWN: tf.reduce_any(size == 0),
        _TOO_LARGE: pixels > MAX_PIXELS,
        _TOO_LONG: is_png & tf.reduce_any(size > MAX_PNG_SIDE),
        _BMP: tf.reduce_any(size < 0),
    }
    some = tf.stack(list(wrong.values()))
    first = tf.gather(list(wrong), tf.argmax(tf.cast(some, tf.int32)))
    return tf.raw_ops.Assert(condition=~tf.reduce_any(some), data=[first, size])


# Of each other header: where height and width stand, what they are divided by, their modulus, and what is added.
_SIZES: dict[str, tuple[list[tuple[int, int]], tuple[int, int], int, int]] = {
    "GIF": ([(8, 2), (6, 2)], (1, 1), 2**16, 0),
    "VP8 ": ([(28, 2), (26, 2)], (1, 1), 2**14, 0),
    "VP8L": ([(21, 4), (21, 4)], (2**14, 1), 2**14, 1),
    "VP8X": ([(27, 3), (24, 3)], (1, 1), 2**24, 1),
}


def _size(encoded: Tensor, head: Tensor, kinds: list[Tensor]) -> Tensor:
    """Returns height and width that the header states, `(2,)` int64; 0 of no known format, -1 of a BMP not to read."""
    is_jpeg, is_png, is_gif, is_bmp, is_webp = kinds

    def other() -> Tensor:
        places, divisor, modulus, more = zip(*_SIZES.values())
        sizes = tf.reshape(numbers(head, [place for pair in places for place in pair]), (-1, 2))
        sizes = sizes // np.array(divisor) % np.array(modulus)[:, None] + np.array(more)[:, None]
        is_lossless, is_extended = head[15] == ord("L"), head[15] == ord("X")
        is_one = [is_gif, is_webp & ~is_lossless & ~is_extended, is_webp & is_lossless, is_webp & is_extended]
        return tf.reduce_sum(tf.where(tf.stack(is_one)[:, None], sizes, 0), 0)

    return tf.case(
        [
            (is_jpeg, lambda: tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)),
            (is_png, lambda: numbers(head, [(20, 4), (16, 4)], little_endian=False)),
            (is_bmp, lambda: _size_of_bmp(encoded)),
        ],
        default=other,
    )


@apart
def _size_of_bmp(bmp: Tensor) -> Tensor:
    """Returns height and width of a BMP, `(2,)` int64, -1 where TensorFlow does not read it as it is meant.

    What it reads so is without compression, of 24 or 32 bits a pixel, blue first, or of 8 bits that are greys:
    TensorFlow takes the indices of a palette for brightness.
    """
    front = first_bytes(bmp, 2048)
    places = [(14, 4), (28, 2), (30, 2), (10, 4), (22, 4), (18, 4)]
    header, bits, compression, pixels, height, width = tf.unstack(numbers(front[:34], places))
    start = 14 + tf.clip_by_value(header, 0, 1000)
    entries = tf.clip_by_value(pixels - start, 0, 1024) // 4
    palette = tf.reshape(front[start : start + 4 * entries], (-1, 4))[:, :3]
    ramp = tf.range(entries) * 255 // tf.maximum(entries - 1, 1)
    is_grey = tf.reduce_all(palette == ramp[:, None])
    masks = tf.reduce_all(front[54:66] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])  # where red, green and blue are
    in_colour = (bits == 24) | (bits == 32)
    plain = (compression == 0) | (compression == 3) & (bits == 32) & masks
    is_read = (header >= 40) & (in_colour & plain | (bits == 8) & (compression == 0) & is_grey)
    size = tf.stack([height, width])
    size = tf.minimum(size, 2**32 - size)  # a negative height says that the rows go from top to bottom
    return tf.where(is_read, size, -1)


@apart
def _with_alpha(webp: Tensor, head: Tensor) -> Tensor:
    """Returns an animated WebP that says that it has alpha: TensorFlow decodes animations as such alone."""
    flags = tf.gather([bytes([flags]) for flags in range(256)], tf.bitwise.bitwise_or(head[20], 0x10))
    return tf.strings.join([tf.strings.substr(webp, 0, 20), flags, tf.strings.substr(webp, 21, 2**31 - 1)])


@apart
def _first_frame(gif: Tensor) -> Tensor:
    """Returns a GIF without its other frames: TensorFlow takes the memory of all of them.

    Where the frame is larger than `MAX_PIXELS`, has more than `MOST_PARTS` blocks that are not of one size, or is
    missing, what is returned has no frame and is not decoded.
    """
    data = tf.concat([tf.io.decode_raw(gif, tf.uint8), tf.zeros(16, tf.uint8)], 0)
    end = tf.size(data) - 16

    def read(at: Tensor | int, places: list[tuple[int, int]]) -> list[Tensor]:
        return tf.unstack(tf.cast(numbers(tf.cast(tf.slice(data, [at], [10]), tf.int64), places), tf.int32))

    def table(flags: Tensor) -> Tensor:
        """Returns the size of the table of colours that flags announce, in bytes."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def block(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Goes from the beginning of an extension or a frame to its first sub-block."""
        kind, width, height, flags = read(at, [(0, 1), (5, 2), (7, 2), (9, 1)])
        is_frame = (kind == 0x2C) & (tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= MAX_PIXELS)
        after = tf.where(is_frame, at + 11 + table(flags), tf.where(kind == 0x21, at + 2, end))
        return after, is_frame | (kind == 0x21), is_frame

    def sub_blocks(at: Tensor, is_frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Goes behind sub-blocks of one size."""
        size = tf.cast(data[at], tf.int32)
        others = data[at : at + 2**16 * (size + 1) : size + 1] != data[at]
        run = tf.argmax(tf.cast(tf.concat([others, [True]], 0), tf.int32), output_type=tf.int32)
        return tf.where(size == 0, at + 1, at + run * (size + 1)), size > 0, is_frame

    def move(at: Tensor, inside: Tensor, is_frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at, inside, is_frame = tf.cond(inside, lambda: sub_blocks(at, is_frame), lambda: block(at))
        return tf.ensure_shape(tf.minimum(at, end), ()), tf.ensure_shape(inside, ()), tf.ensure_shape(is_frame, ())

    at, inside, is_frame = tf.while_loop(
        lambda at, inside, is_frame: (at < end) & (inside | ~is_frame),
        move,
        (tf.minimum(13 + table(*read(4, [(6, 1)])), end), tf.constant(False), tf.constant(False)),
        parallel_iterations=1,
        maximum_iterations=MOST_PARTS,
    )
    whole = is_frame & ~inside
    return tf.strings.join([tf.strings.substr(gif, 0, tf.where(whole, at, 13)), b";"])
