"""Images made for the tests, seeds for them, and what an augmentation makes of them."""

import io
from dataclasses import replace

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_inception.data.augmentation import augment, example_seed
from keras_inception.recipes import PAPER_DISTORTIONS

STRONG = replace(PAPER_DISTORTIONS, shift=0.2, rotation_degrees=30, zoom=0.2, randaugment=(2, 9), hue=0.2)


def photograph(height=48, width=64, mode="RGB", seed=0):
    """A smooth image of all colours, as an array."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype="uint8")
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    return np.asarray(image).reshape(height, width, -1)


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seed_of(number):
    return example_seed(0, 0, number)


def numbers_of(seed, count):
    """The first numbers that a seed gives, in [0, 1)."""
    return tf.random.stateless_uniform((count,), seed)


def draw(function, count):
    """Returns what `function` gives for the seeds of the first examples, traced once."""
    dataset = tf.data.Dataset.range(count).map(lambda number: function(seed_of(number))).batch(count)
    return next(iter(dataset)).numpy()


def augmented(image, seed, what=STRONG, shape=(24, 24, 3), mode="crop"):
    return augment(tf.convert_to_tensor(image), shape, seed, what, mode).numpy()
