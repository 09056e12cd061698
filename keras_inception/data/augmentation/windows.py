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
from keras_inception.undocumented import apart

# How many numbers each step draws: window, size, flip, move, order and factors of the colours. RandAugment's, two a
# layer, come last. A step that is added draws behind these, so that they keep what they drew.
DRAWS: tuple[int, ...] = (4, 1, 1, 4, 8)

# Crops that shrink to at most so many pixels a side are antialiased.
SMALL: int = 96

_decode_apart = apart(decode)


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
    layers, magnitude = augmentation.randaugment or (0, 0.0)
    draws = tf.random.stateless_uniform((sum(DRAWS) + 2 * layers,), seed)  # at once: an operation costs more than these
    for_window, for_size, for_flip, for_move, for_colours, for_layers = tf.split(draws, (*DRAWS, 2 * layers))
    to_size: Callable[..., Tensor] | None = None  # as in validation
    if augmentation.random_interpolation:
        to_size = partial(resize_randomly, draw=for_size[0])
    elif augmentation.crop_area is not None:
        to_size = partial(resize_by_scale, antialias=max(height, width) <= SMALL)
    is_by_scale = augmentation.crop_area is not None and not augmentation.random_interpolation
    at_least = max(height, width) if is_by_scale else None
    if augmentation.crop_area is None:
        choose_window = partial(window_of, height=height, width=width, mode=mode)
    else:
        area, aspect = augmentation.crop_area, augmentation.crop_aspect
        choose_window = partial(random_window, draws=for_window, area=area, aspect=aspect)
    if source.dtype == tf.string:
        image = decode_window(source, choose_window, channels, at_least)
    else:
        image = with_channels(cut(source, choose_window(tf.shape(source)[:2])), channels)
    image = scale(image, height, width, mode, to_size)
    image.set_shape(image_shape)
    if augmentation.flip:
        image = tf.cond(for_flip[0] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    image = move(image, for_move, augmentation)
    if augmentation.randaugment:
        image = rand_augment(image, for_layers, magnitude)
    return distort_colours(image, for_colours, seed, augmentation)


def random_window(size: Tensor, draws: Tensor, area: tuple[float, float], aspect: tuple[float, float]) -> Tensor:
    """Chooses a window of an image, its area evenly, its aspect ratio from those that fit, its place evenly.

    Samplers that draw both and reject what does not fit make large areas rare. Drawing the area first keeps it even, as
    the paper has it. In a panorama the largest area is the largest that fits.

    Args:
        size: `(2,)`, height and width of the image in pixels.
        draws: `(4,)` in [0, 1): for area, aspect ratio, top and left.
        area: Smallest and largest area as shares of the image's, in (0, 1].
        aspect: Smallest and largest ratio of width to height.

    Returns:
        `(4,)`, int32: top, left, height and width in pixels; area and aspect hold up to rounding to whole pixels.
    """
    sides = tf.cast(size, tf.float32)
    height, width = tf.unstack(sides)
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
def decode_window(
    encoded: Tensor, choose_window: Callable[[Tensor], Tensor], channels: int, at_least: int | None = None
) -> Tensor:
    """Decodes one window of an image file; of a JPEG file only the blocks that it touches.

    Args:
        encoded: Scalar string tensor with the bytes of a file that `decode` reads.
        choose_window: Function from the image's height and width, `(2,)` int32, to a window as `random_window` gives.
        channels: 1 or 3.
        at_least: A side in pixels. Where both sides of a JPEG's window are 2, 4 or 8 times as long, it is decoded at a
            half, a quarter or an eighth. By default it never is.

    Returns:
        `(height, width, channels)` of the window, uint8: the pixels that `decode` gives there, bit by bit, unless it is
        decoded at a fraction, which gives means of them.
    """
    is_jpeg = tf.io.is_jpeg(encoded)

    def header() -> tuple[Tensor, Tensor, Tensor]:
        stored = orientation(encoded)
        return tf.zeros((0, 0, 3), tf.uint8), swapped(tf.io.extract_jpeg_shape(encoded)[:2], stored), stored

    def whole() -> tuple[Tensor, Tensor, Tensor]:
        image = _decode_apart(encoded)
        return image, tf.shape(image)[:2], tf.constant(1)

    # The window is chosen between two branchings: inside, its many small operations would be there twice.
    image, size, stored = tf.cond(is_jpeg, header, whole)
    size.set_shape((2,))
    window = stored_window(choose_window(size), size, stored)
    end = swapped(size, stored)
    fractions = (1,) if at_least is None else (1, 2, 4, 8)
    index = tf.constant(0)
    if at_least is not None:
        times = tf.where(is_jpeg, tf.reduce_min(window[2:]) // at_least, 1)
        index = tf.reduce_sum(tf.cast(times >= fractions[1:], tf.int32))
        window, end = window // tf.gather(fractions, index), -(-end // tf.gather(fractions, index))
    # Chroma is interpolated from the neighbours, which the decoder lacks at the edges of what it decodes. With two
    # pixels more on each side, the pixels of the window are those of the whole image.
    begin = tf.maximum(window[:2] - 2, 0)
    wider = tf.concat([begin, tf.minimum(window[:2] + window[2:] + 2, end) - begin], 0)
    decoders = [partial(tf.io.decode_and_crop_jpeg, encoded, wider, 3, ratio) for ratio in fractions]
    ways = [*decoders, lambda: cut(image, wider)]
    image = tf.switch_case(tf.where(is_jpeg, index, len(decoders)), ways)
    image.set_shape((None, None, 3))
    return with_channels(upright(cut(image, tf.concat([window[:2] - begin, window[2:]], 0)), stored), channels)


def resize_by_scale(image: Tensor, height: int | Tensor, width: int | Tensor, *, antialias: bool) -> Tensor:
    """Resizes bilinearly what becomes larger; what becomes smaller is antialiased, or made of the means of areas.

    Antialiased is what has one smaller side. The means are of what has a smaller area.

    On photographs the means of areas are nearer to antialiased bilinear interpolation than that is to bicubic (root
    mean square 1.1 and 2.3 of 255), and TensorFlow takes half as long for them. In training at 16x16 they cost a point
    of accuracy, see `benchmarks/interpolation.py`.
    """
    size = tf.shape(image)
    smaller_side, smaller_area = (size[0] > height) | (size[1] > width), size[0] * size[1] > height * width
    resized = tf.cond(
        smaller_side if antialias else smaller_area,
        lambda: tf.image.resize(image, (height, width), "bilinear" if antialias else "area", antialias=antialias),
        lambda: tf.image.resize(image, (height, width)),
    )
    return tf.cast(resized, tf.float32)


def resize_randomly(image: Tensor, height: int | Tensor, width: int | Tensor, draw: Tensor) -> Tensor:
    """Resizes with bilinear, area, nearest-neighbour or cubic interpolation, each for a quarter of [0, 1).

    Bilinear and cubic interpolation are antialiased, as in validation.
    """

    def resize(method: str) -> Tensor:
        # Only these two read `antialias`, and cubic interpolation overshoots.
        resized = tf.image.resize(image, (height, width), method, antialias=method in ("bilinear", "bicubic"))
        return tf.clip_by_value(tf.cast(resized, tf.float32), 0.0, 255.0)

    ways = [partial(resize, method) for method in ("bilinear", "area", "nearest", "bicubic")]
    return tf.switch_case(tf.cast(4.0 * draw, tf.int32), ways)
