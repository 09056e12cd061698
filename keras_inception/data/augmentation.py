"""Augmentation of training images in `tf.data`: crops, flips, colours, RandAugment, MixUp and CutMix.

All randomness is stateless. `example_seed(seed, epoch, position)` gives each image of each epoch a seed of its own, and
an image is a function of its bytes and that seed alone: neither threads, nor workers, nor where a training was
interrupted change a bit of it.

Images are `(height, width, channels)` with 1 or 3 channels, in [0, 255].
"""

import math
from dataclasses import asdict, dataclass, fields
from functools import partial

import tensorflow as tf

from keras_inception.data.images import centred_window, cut, decode, with_channels


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image; the defaults are the paper's where it gives them.

    The order is that of the fields. 0, False or None leaves a step out; `NONE` leaves all of them out, and gives the
    images that validation sees.

    Attributes:
        crop_area: Smallest and largest area of a crop as shares of the image's, in (0, 1], drawn evenly (paper: 8% to
            100%). None cuts the largest centred window, as in validation.
        crop_aspect: Smallest and largest ratio of a crop's width to its height (paper: 3/4 to 4/3), drawn evenly in
            its logarithm (as torchvision does; the paper does not say).
        random_interpolation: Whether to resize with a method drawn from bilinear, area, nearest and cubic (paper)
            rather than always bilinearly.
        flip: Whether to mirror half of the images left to right (Krizhevsky et al. 2012, on which the paper builds).
            Not for digits and letters.
        shift: Largest shift along each axis, as a share of the image's side, in [0, 1). Ours, for small data.
        rotation_degrees: Largest rotation to either side, in degrees, in [0, 180]. Ours, for small data.
        zoom: Largest relative enlargement or reduction, in [0, 1). Ours, for small data.
        randaugment: None or `(layers, magnitude)`: how many operations are drawn (1 or more) and how strong they are,
            in [0, 10]. Cubuk et al. use (2, 9) for ResNet-50 on ImageNet.
        brightness: Largest relative change, in [0, 1]; 0.5 draws factors from 0.5 to 1.5 (Howard 2013, section 2.2,
            which the paper cites for its photometric distortions).
        contrast: The same for the distance from the image's mean grey (Howard).
        saturation: The same for the distance from grey; no effect on greyscale (Howard's "color").
        hue: Largest rotation of the hue to either side, as a share of the circle, in [0, 0.5]; no effect on greyscale.
            TF-slim's Inception uses 0.2, Howard none.
        lighting: Standard deviation of the noise along ImageNet's principal colours, at least 0; no effect on
            greyscale (Krizhevsky et al. 2012, section 4.1: 0.1; Howard adds "similar" noise).
        mixup: None or the alpha of MixUp's Beta distribution, above 0 (Zhang et al. 2018: 0.2 for ImageNet).
        cutmix: None or the alpha of CutMix's Beta distribution, above 0 (Yun et al. 2019: 1). With both, a coin
            decides for each batch (as timm does).

    Raises:
        ValueError: A field is out of range.

    Reference: Szegedy et al., Going Deeper with Convolutions, section 6; Howard, Some Improvements on Deep
    Convolutional Neural Network Based Image Classification.
    """

    crop_area: tuple[float, float] | None = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    random_interpolation: bool = True
    flip: bool = True
    shift: float = 0.0
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    randaugment: tuple[int, float] | None = None
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.0
    lighting: float = 0.1
    mixup: float | None = None
    cutmix: float | None = None

    def __post_init__(self):
        for name in ("crop_area", "crop_aspect", "randaugment"):
            if isinstance(getattr(self, name), list):  # from a JSON, TOML or YAML file
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, (rule, holds) in RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")

    def get_config(self):
        """Returns the fields as a dict that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_config(cls, config):
        """Returns the augmentation of a dict of fields.

        Raises:
            ValueError: A field is unknown or out of range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(f"An augmentation has the fields {', '.join(known)}. Received: {', '.join(unknown)}")
        return cls(**config)


def _is_number(value, least=0, most=math.inf):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_range(value, most=math.inf):
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(map(_is_number, value))
        and 0 < value[0] <= value[1] <= most
    )


def _is_layers_and_magnitude(value):
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and isinstance(value[0], int) and _is_number(value[0], 1) and _is_number(value[1], 0, 10)


def _number(most):
    return f"a number from 0 to {most}", partial(_is_number, most=most)


# By name of the field, what must hold in words and as a function of the value.
RULES = {
    "crop_area": (
        "None or two shares of the image's area, 0 < smallest <= largest <= 1",
        lambda value: value is None or _is_range(value, most=1),
    ),
    "crop_aspect": ("two ratios of width to height, 0 < smallest <= largest", _is_range),
    "randaugment": (
        "None or (layers, magnitude), a whole number from 1 and a number from 0 to 10",
        lambda value: value is None or _is_layers_and_magnitude(value),
    ),
    **dict.fromkeys(("random_interpolation", "flip"), ("True or False", lambda value: isinstance(value, bool))),
    **dict.fromkeys(("shift", "zoom"), ("at least 0 and below 1", lambda value: _is_number(value) and value < 1)),
    "rotation_degrees": _number(180),
    **dict.fromkeys(("brightness", "contrast", "saturation"), _number(1)),
    "hue": _number(0.5),
    "lighting": ("a finite number of at least 0", lambda value: _is_number(value) and value < math.inf),
    **dict.fromkeys(
        ("mixup", "cutmix"),
        (
            "None or a finite number above 0",
            lambda value: value is None or (_is_number(value) and 0 < value < math.inf),
        ),
    ),
}

PAPER = Augmentation()

NONE = Augmentation(
    crop_area=None,
    random_interpolation=False,
    flip=False,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    lighting=0.0,
)


# Seeds


def example_seed(seed, epoch, position):
    """Returns the seed of one example in one epoch.

    Args:
        seed: The training's seed, an integer or int64 scalar.
        epoch: The epoch's number, an integer or int64 scalar, at least 0.
        position: The example's place in the epoch's order, counted over all workers, an integer or int64 scalar, at
            least 0.

    Returns:
        `(2,)`, int64, for the argument `seed` of the functions of this file.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(key, tf.cast(position, tf.int64))


def batch_seed(seed, epoch, batch):
    """Returns the seed of one batch in one epoch, which no example has; for `mix`.

    Args:
        seed: The training's seed, an integer or int64 scalar.
        epoch: The epoch's number, an integer or int64 scalar, at least 0.
        batch: The batch's place in the epoch, an integer or int64 scalar, at least 0.

    Returns:
        `(2,)`, int64.
    """
    return example_seed(seed, epoch, -1 - tf.cast(batch, tf.int64))


def order_seed(seed, epoch):
    """Returns the seed of the order of an epoch's examples, for `Dataset.shuffle` in `stream_epochs`; int64 scalar."""
    return example_seed(seed, epoch, 0)[0]  # the same for all positions, and drawn for this seed and epoch alone


def stream_epochs(one_epoch, first_epoch=0):
    """Chains the datasets of all epochs from one on, without end.

    `model.fit(stream, steps_per_epoch=..., initial_epoch=first_epoch)` takes it on from epoch to epoch. A training that
    is resumed at epoch N passes `first_epoch=N` and sees what it would have seen.

    Args:
        one_epoch: Function from the epoch's number, an int64 scalar tensor, to a `tf.data.Dataset` of that epoch's
            batches. It shuffles with `order_seed` and `reshuffle_each_iteration=False`.
        first_epoch: The number of the first epoch, at least 0.

    Returns:
        A `tf.data.Dataset` of batches.
    """

    def seeded(epoch):
        # Of the graph of this function alone. `shuffle` would mix TensorFlow's global seed into a seed of its own, and
        # fail on one that is a tensor where the global seed is 0.
        tf.compat.v1.set_random_seed(1)
        return one_epoch(epoch)

    return tf.data.Dataset.counter(first_epoch).flat_map(seeded)


# One image


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


def random_window(size, seed, area=PAPER.crop_area, aspect=PAPER.crop_aspect):
    """Draws a window of an image, its area evenly, its aspect ratio from those that fit, its place evenly.

    Samplers that draw both and reject what does not fit make large areas rare. Drawing the area first keeps it even, as
    the paper has it. In a panorama the largest area is the largest that fits.

    Args:
        size: `(2,)`, height and width of the image in pixels.
        seed: `(2,)`, int64.
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


def decode_window(encoded, choose_window, channels=3):
    """Decodes one window of an image file; of a JPEG file only the blocks that it touches.

    Args:
        encoded: Scalar string tensor with the bytes of a file that `decode` reads.
        choose_window: Function from the image's height and width, `(2,)` int32, to a window as `random_window` gives.
        channels: 1 or 3.

    Returns:
        `(height, width, channels)` of the window, uint8: the pixels that `decode` gives there, bit by bit.
    """

    is_jpeg = tf.io.is_jpeg(encoded)

    def header():
        return tf.zeros((0, 0, 3), tf.uint8), tf.io.extract_jpeg_shape(encoded)[:2]

    def whole():
        image = decode(encoded)
        return image, tf.shape(image)[:2]

    # The window is chosen between two branchings: inside, its many small operations would be there twice.
    image, size = tf.cond(is_jpeg, header, whole)
    size.set_shape((2,))
    window = choose_window(size)
    # Chroma is interpolated from the neighbours, which the decoder lacks at the edges of what it decodes. With two
    # pixels more on each side, the pixels of the window are those of the whole image.
    begin = tf.maximum(window[:2] - 2, 0)
    wider = tf.concat([begin, tf.minimum(window[:2] + window[2:] + 2, size) - begin], 0)
    image = tf.cond(is_jpeg, lambda: tf.io.decode_and_crop_jpeg(encoded, wider, channels=3), lambda: cut(image, wider))
    image.set_shape((None, None, 3))
    return with_channels(cut(image, tf.concat([window[:2] - begin, window[2:]], 0)), channels)


def resize_randomly(image, height, width, seed):
    """Resizes with bilinear, area, nearest-neighbour or cubic interpolation, each one time in four.

    Args:
        image: `(height, width, channels)`, [0, 255].
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        seed: `(2,)`, int64.

    Returns:
        `(height, width, channels)`, float32 in [0, 255]. Bilinear and cubic interpolation are antialiased, as in
        validation.
    """

    def resize(method):
        # Only these two read `antialias`, and cubic interpolation overshoots.
        resized = tf.image.resize(image, (height, width), method, antialias=method in ("bilinear", "bicubic"))
        return tf.clip_by_value(tf.cast(resized, tf.float32), 0.0, 255.0)

    index = tf.random.stateless_uniform((), seed, maxval=4, dtype=tf.int32)
    return tf.switch_case(index, [partial(resize, method) for method in ("bilinear", "area", "nearest", "bicubic")])


def flip(image, seed):
    """Mirrors an image left to right, one time in two.

    Args:
        image: `(height, width, channels)`.
        seed: `(2,)`, int64.

    Returns:
        The same shape and type.
    """
    return tf.cond(tf.random.stateless_uniform((), seed) < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def move(image, seed, *, shift=0.0, rotation_degrees=0.0, zoom=0.0):
    """Shifts, rotates about the centre and zooms an image; what comes in at the edges is its reflection.

    Args:
        image: `(height, width, channels)`.
        seed: `(2,)`, int64.
        shift: Largest shift along each axis as a share of the side, in [0, 1).
        rotation_degrees: Largest rotation to either side, in degrees.
        zoom: Largest relative change of the size, in [0, 1).

    Returns:
        The same shape, float32, bilinearly interpolated.
    """
    draws = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    offset = (draws[0] * shift * width, draws[1] * shift * height)
    angle = draws[2] * math.radians(rotation_degrees)
    image = tf.cast(image, tf.float32)
    return _affine(image, _about_centre(image, angle, 1.0 + draws[3] * zoom, offset), "BILINEAR", "REFLECT")


# Colours


def distort_colours(image, seed, *, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, lighting=0.0):
    """Changes brightness, contrast, saturation and hue in a random order, then the light.

    Each step is that of Pillow's `ImageEnhance` and cuts off at 0 and 255.

    Args:
        image: `(height, width, channels)`, [0, 255].
        seed: `(2,)`, int64.
        brightness: Largest relative change, in [0, 1].
        contrast: Largest relative change, in [0, 1].
        saturation: Largest relative change, in [0, 1].
        hue: Largest rotation to either side, as a share of the circle, in [0, 0.5].
        lighting: Standard deviation of the noise along ImageNet's principal colours.

    Returns:
        The same shape, float32 in [0, 255].
    """
    image = tf.cast(image, tf.float32)
    is_colour = image.shape[-1] == 3
    amounts = {adjust_brightness: brightness, adjust_contrast: contrast}
    if is_colour:
        amounts |= {adjust_saturation: saturation, adjust_hue: hue}
    amounts = {step: amount for step, amount in amounts.items() if amount}
    seeds = tf.random.split(seed, 3)
    if amounts:
        order = tf.argsort(tf.random.stateless_uniform((len(amounts),), seeds[0]))
        draws = tf.random.stateless_uniform((len(amounts),), seeds[1], -1.0, 1.0)
        for place in range(len(amounts)):
            steps = [
                partial(step, image, draws[index] * amount + (0.0 if step is adjust_hue else 1.0))
                for index, (step, amount) in enumerate(amounts.items())
            ]
            image = tf.switch_case(order[place], steps)
    return (
        add_lighting(image, tf.random.stateless_normal((3,), seeds[2]) * lighting) if is_colour and lighting else image
    )


def adjust_brightness(image, factor):
    """Blends a float32 image in [0, 255] with black; a factor of 1 changes nothing."""
    return tf.clip_by_value(factor * image, 0.0, 255.0)


def adjust_contrast(image, factor):
    """Blends a float32 image in [0, 255] with its mean grey; a factor of 1 changes nothing."""
    return _blend(_grey(tf.reduce_mean(image, (0, 1), keepdims=True)), image, factor)


def adjust_saturation(image, factor):
    """Blends a float32 image in [0, 255] with its grey values; a factor of 1 changes nothing."""
    return _blend(_grey(image), image, factor)


def adjust_hue(image, turn):
    """Rotates the hue of a float32 colour image in [0, 255] by `turn`, a share of the circle."""
    return tf.clip_by_value(tf.image.adjust_hue(image, turn), 0.0, 255.0)


# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's red, green and blue in [0, 1], as in
# Facebook's fb.resnet.torch; Krizhevsky et al. do not print theirs.
IMAGENET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def add_lighting(image, amounts):
    """Shifts all pixels of a float32 colour image in [0, 255] along ImageNet's principal colours.

    Args:
        image: `(height, width, 3)`.
        amounts: `(3,)`, the shift along each principal colour, in units of its eigenvalue.

    Returns:
        The same shape, in [0, 255].
    """
    light = 255.0 * tf.linalg.matvec(IMAGENET_EIGENVECTORS, tf.multiply(amounts, IMAGENET_EIGENVALUES))  # (3,)
    return tf.clip_by_value(image + light, 0.0, 255.0)


def _blend(base, image, factor):
    return tf.clip_by_value(factor * image + (1.0 - factor) * base, 0.0, 255.0)


def _grey(image):
    if image.shape[-1] == 1:
        return image
    return tf.tensordot(image, (0.299, 0.587, 0.114), 1)[..., tf.newaxis]  # ITU-R 601, as in Pillow


# RandAugment


def rand_augment(image, seed, layers=2, magnitude=9):
    """Applies operations drawn evenly from the 14 of RandAugment, one after the other.

    Args:
        image: `(height, width, channels)`, [0, 255].
        seed: `(2,)`, int64.
        layers: Number of operations, at least 1.
        magnitude: Strength of all of them, in [0, 10]; the direction of those that have two is drawn.

    Returns:
        The same shape, float32 in [0, 255].

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


def auto_contrast(image):
    """Stretches each channel of a float32 image so that its values reach from 0 to 255; one value stays."""
    low, high = tf.reduce_min(image, (0, 1)), tf.reduce_max(image, (0, 1))
    return tf.where(
        high > low, tf.clip_by_value(tf.math.divide_no_nan(255.0, high - low) * (image - low), 0, 255), image
    )


def equalize(image):
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


def solarize(image, strength):
    """Inverts the values of a float32 image from a threshold on, which falls from 256 to 0 with the strength."""
    return tf.where(image < 256.0 * (1.0 - tf.abs(strength)), image, 255.0 - image)


def posterize(image, strength):
    """Keeps only the highest bits of a float32 image's values, from 8 down to 4 with the strength."""
    step = 2.0 ** tf.round(4.0 * tf.abs(strength))
    return tf.floor(image / step) * step


def sharpen(image, factor):
    """Blends a float32 image in [0, 255] with a smoothed one; 0 smooths, 1 changes nothing, 2 sharpens."""
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0  # Pillow's SMOOTH
    channels = image.shape[-1]
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], (1, 1, channels, 1))
    smooth = tf.nn.depthwise_conv2d(image[tf.newaxis], kernel, (1, 1, 1, 1), "SAME")[0]
    # Pixels at the border, which lack neighbours, stay as they are.
    rows, columns = (tf.range(side) for side in tf.unstack(tf.shape(image)[:2]))
    inner_rows = (rows > 0) & (rows < tf.shape(image)[0] - 1)
    inner_columns = (columns > 0) & (columns < tf.shape(image)[1] - 1)
    inner = inner_rows[:, tf.newaxis, tf.newaxis] & inner_columns[:, tf.newaxis]  # (height, width, 1)
    return tf.where(inner, _blend(smooth, image, factor), image)


def rotate(image, degrees):
    """Rotates a float32 image counter-clockwise about its centre; what comes in is grey."""
    return _affine(image, _about_centre(image, degrees * (math.pi / 180)), "NEAREST", "CONSTANT")


def shear(image, x, y):
    """Moves the pixels of each row by `x` times its index to the left, those of each column by `y` times up."""
    return _affine(image, (1.0, x, 0.0, y, 1.0, 0.0), "NEAREST", "CONSTANT")


def translate(image, x, y):
    """Moves a float32 image by shares of its sides to the left and up; what comes in is grey."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return _affine(image, (1.0, 0.0, x * width, 0.0, 1.0, y * height), "NEAREST", "CONSTANT")


# Of each operation the function of the image and the strength, in [-1, 1]. The list is that of RandAugment, section 3;
# the ranges are AutoAugment's, table 6, which RandAugment takes over: rotations up to 30 degrees, shears up to 0.3,
# translations up to 150 of 331 pixels, factors from 0.1 to 1.9. As in torchvision, more strength always changes more.
OPERATIONS = {
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

GREY = 128.0  # what comes in at the edges, as in AutoAugment


def _about_centre(image, angle, zoom=1.0, offset=(0.0, 0.0)):
    """Returns the coefficients for `_affine` of a rotation and enlargement about the centre, and a shift of (x, y)."""
    centre_y, centre_x = tf.unstack((tf.cast(tf.shape(image)[:2], tf.float32) - 1.0) / 2.0)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    x, y = centre_x + offset[0], centre_y + offset[1]  # where the centre goes
    return (cosine, -sine, centre_x - cosine * x + sine * y, sine, cosine, centre_y - sine * x - cosine * y)


def _affine(image, coefficients, interpolation, fill_mode):
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


# Batches


def mix(images, labels, classes, seed, augmentation):
    """Mixes the examples of a batch as an augmentation says; without MixUp and CutMix nothing changes.

    Args:
        images: `(batch, height, width, channels)`, float.
        labels: Integers `(batch,)` or distributions `(batch, classes)`.
        classes: The number of classes.
        seed: `(2,)`, int64; see `batch_seed`.
        augmentation: An `Augmentation`.

    Returns:
        The images, and float32 labels `(batch, classes)`, each of which sums to 1; as they came if nothing is mixed.
    """
    if augmentation.mixup is None and augmentation.cutmix is None:
        return images, labels
    coin_seed, seed = tf.unstack(tf.random.split(seed, 2))
    mixers = [
        partial(mixer, images, labels, classes, seed, alpha)
        for mixer, alpha in ((mix_up, augmentation.mixup), (cut_mix, augmentation.cutmix))
        if alpha is not None
    ]
    if len(mixers) == 1:
        return mixers[0]()
    return tf.cond(tf.random.stateless_uniform((), coin_seed) < 0.5, *mixers)


def mix_up(images, labels, classes, seed, alpha=0.2):
    """Blends each image, and its label, with another one of the batch.

    Args:
        images: `(batch, height, width, channels)`, float.
        labels: Integers `(batch,)` or distributions `(batch, classes)`.
        classes: The number of classes.
        seed: `(2,)`, int64.
        alpha: Of the distribution Beta(alpha, alpha) of an image's own share, drawn for each image.

    Returns:
        Images of the same shape and type, labels `(batch, classes)`, float32.

    Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.
    """
    order, share, _ = _partners(images, seed, alpha)
    labels = _distributions(labels, classes)
    own = tf.cast(share[:, tf.newaxis, tf.newaxis, tf.newaxis], images.dtype)
    mixed = own * images + (1 - own) * tf.gather(images, order)
    share = share[:, tf.newaxis]
    return mixed, share * labels + (1 - share) * tf.gather(labels, order)


def cut_mix(images, labels, classes, seed, alpha=1.0):
    """Replaces a box of each image by that of another one of the batch; the label by the same share.

    Args:
        images: `(batch, height, width, channels)`, float.
        labels: Integers `(batch,)` or distributions `(batch, classes)`.
        classes: The number of classes.
        seed: `(2,)`, int64.
        alpha: Of the distribution Beta(alpha, alpha) of an image's own share, drawn for each image, before the box is
            cut off at the edges.

    Returns:
        Images of the same shape and type, labels `(batch, classes)`, float32.

    Reference: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019.
    """
    order, share, box_seed = _partners(images, seed, alpha)
    labels = _distributions(labels, classes)
    sides = tf.shape(images)[1:3]  # height, width
    box = tf.cast(tf.sqrt(1.0 - share)[:, tf.newaxis] * tf.cast(sides, tf.float32), tf.int32)  # (batch, 2)
    draws = tf.random.stateless_uniform(tf.shape(box), box_seed)
    begin = tf.cast(draws * tf.cast(sides, tf.float32), tf.int32) - box // 2  # the centre is anywhere
    end = tf.clip_by_value(begin + box, 0, sides)
    begin = tf.clip_by_value(begin, 0, sides)

    def inside(axis):
        places = tf.range(sides[axis])
        return (places >= begin[:, axis, tf.newaxis]) & (places < end[:, axis, tf.newaxis])  # (batch, side)

    replaced = inside(0)[:, :, tf.newaxis, tf.newaxis] & inside(1)[:, tf.newaxis, :, tf.newaxis]
    mixed = tf.where(replaced, tf.gather(images, order), images)
    area = tf.cast(tf.reduce_prod(end - begin, -1), tf.float32) / tf.cast(tf.reduce_prod(sides), tf.float32)
    area = area[:, tf.newaxis]
    return mixed, (1 - area) * labels + area * tf.gather(labels, order)


def _partners(images, seed, alpha):
    """Returns a partner's index and the own share in [0, 1] for each image, both `(batch,)`, and a further seed."""
    count = tf.shape(images)[0]
    seeds = tf.unstack(tf.random.split(seed, 4))
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seeds[0])
    first, second = (tf.random.stateless_gamma((count,), seeds[i], alpha, dtype=tf.float64) for i in (1, 2))
    # Of a small alpha both may be 0, that is below the smallest number.
    return order, tf.cast(tf.math.divide_no_nan(first, first + second), tf.float32), seeds[3]


def _distributions(labels, classes):
    return tf.one_hot(labels, classes) if labels.shape.rank == 1 else tf.cast(labels, tf.float32)
