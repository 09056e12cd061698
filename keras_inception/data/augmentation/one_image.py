"""A training image from a file or an image: all steps of an augmentation, one after the other."""

from functools import partial

import tensorflow as tf

from keras_inception.data.augmentation.colours import distort_colours
from keras_inception.data.augmentation.geometry import move
from keras_inception.data.augmentation.randaugment import rand_augment
from keras_inception.data.augmentation.windows import decode_window, random_window, resize_randomly
from keras_inception.data.images import centred_window, cut, with_channels
from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor


def augment(source: Tensor, image_shape: tuple[int, int, int], seed: Tensor, augmentation: Augmentation) -> Tensor:
    """Makes a training image of a network's size from a file or an image.

    Of a JPEG file only the window that is wanted is decoded.

    Args:
        source: The bytes of an image file, a scalar string tensor; or an image `(height, width, channels)`, [0, 255].
        image_shape: `(height, width, channels)` of the network's input.
        seed: See `example_seed`.
        augmentation: Its MixUp and CutMix are for batches; see `mix`.

    Returns:
        `image_shape`, float32 in [0, 255].
    """
    height, width, channels = image_shape
    # A new step takes a new seed at the end, so that those before it keep what they drew.
    window_seed, resize_seed, flip_seed, move_seed, randaugment_seed, colour_seed = tf.unstack(tf.random.split(seed, 6))
    if augmentation.crop_area is None:
        choose_window = partial(centred_window, height=height, width=width)
    else:
        area, aspect = augmentation.crop_area, augmentation.crop_aspect
        choose_window = partial(random_window, seed=window_seed, area=area, aspect=aspect)
    if source.dtype == tf.string:
        image = decode_window(source, choose_window, channels)
    else:
        image = with_channels(cut(source, choose_window(tf.shape(source)[:2])), channels)
    if augmentation.random_interpolation:
        image = resize_randomly(image, height, width, resize_seed)
    else:
        image = tf.image.resize(image, (height, width), antialias=True)
    image.set_shape(image_shape)
    if augmentation.flip:
        image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    image = move(image, move_seed, augmentation)
    if augmentation.randaugment:
        image = rand_augment(image, randaugment_seed, *augmentation.randaugment)
    return distort_colours(image, colour_seed, augmentation)
