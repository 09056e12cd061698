"""Brightness, contrast, saturation, hue and light, as Pillow and Krizhevsky et al. change them."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor


def distort_colours(image: Tensor, seed: Tensor, augmentation: Augmentation) -> Tensor:
    """Changes brightness, contrast, saturation and hue in a random order, then the light.

    Each step is that of Pillow's `ImageEnhance` and cuts off at 0 and 255.
    """
    image = tf.cast(image, tf.float32)
    is_colour = image.shape[-1] == 3
    amounts: list[tuple[Callable[[Tensor, Tensor], Tensor], float]] = [
        (adjust_brightness, augmentation.brightness),
        (adjust_contrast, augmentation.contrast),
    ]
    if is_colour:
        amounts += [(adjust_saturation, augmentation.saturation), (adjust_hue, augmentation.hue)]
    amounts = [(step, amount) for step, amount in amounts if amount]
    seeds = tf.random.split(seed, 3)
    if amounts:
        order = tf.argsort(tf.random.stateless_uniform((len(amounts),), seeds[0]))
        draws = tf.random.stateless_uniform((len(amounts),), seeds[1], -1.0, 1.0)
        for place in range(len(amounts)):
            steps = [
                partial(step, image, draws[index] * amount + (0.0 if step is adjust_hue else 1.0))
                for index, (step, amount) in enumerate(amounts)
            ]
            image = tf.switch_case(order[place], steps)
    if is_colour and augmentation.lighting:
        image = add_lighting(image, tf.random.stateless_normal((3,), seeds[2]) * augmentation.lighting)
    return image


def adjust_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Blends a float32 image in [0, 255] with black; a factor of 1 changes nothing."""
    return tf.clip_by_value(factor * image, 0.0, 255.0)


def adjust_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Blends a float32 image in [0, 255] with its mean grey; a factor of 1 changes nothing."""
    return blend(_grey(tf.reduce_mean(image, (0, 1), keepdims=True)), image, factor)


def adjust_saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Blends a float32 image in [0, 255] with its grey values; a factor of 1 changes nothing."""
    return blend(_grey(image), image, factor)


def adjust_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Rotates the hue of a float32 colour image in [0, 255] by `turn`, a share of the circle."""
    return tf.clip_by_value(tf.image.adjust_hue(image, turn), 0.0, 255.0)


# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's red, green and blue in [0, 1], as in
# Facebook's fb.resnet.torch; Krizhevsky et al. do not print theirs.
IMAGENET_EIGENVALUES: tuple[float, ...] = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS: tuple[tuple[float, ...], ...] = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def add_lighting(image: Tensor, amounts: Tensor) -> Tensor:
    """Shifts all pixels of a colour image along ImageNet's principal colours by `(3,)` shares of their eigenvalues."""
    light = 255.0 * tf.linalg.matvec(IMAGENET_EIGENVECTORS, tf.multiply(amounts, IMAGENET_EIGENVALUES))  # (3,)
    return tf.clip_by_value(image + light, 0.0, 255.0)


def blend(base: Tensor, image: Tensor, factor: Tensor) -> Tensor:
    """Mixes a float32 image in [0, 255] with another one; a factor of 1 changes nothing, 0 gives `base`."""
    return tf.clip_by_value(factor * image + (1.0 - factor) * base, 0.0, 255.0)


def _grey(image: Tensor) -> Tensor:
    if image.shape[-1] == 1:
        return image
    return tf.tensordot(image, (0.299, 0.587, 0.114), 1)[..., tf.newaxis]  # ITU-R 601, as in Pillow
