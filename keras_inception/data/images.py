"""Encoded images to the input of a network: the one way in, for training, evaluation, prediction and serving alike."""

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_inception.network.preprocess import preprocess_input
from keras_inception.types import Tensor

# The largest image that is decoded: as many pixels as Pillow opens without a warning, 256 MiB in red, green, blue.
MAX_PIXELS: int = 2**30 // 4 // 3


def decode(encoded: Tensor, channels: int = 3) -> Tensor:
    """Decodes a JPEG, PNG, BMP, GIF (its first frame) or WebP image.

    CMYK becomes RGB, 16 bits become 8, a palette its colours, greyscale is repeated, alpha is dropped, and the
    orientation that a camera writes into EXIF is ignored. Memory is taken only after the header was looked at.

    Args:
        encoded: Scalar string tensor with the bytes of one file.
        channels: 1 (greyscale), 3 (red, green, blue) or 4 (with alpha; PNG and BMP alone).

    Returns:
        `(height, width, channels)`, uint8.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such image, are incomplete, or have more than `MAX_PIXELS`
            pixels, or are a BMP with coloured palette, which TensorFlow would read as grey. Inside a graph it is
            raised when the graph runs.
    """
    with tf.control_dependencies(_checks(encoded)):
        image = tf.io.decode_image(encoded, channels=max(channels, 3), expand_animations=False)
    image.set_shape((None, None, max(channels, 3)))
    return with_channels(image, channels)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Cuts the largest centred window of the target's aspect ratio out of an image and scales it, antialiased.

    Args:
        image: `(any height, any width, channels)` of any numeric type.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        `(height, width, channels)`, float32 in the range of `image`.
    """
    part = cut(image, centred_window(tf.shape(image)[:2], height, width))
    return tf.ensure_shape(tf.image.resize(part, (height, width), antialias=True), (height, width, image.shape[-1]))


def centred_window(size: Tensor, height: int, width: int) -> Tensor:
    """Returns the largest centred window of an image that has the aspect ratio of `height` and `width`.

    Args:
        size: `(2,)`, int32, height and width of the image in pixels.
        height: What the window's will be scaled to, in pixels.
        width: What the window's will be scaled to, in pixels.

    Returns:
        `(4,)`, int32: top, left, height and width in pixels.
    """
    sides = tf.cast(size, tf.float32)
    scale = tf.minimum(sides[0] / height, sides[1] / width)
    window = tf.maximum(tf.cast(tf.round(scale * (height, width)), tf.int32), 1)
    return tf.concat([(size - window) // 2, window], 0)


def cut(image: Tensor, window: Tensor) -> Tensor:
    """Returns the part of an image that a window, `(top, left, height, width)` in pixels, shows."""
    part = tf.slice(image, [window[0], window[1], 0], [window[2], window[3], -1])
    part.set_shape((None, None, image.shape[-1]))
    return part


def with_channels(image: Tensor, channels: int) -> Tensor:
    """Returns an image with 1 or 3 channels: greyscale is repeated, colours are weighed."""
    if image.shape[-1] == channels:
        return image
    return tf.image.grayscale_to_rgb(image) if channels == 3 else tf.image.rgb_to_grayscale(image)


def to_input(image: Tensor, image_shape: tuple[int, int, int], preprocessing: str) -> Tensor:
    """Turns a decoded image into a network's input.

    Args:
        image: `(height, width, channels)`, [0, 255]; one channel is repeated where the network wants three.
        image_shape: `(height, width, channels)` of the network's input.
        preprocessing: The mode of `preprocess_input`.

    Returns:
        `image_shape`, float32.
    """
    image = resize(with_channels(tf.convert_to_tensor(image), image_shape[-1]), *image_shape[:2])
    return preprocess_input(image, "channels_last", preprocessing=preprocessing)


def read(encoded: Tensor, image_shape: tuple[int, int, int], preprocessing: str) -> Tensor:
    """Turns the bytes of a file into a network's input: `decode` to its channels, then `to_input`."""
    return to_input(decode(encoded, image_shape[-1]), image_shape, preprocessing)


def why_unreadable(encoded: bytes) -> str | None:
    """Returns in a few words why these bytes are no image that `decode` reads; None if they are one."""
    if not encoded:
        return "it is empty"
    try:
        _decoder()(tf.constant(encoded))
    except tf.errors.OpError as error:
        return next((reason for reason in _REASONS if reason in error.message), _DAMAGED)
    return None


@functools.cache
def _decoder() -> Callable[[Tensor], Tensor]:
    """Returns `decode` as a graph of one trace, which any number of threads may call."""
    return tf.function(decode, input_signature=[tf.TensorSpec((), tf.string)]).get_concrete_function()


_UNKNOWN = "it is no JPEG, PNG, BMP, GIF or WebP image"
_TOO_LARGE = f"it has more than {MAX_PIXELS:,} pixels; scale it down"
_PALETTE = "TensorFlow ignores the colours of a BMP with a palette; save it as PNG"
_REASONS = (_UNKNOWN, _TOO_LARGE, _PALETTE)
_DAMAGED = "it is damaged or truncated"


def _checks(encoded: Tensor) -> list[tf.Operation]:
    """Returns operations that fail where `encoded` should not be decoded, by what stands in its header."""
    head = tf.strings.join([tf.strings.substr(encoded, 0, 32), b"\0" * 32])  # a short one ends in zeros
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(head, 0, 32), tf.uint8), tf.int64)
    size = _size(encoded, head)
    known = tf.debugging.Assert(tf.reduce_all(size > 0), [_UNKNOWN])
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))  # of two numbers of 32 bits: too much for an integer
    small = tf.debugging.Assert(pixels <= MAX_PIXELS, [_TOO_LARGE, size])
    # Of a BMP with 8 bits a pixel TensorFlow reads the indices of the palette as brightness.
    has_palette = _starts(head, b"BM") & (_little(head, 28, 2) == 8)
    grey = tf.cond(has_palette, lambda: _is_grey_ramp(encoded, head), lambda: tf.constant(True))
    coloured = tf.debugging.Assert(grey, [_PALETTE])
    return [check for check in (known, small, coloured) if check is not None]  # None where they ran eagerly


def _size(encoded: Tensor, head: Tensor) -> Tensor:
    """Returns height and width that the header states, `(2,)` int64; 0 where it is of no known format."""

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
        # A negative height says that the rows go from top to bottom.
        (b"BM", lambda: tf.abs(tf.stack([_signed(_little(head, 22, 4)), _signed(_little(head, 18, 4))]))),
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


def _is_grey_ramp(bmp: Tensor, head: Tensor) -> Tensor:
    """Returns whether the palette of a BMP goes from black to white in equal steps, or is missing."""
    start = 14 + _little(head, 14, 4)
    entries = tf.maximum(_little(head, 10, 4) - start, 0) // 4
    palette = tf.reshape(tf.io.decode_raw(tf.strings.substr(bmp, start, 4 * entries), tf.uint8), (-1, 4))[:, :3]
    ramp = tf.range(entries) * 255 // tf.maximum(entries - 1, 1)
    return tf.reduce_all(tf.cast(palette, tf.int64) == ramp[:, None])
