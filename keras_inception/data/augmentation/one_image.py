"""A training image from a file or an image: all steps of an augmentation, one after the other."""

from functools import partial

import tensorflow as tf

from keras_inception.data.augmentation.colours import distort_colours
from keras_inception.data.augmentation.geometry import flip, move
from keras_inception.data.augmentation.randaugment import rand_augment
from keras_inception.data.augmentation.windows import decode_window, random_window, resize_randomly
from keras_inception.data.images import centred_window, cut, with_channels


def augment(source, image_shape, seed, augmentation):
    """Makes a training image of a network's size from a file or an image.

    Of a JPEG file only the window that is wanted is decoded.

    Args:
        source: The bytes of an image file, a scalar string tensor; or an image `(height, width, channels)`, [0, 255].
        image_shape: `(height, width, channels)` of the network's input.
        seed: `(2,)`, int64; see `example_seed`.
        augmentation: An `Augmentation`. Its MixUp and CutMix are for batches; see `mix`.

    Returns:
        `image_shape`, float32 in [0, 255].
    """
    height, width, channels = image_shape
    seeds = tf.unstack(tf.random.split(seed, 6))
    if augmentation.crop_area is None:
        choose_window = partial(centred_window, height=height, width=width)
    else:
        choose_window = partial(
            random_window, seed=seeds[0], area=augmentation.crop_area, aspect=augmentation.crop_aspect
        )
    if source.dtype == tf.string:
        image = decode_window(source, choose_window, channels)
    else:
        image = with_channels(cut(source, choose_window(tf.shape(source)[:2])), channels)
    if augmentation.random_interpolation:
        image = resize_randomly(image, height, width, seeds[1])
    else:
        image = tf.image.resize(image, (height, width), antialias=True)
    image.set_shape(image_shape)
    if augmentation.flip:
        image = flip(image, seeds[2])
    if augmentation.shift or augmentation.rotation_degrees or augmentation.zoom:
        image = move(
            image,
            seeds[3],
            shift=augmentation.shift,
            rotation_degrees=augmentation.rotation_degrees,
            zoom=augmentation.zoom,
        )
    if augmentation.randaugment:
        image = rand_augment(image, seeds[4], *augmentation.randaugment)
    return distort_colours(
        image,
        seeds[5],
        brightness=augmentation.brightness,
        contrast=augmentation.contrast,
        saturation=augmentation.saturation,
        hue=augmentation.hue,
        lighting=augmentation.lighting,
    )
