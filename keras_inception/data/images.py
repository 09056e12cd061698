"""Images to the input of a network: the one way in, for training, evaluation, prediction and serving alike."""

import tensorflow as tf

from keras_inception.data.decoding import decode, with_channels
from keras_inception.network.preprocess import preprocess_input
from keras_inception.types import Tensor


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


def to_input(image: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None) -> Tensor:
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


def read(encoded: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None) -> Tensor:
    """Turns the bytes of a file into a network's input: `decode` to its channels, then `to_input`."""
    return to_input(decode(encoded, image_shape[-1]), image_shape, preprocessing)
