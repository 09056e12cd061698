"""Where the pixels of an image go: shifts, rotations, shears."""

import math

import tensorflow as tf

from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor

GREY: float = 128.0  # what comes in at the edges, as in AutoAugment


def move(image: Tensor, seed: Tensor, augmentation: Augmentation) -> Tensor:
    """Shifts, rotates about the centre and zooms an image, bilinearly; what comes in at the edges is its reflection."""
    shift, rotation_degrees, zoom = augmentation.shift, augmentation.rotation_degrees, augmentation.zoom
    if not (shift or rotation_degrees or zoom):
        return image
    draws = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    offset = (draws[0] * shift * width, draws[1] * shift * height)
    angle = draws[2] * math.radians(rotation_degrees)
    image = tf.cast(image, tf.float32)
    return _affine(image, _about_centre(image, angle, 1.0 + draws[3] * zoom, offset), "BILINEAR", "REFLECT")


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Rotates a float32 image counter-clockwise about its centre; what comes in is grey."""
    return _affine(image, _about_centre(image, degrees * (math.pi / 180)), "NEAREST", "CONSTANT")


def shear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Moves the pixels of each row by `x` times its index to the left, those of each column by `y` times up."""
    return _affine(image, (1.0, x, 0.0, y, 1.0, 0.0), "NEAREST", "CONSTANT")


def translate(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Moves a float32 image by shares of its sides to the left and up; what comes in is grey."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return _affine(image, (1.0, 0.0, x * width, 0.0, 1.0, y * height), "NEAREST", "CONSTANT")


def _about_centre(
    image: Tensor, angle: Tensor, zoom: Tensor = 1.0, offset: tuple[Tensor, Tensor] = (0.0, 0.0)
) -> tuple[Tensor, ...]:
    """Returns the coefficients for `_affine` of a rotation and enlargement about the centre, and a shift of (x, y)."""
    centre_y, centre_x = tf.unstack((tf.cast(tf.shape(image)[:2], tf.float32) - 1.0) / 2.0)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    x, y = centre_x + offset[0], centre_y + offset[1]  # where the centre goes
    return (cosine, -sine, centre_x - cosine * x + sine * y, sine, cosine, centre_y - sine * x - cosine * y)


def _affine(image: Tensor, coefficients: tuple[Tensor, ...], interpolation: str, fill_mode: str) -> Tensor:
    """Takes the pixel at (x, y) of the result from (a x + b y + c, d x + e y + f) of the image."""
    transform = tf.stack([*(tf.cast(value, tf.float32) for value in coefficients), 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=transform[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        interpolation=interpolation,
        fill_mode=fill_mode,
        fill_value=GREY,
    )[0]
