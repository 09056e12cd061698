"""Encoded images to the input of a network: the one way in, for training, evaluation and prediction alike."""

import tensorflow as tf

from keras_inception.preprocess import preprocess_input


def decode(encoded, channels=3):
    """Decodes a JPEG, PNG, BMP, GIF (its first frame) or WebP image.

    CMYK becomes RGB, 16 bits become 8, a palette its colours, greyscale is repeated, and alpha is dropped.

    Args:
        encoded: Scalar string tensor with the bytes of one file.
        channels: 1 (greyscale), 3 (red, green, blue) or 4 (with alpha; PNG and BMP alone).

    Returns:
        `(height, width, channels)`, uint8.
    """
    image = tf.io.decode_image(encoded, channels=max(channels, 3), expand_animations=False)
    image.set_shape((None, None, max(channels, 3)))
    return tf.image.rgb_to_grayscale(image) if channels == 1 else image


def resize(image, height, width):
    """Cuts the largest centred window of the target's aspect ratio out of an image and scales it, antialiased.

    Args:
        image: `(height, width, channels)` of any numeric type.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        `(height, width, channels)`, float32 in the range of `image`.
    """
    part = cut(image, centred_window(tf.shape(image)[:2], height, width))
    return tf.ensure_shape(tf.image.resize(part, (height, width), antialias=True), (height, width, image.shape[-1]))


def centred_window(size, height, width):
    """Returns the largest centred window of an image that has the aspect ratio of `height` and `width`.

    Args:
        size: `(2,)`, int32, height and width of the image in pixels.
        height: Height that the window will be scaled to, in pixels.
        width: Width that the window will be scaled to, in pixels.

    Returns:
        `(4,)`, int32: top, left, height and width in pixels.
    """
    sides = tf.cast(size, tf.float32)
    scale = tf.minimum(sides[0] / height, sides[1] / width)
    window = tf.maximum(tf.cast(tf.round(scale * (height, width)), tf.int32), 1)
    return tf.concat([(size - window) // 2, window], 0)


def cut(image, window):
    """Returns the part of an image that a window, `(top, left, height, width)` in pixels, shows."""
    part = tf.slice(image, [window[0], window[1], 0], [window[2], window[3], -1])
    part.set_shape((None, None, image.shape[-1]))
    return part


def with_channels(image, channels):
    """Returns an image with 1 or 3 channels: greyscale is repeated, colours are weighed."""
    if image.shape[-1] == channels:
        return image
    return tf.image.grayscale_to_rgb(image) if channels == 3 else tf.image.rgb_to_grayscale(image)


def to_input(image, image_shape, preprocessing):
    """Turns a decoded image into a network's input.

    Args:
        image: `(height, width, channels)`, [0, 255]; one channel is repeated where the network wants three.
        image_shape: `(height, width, channels)` of the network's input.
        preprocessing: The mode of `preprocess_input`.

    Returns:
        `image_shape`, float32.
    """
    image = resize(with_channels(tf.cast(image, tf.float32), image_shape[-1]), *image_shape[:2])
    return preprocess_input(image, "channels_last", preprocessing=preprocessing)


def why_unreadable(encoded):
    """Returns in a few words why these bytes are no image that `decode` reads; None if they are one."""
    if not encoded:
        return "it is empty"
    try:
        decode(encoded)
    except tf.errors.OpError as error:
        known = "Unknown image file format" not in error.message
        return "it is damaged or truncated" if known else "it is no JPEG, PNG, BMP, GIF or WebP image"
    if (
        encoded[:2] == b"BM"
        and encoded[28:30] in (b"\x01\x00", b"\x04\x00", b"\x08\x00")
        and _has_coloured_palette(encoded)
    ):
        return "TensorFlow ignores the colours of a BMP with a palette; save it as PNG"
    return None


def _has_coloured_palette(bmp):
    start = 14 + int.from_bytes(bmp[14:18], "little")
    palette = bmp[start : int.from_bytes(bmp[10:14], "little")]
    entries = [palette[i : i + 3] for i in range(0, len(palette) - 3, 4)]
    return any(entry != bytes([i * 255 // max(len(entries) - 1, 1)] * 3) for i, entry in enumerate(entries))
