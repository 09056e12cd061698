"""RandAugment: its operations, and the drawing of them."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from keras_inception.data.augmentation.colours import adjust_brightness, adjust_contrast, adjust_saturation, blend
from keras_inception.data.augmentation.geometry import rotate, shear, translate
from keras_inception.types import Tensor


def rand_augment(image: Tensor, seed: Tensor, layers: int, magnitude: float) -> Tensor:
    """Applies operations drawn evenly from the 14 of RandAugment, one after the other.

    Args:
        image: The image.
        seed: Decides which operations, and the direction of those that have two.
        layers: Number of operations, at least 1.
        magnitude: Strength of all of them, in [0, 10].

    Reference: Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, 2019.
    """
    image = tf.round(tf.cast(image, tf.float32))
    seeds = tf.random.split(seed, 2)
    indices = tf.random.stateless_uniform((layers,), seeds[0], maxval=len(OPERATIONS), dtype=tf.int32)
    strengths = tf.where(tf.random.stateless_uniform((layers,), seeds[1]) < 0.5, -1.0, 1.0) * magnitude / 10.0
    for layer in range(layers):
        branches = [partial(operation, image, strengths[layer]) for operation in OPERATIONS.values()]
        image = tf.switch_case(indices[layer], branches)
    return image


def auto_contrast(image: Tensor) -> Tensor:
    """Stretches each channel of a float32 image so that its values reach from 0 to 255; one value stays."""
    low, high = tf.reduce_min(image, (0, 1)), tf.reduce_max(image, (0, 1))
    stretched = tf.clip_by_value(tf.math.divide_no_nan(255.0, high - low) * (image - low), 0, 255)
    return tf.where(high > low, stretched, image)


def equalize(image: Tensor) -> Tensor:
    """Makes the histogram of each channel of a float32 image in [0, 255] even, as Pillow's `ImageOps.equalize`."""
    channels = image.shape[-1]
    values = tf.cast(tf.round(image), tf.int32) + 256 * tf.range(channels)  # the channels side by side
    counts = tf.reshape(tf.math.bincount(values, minlength=256 * channels), (channels, 256))
    brightest = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), -1)
    step = (tf.reduce_sum(counts, -1) - tf.gather(counts, brightest, batch_dims=1)) // 255  # pixels per value
    step = step[:, tf.newaxis]
    table = (tf.cumsum(counts, -1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.cast(tf.gather(tf.reshape(table, (-1,)), values), image.dtype)


def solarize(image: Tensor, strength: Tensor) -> Tensor:
    """Inverts the values of a float32 image from a threshold on, which falls from 256 to 0 with the strength."""
    return tf.where(image < 256.0 * (1.0 - tf.abs(strength)), image, 255.0 - image)


def posterize(image: Tensor, strength: Tensor) -> Tensor:
    """Keeps only the highest bits of a float32 image's values, from 8 down to 4 with the strength."""
    step = 2.0 ** tf.round(4.0 * tf.abs(strength))
    return tf.floor(image / step) * step


def sharpen(image: Tensor, factor: Tensor) -> Tensor:
    """Blends a float32 image in [0, 255] with a smoothed one; 0 smooths, 1 changes nothing, 2 sharpens."""
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0  # Pillow's SMOOTH
    channels = image.shape[-1]
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], (1, 1, channels, 1))
    smooth = tf.nn.depthwise_conv2d(image[tf.newaxis], kernel, (1, 1, 1, 1), "SAME")[0]
    # Pixels at the border, which lack neighbours, stay as they are.
    rows, columns = ((tf.range(side) > 0) & (tf.range(side) < side - 1) for side in tf.unstack(tf.shape(image)[:2]))
    inner = rows[:, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis]  # (height, width, 1)
    return tf.where(inner, blend(smooth, image, factor), image)


# Of each operation the function of the image and the strength, in [-1, 1]. The list is that of RandAugment, section 3;
# the ranges are AutoAugment's, table 6, which RandAugment takes over: rotations up to 30 degrees, shears up to 0.3,
# translations up to 150 of 331 pixels, factors from 0.1 to 1.9. As in torchvision, more strength always changes more.
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda image, strength: image,
    "auto_contrast": lambda image, strength: auto_contrast(image),
    "equalize": lambda image, strength: equalize(image),
    "rotate": lambda image, strength: rotate(image, 30.0 * strength),
    "solarize": solarize,
    "color": lambda image, strength: adjust_saturation(image, 1.0 + 0.9 * strength),
    "posterize": posterize,
    "contrast": lambda image, strength: adjust_contrast(image, 1.0 + 0.9 * strength),
    "brightness": lambda image, strength: adjust_brightness(image, 1.0 + 0.9 * strength),
    "sharpness": lambda image, strength: sharpen(image, 1.0 + 0.9 * strength),
    "shear_x": lambda image, strength: shear(image, 0.3 * strength, 0.0),
    "shear_y": lambda image, strength: shear(image, 0.0, 0.3 * strength),
    "translate_x": lambda image, strength: translate(image, 150 / 331 * strength, 0.0),
    "translate_y": lambda image, strength: translate(image, 0.0, 150 / 331 * strength),
}
