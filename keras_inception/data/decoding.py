"""The bytes of an image file to pixels, in TensorFlow operations: upright, the first frame alone, of a bounded size."""

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_inception.data.image_files import DAMAGED
from keras_inception.data.orientation import MOST_PARTS, orientation, upright
from keras_inception.types import Tensor

# The largest image that is decoded: as many pixels as Pillow opens without a warning, 256 MiB in red, green, blue.
MAX_PIXELS: int = 2**30 // 4 // 3
MAX_PNG_SIDE: int = 1_000_000  # libpng's bound

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
        return upright(decode_stored(encoded, channels), orientation(encoded))

    return tf.function(traced, [tf.TensorSpec((), tf.string)], autograph=False).get_concrete_function()


def decode_stored(encoded: Tensor, channels: int = 3) -> Tensor:
    """Decodes an image as `decode` does, but not turned."""
    head = tf.strings.substr(tf.strings.substr(encoded, 0, 32) + b"\0" * 32, 0, 32)  # a short one ends in zeros
    head = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)
    planes = max(channels, 3)

    def decoded(file: Tensor, planes: int = planes) -> Tensor:
        return tf.io.decode_image(file, channels=planes, expand_animations=False)

    with tf.control_dependencies(_checks(encoded, head)):
        encoded = tf.identity(encoded)
    is_gif = _starts(head, b"GIF8")
    is_animated_webp = _starts(head, b"RIFF") & (head[15] == ord("X")) & (head[20] & 2 > 0)
    image = tf.case(
        [
            (~is_gif & ~is_animated_webp, lambda: decoded(encoded)),  # first, for it is nearly all of them
            (is_gif, lambda: decoded(_first_frame(encoded))),
        ],
        default=lambda: decoded(_with_alpha(encoded, head), 4)[..., :planes],
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


def _checks(encoded: Tensor, head: Tensor) -> list[tf.Operation]:
    """Returns operations that fail where `encoded` should not be decoded, by what stands in its first 32 bytes."""
    size = _size(encoded, head)
    known = tf.debugging.Assert(tf.reduce_all(size != 0), [_UNKNOWN])
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))  # of two numbers of 32 bits: too much for an integer
    small = tf.debugging.Assert(pixels <= MAX_PIXELS, [_TOO_LARGE, size])
    is_long = _starts(head, b"\x89PNG") & tf.reduce_any(size > MAX_PNG_SIDE)
    short = tf.debugging.Assert((pixels > MAX_PIXELS) | ~is_long, [_TOO_LONG])
    bmp = tf.debugging.Assert(tf.reduce_all(size >= 0), [_BMP])
    return [check for check in (known, small, short, bmp) if check is not None]  # None where they ran eagerly


def _size(encoded: Tensor, head: Tensor) -> Tensor:
    """Returns height and width that the header states, `(2,)` int64; 0 of no known format, -1 of a BMP not to read."""

    def bmp() -> Tensor:
        # A negative height says that the rows go from top to bottom.
        size = tf.stack([_signed(_little(head, 22, 4)), _signed(_little(head, 18, 4))])
        return tf.where(_is_plain_bmp(encoded, head), tf.abs(size), -1)

    def webp() -> Tensor:
        bits = _little(head, 21, 4)
        lossless = 1 + tf.stack([bits // 2**14 % 2**14, bits % 2**14])
        lossy = tf.stack([_little(head, 28, 2) % 2**14, _little(head, 26, 2) % 2**14])
        extended = 1 + tf.stack([_little(head, 27, 3), _little(head, 24, 3)])
        kind = head[15]  # of "VP8 ", "VP8L" and "VP8X"
        return tf.where(kind == ord("L"), lossless, tf.where(kind == ord("X"), extended, lossy))

    formats = [
        (b"\xff\xd8\xff", lambda: tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)),
        (b"\x89PNG\r\n\x1a\n", lambda: tf.stack([_little(head[::-1], 32 - at - 4, 4) for at in (20, 16)])),
        (b"GIF8", lambda: tf.stack([_little(head, 8, 2), _little(head, 6, 2)])),
        (b"BM", bmp),
        (b"RIFF", webp),
    ]
    unknown = tf.zeros(2, tf.int64)
    return tf.case([(_starts(head, magic), size) for magic, size in formats], default=lambda: unknown)


def _starts(head: Tensor, magic: bytes) -> Tensor:
    return tf.reduce_all(head[: len(magic)] == list(magic))


def _little(head: Tensor, start: int, count: int) -> Tensor:
    """Returns the number that `count` bytes from `start` on make, the lowest byte first."""
    return tf.reduce_sum(head[start : start + count] * [256**place for place in range(count)])


def _signed(number: Tensor) -> Tensor:
    return tf.where(number >= 2**31, number - 2**32, number)


def _is_plain_bmp(bmp: Tensor, head: Tensor) -> Tensor:
    """Returns whether a BMP is one that TensorFlow reads as it is meant.

    That is one without compression of 24 or 32 bits a pixel, blue first, or of 8 bits that are greys: TensorFlow takes
    the indices of a palette for brightness.
    """

    front = tf.strings.substr(tf.strings.substr(bmp, 0, 2048) + b"\0" * 2048, 0, 2048)
    front = tf.cast(tf.io.decode_raw(front, tf.uint8), tf.int64)
    header, bits, compression = _little(head, 14, 4), _little(head, 28, 2), _little(head, 30, 2)
    start = 14 + tf.clip_by_value(header, 0, 1000)
    entries = tf.clip_by_value(_little(head, 10, 4) - start, 0, 1024) // 4
    palette = tf.reshape(front[start : start + 4 * entries], (-1, 4))[:, :3]
    ramp = tf.range(entries) * 255 // tf.maximum(entries - 1, 1)
    is_grey = tf.reduce_all(palette == ramp[:, None])
    masks = tf.reduce_all(front[54:66] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])  # where red, green and blue are
    in_colour = (bits == 24) | (bits == 32)
    plain = (compression == 0) | (compression == 3) & (bits == 32) & masks
    return (header >= 40) & (in_colour & plain | (bits == 8) & (compression == 0) & is_grey)


def _with_alpha(webp: Tensor, head: Tensor) -> Tensor:
    """Returns an animated WebP that says that it has alpha: TensorFlow decodes animations as such alone."""
    flags = tf.gather([bytes([flags]) for flags in range(256)], tf.bitwise.bitwise_or(head[20], 0x10))
    return tf.strings.join([tf.strings.substr(webp, 0, 20), flags, tf.strings.substr(webp, 21, 2**31 - 1)])


def _first_frame(gif: Tensor) -> Tensor:
    """Returns a GIF without its other frames: TensorFlow takes the memory of all of them.

    Where the frame is larger than `MAX_PIXELS`, has more than `MOST_PARTS` blocks that are not of one size, or is
    missing, what is returned has no frame and is not decoded.
    """
    data = tf.concat([tf.io.decode_raw(gif, tf.uint8), tf.zeros(16, tf.uint8)], 0)
    end = tf.size(data) - 16

    def byte(at: Tensor) -> Tensor:
        return tf.cast(data[at], tf.int32)

    def table(flags: Tensor) -> Tensor:
        """Returns the size of the table of colours that flags announce, in bytes."""
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def block(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Goes from the beginning of an extension or a frame to its first sub-block."""
        kind = byte(at)
        pixels = tf.cast((byte(at + 5) + 256 * byte(at + 6)) * (byte(at + 7) + 256 * byte(at + 8)), tf.int64)
        is_frame = (kind == 0x2C) & (pixels <= MAX_PIXELS)
        is_extension = kind == 0x21
        after = tf.where(is_frame, at + 11 + table(byte(at + 9)), tf.where(is_extension, at + 2, end))
        return after, is_frame | is_extension, is_frame

    def sub_blocks(at: Tensor, is_frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Goes behind sub-blocks of one size."""
        size = byte(at)
        others = data[at : at + 2**16 * (size + 1) : size + 1] != data[at]
        run = tf.argmax(tf.cast(tf.concat([others, [True]], 0), tf.int32), output_type=tf.int32)
        return tf.where(size == 0, at + 1, at + run * (size + 1)), size > 0, is_frame

    def move(at: Tensor, inside: Tensor, is_frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at, inside, is_frame = tf.cond(inside, lambda: sub_blocks(at, is_frame), lambda: block(at))
        return tf.ensure_shape(tf.minimum(at, end), ()), tf.ensure_shape(inside, ()), tf.ensure_shape(is_frame, ())

    at, inside, is_frame = tf.while_loop(
        lambda at, inside, is_frame: (at < end) & (inside | ~is_frame),
        move,
        (tf.minimum(13 + table(byte(10)), end), tf.constant(False), tf.constant(False)),
        parallel_iterations=1,
        maximum_iterations=MOST_PARTS,
    )
    whole = is_frame & ~inside
    return tf.strings.join([tf.strings.substr(gif, 0, tf.where(whole, at, 13)), b";"])
