"""Images to the input of a network: the one way in, for training, evaluation, prediction and serving alike."""

from collections.abc import Callable

import tensorflow as tf

from keras_inception.data.decoding import decode, with_channels
from keras_inception.network.preprocess import preprocess_input
from keras_inception.types import Tensor


def resize(image: Tensor, height: int, width: int, mode: str = "crop") -> Tensor:
    """Scales an image to a size, antialiased.

    Args:
        image: `(any height, any width, channels)` of any numeric type.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        mode: How another aspect ratio becomes that of the result. `"crop"` cuts out the largest centred window of it,
            `"pad"` puts black bars on two sides, `"stretch"` changes the aspect ratio.

    Returns:
        `(height, width, channels)`, float32 in the range of `image`.
    """
    return scale(cut(image, window_of(tf.shape(image)[:2], height, width, mode)), height, width, mode)


def window_of(size: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Returns the window of an image that `resize` shows, as `centred_window` does."""
    return centred_window(size, height, width) if mode == "crop" else tf.concat([[0, 0], size], 0)


def scale(image: Tensor, height: int, width: int, mode: str, to_size: Callable[..., Tensor] | None = None) -> Tensor:
    """Scales a window of an image to a size, between black bars where `mode` is "pad".

    Args:
        image: `(any height, any width, channels)`.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        mode: That of `resize`.
        to_size: Function of an image and its new height and width; by default bilinear and antialiased.
    """
    top, left, inner_height, inner_width = 0, 0, height, width
    if mode == "pad":
        size = tf.shape(image)
        top, left, inner_height, inner_width = tf.unstack(
            centred_window(tf.constant((height, width)), size[0], size[1])
        )
    if to_size is None:
        image = tf.image.resize(image, (inner_height, inner_width), antialias=True)
    else:
        image = to_size(image, inner_height, inner_width)
    if mode == "pad":
        image = tf.image.pad_to_bounding_box(image, top, left, height, width)
    return tf.ensure_shape(image, (height, width, image.shape[-1]))


def centred_window(size: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Returns the largest centred window of an image that has the aspect ratio of `height` and `width`.

    Args:
        size: `(2,)`, int32, height and width of the image in pixels.
        height: What the window's will be scaled to, in pixels.
        width: What the window's will be scaled to, in pixels.

    Returns:
        `(4,)`, int32: top, left, height and width in pixels.
    """
    sides, target = tf.cast(size, tf.float32), tf.cast((height, width), tf.float32)
    window = tf.maximum(tf.cast(tf.round(tf.reduce_min(sides / target) * target), tf.int32), 1)
    return tf.concat([(size - window) // 2, window], 0)


def cut(image: Tensor, window: Tensor) -> Tensor:
    """Returns the part of an image that a window, `(top, left, height, width)` in pixels, shows."""
    part = tf.slice(image, tf.concat([window[:2], [0]], 0), tf.concat([window[2:], [-1]], 0))
    part.set_shape((None, None, image.shape[-1]))
    return part


def to_input(image: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None, mode: str = "crop") -> Tensor:
    """Turns a decoded image into a network's input.

    Args:
        image: `(height, width, channels)`, [0, 255]; one channel is repeated where the network wants three.
        image_shape: `(height, width, channels)` of the network's input.
        preprocessing: The mode of `preprocess_input`.
        mode: How it is resized, see `resize`; a network says it in `model.resize`.

    Returns:
        `image_shape`, float32.
    """
    image = resize(with_channels(tf.convert_to_tensor(image), image_shape[-1]), *image_shape[:2], mode)
    return preprocess_input(image, "channels_last", preprocessing=preprocessing)


def read(encoded: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None, mode: str = "crop") -> Tensor:
    """Turns the bytes of a file into a network's input: `decode` to its channels, then `to_input`."""
    return to_input(decode(encoded, image_shape[-1]), image_shape, preprocessing, mode)
