"""What a request brings to what the network takes, inside the graph.

Every function returns the network's inputs for the images that can be read, `(max(readable, 1), *image_shape)` float32,
and their places in the batch, `(readable,)` int64, ascending. Where there are none the one row is black: an empty batch
crashes oneDNN's fused convolutions.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_inception.data.images import read, to_input
from keras_inception.network.preprocess import cannot_be_pixels, preprocess_input
from keras_inception.types import Dataset, Tensor

# Images of one request that are decoded or resized at a time: a bound on the memory that large ones take.
PARALLEL_IMAGES: int = 8


def from_pixels(
    images: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None, resize: str
) -> tuple[Tensor, Tensor]:
    """Resizes and preprocesses decoded images; those that cannot be pixels are left out.

    Args:
        images: `(batch, height, width, channels)` of any height and width, [0, 255].
        image_shape: `(height, width, channels)` of the network's input.
        preprocessing: The mode of `preprocess_input`.
        resize: The mode of `data.resize`.
    """
    # The loader that TensorFlow Serving uses does not compare what it is fed with the signature's shape.
    images = tf.ensure_shape(images, (None, None, None, image_shape[-1]))
    size = tf.shape(images)
    check = tf.debugging.Assert(
        tf.reduce_all(size[1:3] > 0), ["`images` must be (batch, height, width, channels) with pixels. Received:", size]
    )
    with tf.control_dependencies([check]):
        places = tf.range(tf.cast(size[0], tf.int64))
    if images.dtype.is_floating:
        places = tf.where(_are_pixels(images))[:, 0]
        images = tf.gather(images, places)
    inputs = tf.case(
        [
            (tf.equal(tf.size(places), 0), lambda: tf.zeros((1, *image_shape))),
            (
                tf.reduce_all(size[1:3] == image_shape[:2]),
                lambda: preprocess_input(images, "channels_last", preprocessing=preprocessing),
            ),
        ],
        default=lambda: _each(
            images, lambda image: to_input(image, image_shape, preprocessing, resize)
        ).get_single_element(),
    )
    return tf.ensure_shape(inputs, (None, *image_shape)), places


def _are_pixels(images: Tensor) -> Tensor:
    """Returns for each image whether it can be in [0, 255]: not one that was preprocessed, standardised or scaled."""
    axes = (1, 2, 3)
    low, high = tf.reduce_min(images, axes), tf.reduce_max(images, axes)
    fractions = tf.reduce_any(images != tf.floor(images), axes)
    return tf.reduce_all(tf.math.is_finite(images), axes) & ~cannot_be_pixels(low, high, fractions)


def from_files(
    encoded: Tensor, image_shape: tuple[int, int, int], preprocessing: str | None, resize: str
) -> tuple[Tensor, Tensor]:
    """Decodes, resizes and preprocesses encoded images, several at a time; those that cannot be read are left out.

    Args:
        encoded: `(batch,)` strings, each the bytes of one JPEG, PNG, BMP, GIF or WebP file.
        image_shape: `(height, width, channels)` of the network's input; 1, 3 or 4 channels.
        preprocessing: The mode of `preprocess_input`.
        resize: The mode of `data.resize`.
    """
    encoded = tf.ensure_shape(encoded, (None,))
    places = tf.range(tf.size(encoded, tf.int64))
    black = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros(image_shape)))

    def one(place: Tensor, file: Tensor) -> tuple[Tensor, Tensor]:
        return place, read(file, image_shape, preprocessing, resize)

    # Only `tf.data` can leave out what fails, in Python and in a server alike.
    images = tf.data.Dataset.from_tensor_slices((places, encoded)).map(one, PARALLEL_IMAGES).ignore_errors()
    images = images.concatenate(black).batch(tf.size(encoded, tf.int64) + 1)
    places, inputs = images.with_options(_options()).get_single_element()
    readable = tf.shape(places)[0] - 1
    return inputs[: tf.maximum(readable, 1)], places[:readable]


def _each(images: Tensor, function: Callable[[Tensor], Tensor]) -> Dataset:
    """Returns a dataset of one batch: what the function makes of each image, several at a time."""
    images = tf.data.Dataset.from_tensor_slices(images)
    return images.map(function, PARALLEL_IMAGES).batch(tf.int32.max).with_options(_options())


def _options() -> tf.data.Options:
    """Returns options of a dataset that lives as long as one request: nothing to plan, nothing to tune."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_warm_start = False
    return options
