"""A training image from a file or an image: the window that is decoded, its size, and all steps that follow."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from keras_inception.data.augmentation.operations import distort_colours, move, rand_augment
from keras_inception.data.decoding import decode, with_channels
from keras_inception.data.images import cut, scale, window_of
from keras_inception.data.orientation import orientation, stored_window, swapped, upright
from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor


@tf.autograph.experimental.do_not_convert  # it has nothing to convert, and the attempt takes seconds
def augment(
    source: Tensor, image_shape: tuple[int, int, int], seed: Tensor, augmentation: Augmentation, mode: str = "crop"
) -> Tensor:
    """Makes a training image of a network's size from a file or an image.

    Of a JPEG file only the window that is wanted is decoded.

    Args:
        source: The bytes of an image file, a scalar string tensor; or an image `(height, width, channels)`, [0, 255].
        image_shape: `(height, width, channels)` of the network's input.
        seed: See `example_seed`.
        augmentation: Its MixUp and CutMix are for batches; see `mix`.
        mode: How it is resized, see `data.resize`. A random window is stretched, as the paper has it, or padded.

    Returns:
        `image_shape`, float32 in [0, 255].
    """
    height, width, channels = image_shape
    # A new step takes a new seed at the end, so that those before it keep what they drew.
    window_seed, resize_seed, flip_seed, move_seed, randaugment_seed, colour_seed = tf.unstack(tf.random.split(seed, 6))
    if augmentation.crop_area is None:
        choose_window = partial(window_of, height=height, width=width, mode=mode)
    else:
        area, aspect = augmentation.crop_area, augmentation.crop_aspect
        choose_window = partial(random_window, seed=window_seed, area=area, aspect=aspect)
    if source.dtype == tf.string:
        image = decode_window(source, choose_window, channels)
    else:
        image = with_channels(cut(source, choose_window(tf.shape(source)[:2])), channels)
    to_size = partial(resize_randomly, seed=resize_seed) if augmentation.random_interpolation else None
    image = scale(image, height, width, mode, to_size)
    image.set_shape(image_shape)
    if augmentation.flip:
        image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    image = move(image, move_seed, augmentation)
    if augmentation.randaugment:
        image = rand_augment(image, randaugment_seed, *augmentation.randaugment)
    return distort_colours(image, colour_seed, augmentation)


def random_window(size: Tensor, seed: Tensor, area: tuple[float, float], aspect: tuple[float, float]) -> Tensor:
    """Draws a window of an image, its area evenly, its aspect ratio from those that fit, its place evenly.

    Samplers that draw both and reject what does not fit make large areas rare. Drawing the area first keeps it even, as
    the paper has it. In a panorama the largest area is the largest that fits.

    Args:
        size: `(2,)`, height and width of the image in pixels.
        seed: Decides all three.
        area: Smallest and largest area as shares of the image's, in (0, 1].
        aspect: Smallest and largest ratio of width to height.

    Returns:
        `(4,)`, int32: top, left, height and width in pixels; area and aspect hold up to rounding to whole pixels.
    """
    sides = tf.cast(size, tf.float32)
    height, width = tf.unstack(sides)
    draws = tf.random.stateless_uniform((4,), seed)
    whole = height * width
    most = tf.reduce_min([area[1] * whole, aspect[1] * height**2, width**2 / aspect[0]])
    least = tf.minimum(area[0] * whole, most)
    pixels = least + draws[0] * (most - least)
    narrowest = tf.math.log(tf.maximum(aspect[0], pixels / height**2))
    widest = tf.math.log(tf.minimum(aspect[1], width**2 / pixels))
    ratio = tf.exp(narrowest + draws[1] * (widest - narrowest))
    window = tf.clip_by_value(tf.round(tf.sqrt([pixels / ratio, pixels * ratio])), 1.0, sides)
    begin = tf.minimum(tf.floor(draws[2:] * (sides - window + 1)), sides - window)
    return tf.cast(tf.concat([begin, window], 0), tf.int32)


@tf.autograph.experimental.do_not_convert
def decode_window(encoded: Tensor, choose_window: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """Decodes one window of an image file; of a JPEG file only the blocks that it touches.

    Args:
        encoded: Scalar string tensor with the bytes of a file that `decode` reads.
        choose_window: Function from the image's height and width, `(2,)` int32, to a window as `random_window` gives.
        channels: 1 or 3.

    Returns:
        `(height, width, channels)` of the window, uint8: the pixels that `decode` gives there, bit by bit.
    """
    is_jpeg = tf.io.is_jpeg(encoded)

    def header() -> tuple[Tensor, Tensor, Tensor]:
        stored = orientation(encoded)
        return tf.zeros((0, 0, 3), tf.uint8), swapped(tf.io.extract_jpeg_shape(encoded)[:2], stored), stored

    def whole() -> tuple[Tensor, Tensor, Tensor]:
        image = decode(encoded)
        return image, tf.shape(image)[:2], tf.constant(1)

    # The window is chosen between two branchings: inside, its many small operations would be there twice.
    image, size, stored = tf.cond(is_jpeg, header, whole)
    size.set_shape((2,))
    window = stored_window(choose_window(size), size, stored)
    # Chroma is interpolated from the neighbours, which the decoder lacks at the edges of what it decodes. With two
    # pixels more on each side, the pixels of the window are those of the whole image.
    begin = tf.maximum(window[:2] - 2, 0)
    wider = tf.concat([begin, tf.minimum(window[:2] + window[2:] + 2, swapped(size, stored)) - begin], 0)
    image = tf.cond(is_jpeg, lambda: tf.io.decode_and_crop_jpeg(encoded, wider, channels=3), lambda: cut(image, wider))
    image.set_shape((None, None, 3))
    return with_channels(upright(cut(image, tf.concat([window[:2] - begin, window[2:]], 0)), stored), channels)


def resize_randomly(image: Tensor, height: int | Tensor, width: int | Tensor, seed: Tensor) -> Tensor:
    """Resizes with bilinear, area, nearest-neighbour or cubic interpolation, each one time in four.

    Bilinear and cubic interpolation are antialiased, as in validation.
    """

    def resize(method: str) -> Tensor:
        # Only these two read `antialias`, and cubic interpolation overshoots.
        resized = tf.image.resize(image, (height, width), method, antialias=method in ("bilinear", "bicubic"))
        return tf.clip_by_value(tf.cast(resized, tf.float32), 0.0, 255.0)

    index = tf.random.stateless_uniform((), seed, maxval=4, dtype=tf.int32)
    return tf.switch_case(index, [partial(resize, method) for method in ("bilinear", "area", "nearest", "bicubic")])
