"""What changes the pixels of an image: colours, moves, and RandAugment, which draws from both.

The operations take and return float32 images `(height, width, channels)` in [0, 255], of 1 or 3 channels; their
`factor`, `turn`, `degrees`, `x`, `y` and `strength` are scalars, a `seed` is `(2,)`, int32. They are Pillow's,
of `ImageEnhance`, `ImageOps` and `Image.transform`.
"""

import math
from collections.abc import Callable
from functools import partial

import tensorflow as tf

from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor

GREY: float = 128.0  # what comes in at the edges, as in AutoAugment


def distort_colours(image: Tensor, seed: Tensor, augmentation: Augmentation) -> Tensor:
    """Changes brightness, contrast, saturation and hue in a random order, then the light."""
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


def blend(base: Tensor, image: Tensor, factor: Tensor) -> Tensor:
    """Mixes an image with another one of its shape; a factor of 1 changes nothing, 0 gives `base`."""
    return tf.clip_by_value(factor * image + (1.0 - factor) * base, 0.0, 255.0)


def adjust_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Blends an image with black."""
    return tf.clip_by_value(factor * image, 0.0, 255.0)


def adjust_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Blends an image with its mean grey."""
    return blend(_grey(tf.reduce_mean(image, (0, 1), keepdims=True)), image, factor)


def adjust_saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Blends an image with its grey values."""
    return blend(_grey(image), image, factor)


def adjust_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Rotates the hue of a colour image by `turn`, a share of the circle."""
    return tf.clip_by_value(tf.image.adjust_hue(image, turn), 0.0, 255.0)


def _grey(image: Tensor) -> Tensor:
    if image.shape[-1] == 1:
        return image
    return tf.tensordot(image, (0.299, 0.587, 0.114), 1)[..., tf.newaxis]  # ITU-R 601, as in Pillow


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
    """Rotates an image counter-clockwise about its centre; what comes in is grey."""
    return _affine(image, _about_centre(image, degrees * (math.pi / 180)))


def shear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Moves the pixels of each row by `x` times its index to the left, those of each column by `y` times up."""
    return _affine(image, (1.0, x, 0.0, y, 1.0, 0.0))


def translate(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Moves an image by shares of its sides to the left and up; what comes in is grey."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return _affine(image, (1.0, 0.0, x * width, 0.0, 1.0, y * height))


def _about_centre(
    image: Tensor, angle: Tensor, zoom: Tensor = 1.0, offset: tuple[Tensor, Tensor] = (0.0, 0.0)
) -> tuple[Tensor, ...]:
    """Returns the coefficients for `_affine` of a rotation and enlargement about the centre, and a shift of (x, y)."""
    centre_y, centre_x = tf.unstack((tf.cast(tf.shape(image)[:2], tf.float32) - 1.0) / 2.0)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    x, y = centre_x + offset[0], centre_y + offset[1]  # where the centre goes
    return (cosine, -sine, centre_x - cosine * x + sine * y, sine, cosine, centre_y - sine * x - cosine * y)


def _affine(
    image: Tensor, coefficients: tuple[Tensor, ...], interpolation: str = "NEAREST", fill_mode: str = "CONSTANT"
) -> Tensor:
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
    """Stretches each channel so that its values reach from 0 to 255; one value stays."""
    low, high = tf.reduce_min(image, (0, 1)), tf.reduce_max(image, (0, 1))
    stretched = tf.clip_by_value(tf.math.divide_no_nan(255.0, high - low) * (image - low), 0, 255)
    return tf.where(high > low, stretched, image)


def equalize(image: Tensor) -> Tensor:
    """Makes the histogram of each channel even."""
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
    """Inverts values from a threshold on, which falls from 256 to 0 with the strength."""
    return tf.where(image < 256.0 * (1.0 - tf.abs(strength)), image, 255.0 - image)


def posterize(image: Tensor, strength: Tensor) -> Tensor:
    """Keeps only the highest bits of values, from 8 down to 4 with the strength."""
    step = 2.0 ** tf.round(4.0 * tf.abs(strength))
    return tf.floor(image / step) * step


def sharpen(image: Tensor, factor: Tensor) -> Tensor:
    """Blends an image with a smoothed one; 0 smooths, 1 changes nothing, 2 sharpens."""
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0  # Pillow's SMOOTH
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], (1, 1, image.shape[-1], 1))
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
