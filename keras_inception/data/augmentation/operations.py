"""What changes the pixels of an image: colours, moves, and RandAugment, which draws from both.

The operations take and return float32 images `(height, width, channels)` in [0, 255], of 1 or 3 channels; their
`factor`, `turn`, `degrees`, `x`, `y` and `strength` are scalars, `draws` are numbers in [0, 1). They are Pillow's,
of `ImageEnhance`, `ImageOps` and `Image.transform`.
"""

import math
from collections.abc import Callable
from functools import partial

import tensorflow as tf

from keras_inception.recipes.augmentation import Augmentation
from keras_inception.types import Tensor

GREY: float = 128.0  # what comes in at the edges, as in AutoAugment
GREY_WEIGHTS: tuple[float, ...] = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R 601, as in Pillow


def distort_colours(image: Tensor, draws: Tensor, seed: Tensor, augmentation: Augmentation) -> Tensor:
    """Changes brightness, contrast, saturation and hue in a random order, then the light.

    But for hue, each step is one product of the pixels with a matrix of the channels, and an offset. They are clipped
    after each, as Pillow's are, so that they do not become a single one.

    Args:
        image: `(height, width, channels)`.
        draws: `(8,)` in [0, 1): for the order of the four steps and for their factors.
        seed: Decides the light.
        augmentation: How strong they are.
    """
    is_colour = image.shape[-1] == 3
    lighting = augmentation.lighting if is_colour else 0.0
    amounts = {"brightness": augmentation.brightness, "contrast": augmentation.contrast}
    if is_colour:
        amounts |= {"saturation": augmentation.saturation, "hue": augmentation.hue}
    amounts = {step: amount for step, amount in amounts.items() if amount}
    image = tf.cast(image, tf.float32)
    if not (amounts or lighting):
        return image
    # Products of the planes of the channels take a fifth of the time of products of pixels.
    planes = tf.transpose(image, (2, 0, 1))
    if amounts:
        planes = _change_in_any_order(planes, draws, amounts)
    if lighting:
        light = _light(tf.random.stateless_normal((3,), tf.random.fold_in(seed, 1)) * lighting)
        planes = tf.clip_by_value(planes + light[:, tf.newaxis, tf.newaxis], 0.0, 255.0)
    return tf.transpose(planes, (1, 2, 0))


def _change_in_any_order(planes: Tensor, draws: Tensor, amounts: dict[str, float]) -> Tensor:
    """Does the steps of `distort_colours` that are named, to `(channels, height, width)`."""
    count, steps = len(amounts), list(amounts)
    order = tf.argsort(draws[:count])
    strengths = tf.gather((2.0 * draws[4 : 4 + count] - 1.0) * list(amounts.values()), order)
    weights = tf.constant(GREY_WEIGHTS if planes.shape[0] == 3 else (1.0,))
    grey = tf.tile(weights[tf.newaxis], (planes.shape[0], 1))  # (channels, channels)
    own = tf.gather([tf.eye(planes.shape[0])] * count, order)
    others = tf.gather([grey if step == "saturation" else tf.zeros_like(grey) for step in steps], order)
    # Each step blends with black, the mean grey, or the grey values.
    matrices = own + strengths[:, tf.newaxis, tf.newaxis] * (own - others)
    shares = -strengths * tf.gather([float(step == "contrast") for step in steps], order)
    for place in range(count):

        def affine(planes: Tensor = planes, place: int = place) -> Tensor:
            mean = tf.reduce_sum(weights * tf.reduce_mean(planes, (1, 2)))
            changed = tf.tensordot(matrices[place], planes, 1) + shares[place] * mean
            return tf.clip_by_value(changed, 0.0, 255.0)

        def turned(planes: Tensor = planes, place: int = place) -> Tensor:
            return tf.transpose(adjust_hue(tf.transpose(planes, (1, 2, 0)), strengths[place]), (2, 0, 1))

        planes = tf.cond(order[place] == steps.index("hue"), turned, affine) if "hue" in steps else affine()
    return planes


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
    return tf.tensordot(image, GREY_WEIGHTS, 1)[..., tf.newaxis]


# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's red, green and blue in [0, 1], as in
# Facebook's fb.resnet.torch; Krizhevsky et al. do not print theirs.
IMAGENET_EIGENVALUES: tuple[float, ...] = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS: tuple[tuple[float, ...], ...] = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def _light(amounts: Tensor) -> Tensor:
    """Returns what `(3,)` shares of the eigenvalues of ImageNet's principal colours add to red, green and blue."""
    return 255.0 * tf.linalg.matvec(IMAGENET_EIGENVECTORS, tf.multiply(amounts, IMAGENET_EIGENVALUES))


def move(image: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Shifts, rotates about the centre and zooms an image, bilinearly; what comes in at the edges is its reflection.

    `draws` is `(4,)`: for the shift along x and y, the rotation and the zoom.
    """
    shift, rotation_degrees, zoom = augmentation.shift, augmentation.rotation_degrees, augmentation.zoom
    if not (shift or rotation_degrees or zoom):
        return image
    draws = 2.0 * draws - 1.0
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    offset = (draws[0] * shift * width, draws[1] * shift * height)
    if not (rotation_degrees or zoom):
        offset = (tf.round(offset[0]), tf.round(offset[1]))  # which blurs nothing
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


def rand_augment(image: Tensor, draws: Tensor, magnitude: float) -> Tensor:
    """Applies operations drawn evenly from the 14 of RandAugment, one after the other.

    Args:
        image: The image.
        draws: Two numbers for each layer, at least one, in [0, 1): those that choose the operations, then those that
            choose the direction of such as have two.
        magnitude: Strength of all of them, in [0, 10].

    Reference: Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, 2019.
    """
    image = tf.round(tf.cast(image, tf.float32))
    layers = draws.shape[0] // 2
    indices = tf.cast(draws[:layers] * len(OPERATIONS), tf.int32)
    strengths = tf.where(draws[layers:] < 0.5, -1.0, 1.0) * magnitude / 10.0
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
