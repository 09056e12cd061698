"""Images and labels for training: one function for the bundled digits, any TFDS dataset and folders of images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import tensorflow as tf

from keras_inception import architectures
from keras_inception.data import catalog, folder
from keras_inception.data.augmentation import augment, batch_seed, example_seed, mix, order_seed, stream_epochs
from keras_inception.data.images import decode, read, resize, to_input
from keras_inception.errors import InputError
from keras_inception.network.googlenet import minimum_image_size
from keras_inception.network.preprocess import preprocess_input
from keras_inception.recipes.augmentation import NONE

__all__ = ["Data", "decode", "load", "resize", "to_input"]

SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class Data:
    """A dataset that is ready for `model.fit`.

    Attributes:
        train: `tf.data.Dataset` of `(image, label)` batches, shuffled and augmented anew in each epoch; image float32
            `(batch, *image_shape)`, preprocessed, label int64 `(batch,)`, or float32 `(batch, classes)` where MixUp or
            CutMix mixes them.
        validation: The same, never augmented, in a fixed order; None if there is none.
        test: The same, never augmented, in a fixed order; None if there is none.
        train_from: Function of an epoch, from 0, and a step, from 0, that returns the training batches from there on
            without end. They depend on the seed, the epoch and the step alone: a training that was interrupted sees
            what it would have seen.
        originals: Function of a split's name that returns its images as they are, decoded and not scaled: pairs, one by
            one in a fixed order, of image `(height, width, channels)`, uint8, and label, int64; None if there is none.
        steps_per_epoch: Batches of one epoch.
        class_names: The names of the classes in the order of the labels.
        sizes: The number of examples by split name.
        image_shape: `(height, width, channels)` of the network's input.
        original_side: The shorter side of the images as they were found, in pixels (the median one of a folder).
        skipped: The paths of unreadable files that were left out.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None
    train_from: Callable[[int, int], tf.data.Dataset]
    originals: Callable[[str], tf.data.Dataset | None]
    steps_per_epoch: int
    class_names: list[str]
    sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    original_side: int
    skipped: list[str] = field(default_factory=list)


def load(
    dataset,
    *,
    image_size=None,
    channels=3,
    batch_size=32,
    architecture="googlenet",
    aux_heads=True,
    preprocessing="inception",
    seed=0,
    validation_fraction=0.1,
    test_fraction=0.1,
    skip_bad_images=False,
    augmentation=NONE,
    batch=None,
):
    """Loads images and labels for training, validation and testing.

    Args:
        dataset: `"digits"` (scikit-learn's, no network), a folder of class folders (with or without `train`,
            `validation` and `test` above them; JPEG, PNG, BMP, GIF, WebP), or the name of a TFDS dataset.
        image_size: Height and width of the network's input in pixels; by default chosen by `choose_image_size`.
        channels: 3, or 1 for greyscale.
        batch_size: Examples per batch, at least 1.
        architecture: The network that the images are for; decides the size.
        aux_heads: Whether the network has its auxiliary heads; they need larger images.
        preprocessing: The mode of `preprocess_input` that the network wants.
        seed: Fixes the order of the training examples, their augmentation, and the splits that the source lacks.
        validation_fraction: Share of the training examples for validation where the source has none, in [0, 1).
        test_fraction: Share of the training examples for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        augmentation: What happens to the training images, a `recipe.Augmentation`; by default nothing.
        batch: Function of a dataset of examples, the batch size, the function that decodes an example and, as `count`,
            the number of examples, that returns a dataset of batches; `distribute.batch` gives each of several workers
            its part.

    Returns:
        A `Data`.

    Raises:
        ValueError: The dataset is unknown, empty, damaged, cannot be downloaded, or has fewer than two classes.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    if channels not in (1, 3):
        raise InputError(f"`channels` must be 1 or 3. Received: channels={channels}")
    if not (0 <= validation_fraction < 1 and 0 <= test_fraction < 1 and validation_fraction + test_fraction < 1):
        raise InputError(
            "`validation_fraction` and `test_fraction` must be at least 0 and together below 1. "
            f"Received: validation_fraction={validation_fraction}, test_fraction={test_fraction}"
        )
    open_source = _open_folder if Path(dataset).is_dir() else _open_catalog
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    source = open_source(dataset, seed=seed, skip_bad_images=skip_bad_images, **fractions)
    if len(source.class_names) < 2:
        raise InputError(f"A dataset must have at least two classes. Received: {dataset!r} with {source.class_names}")
    size = image_size or choose_image_size(source.side, architecture, aux_heads)
    shape = (size, size, channels)

    batch = batch or _batch

    def fixed_batches(split):
        if not source.sizes.get(split):
            return None

        def decode_example(*example):
            encoded, label = source.read(*example)
            return read(encoded, shape, preprocessing), label

        return batch(source.examples(split), batch_size, decode_example).prefetch(tf.data.AUTOTUNE)

    def training_batches(epoch):
        def decode_example(position, example):
            encoded, label = source.read(*example)
            image = augment(encoded, shape, example_seed(seed, epoch, position), augmentation)
            return preprocess_input(image, "channels_last", preprocessing=preprocessing), label

        def mix_batch(index, batch):
            return mix(*batch, len(source.class_names), batch_seed(seed, epoch, index), augmentation)

        count = source.sizes["train"]
        examples = source.examples("train").shuffle(
            min(count, source.shuffle_buffer), seed=order_seed(seed, epoch), reshuffle_each_iteration=False
        )
        batches = batch(examples.enumerate(), batch_size, decode_example, count=count)
        return batches.enumerate().map(mix_batch, tf.data.AUTOTUNE)

    steps = -(-source.sizes["train"] // batch_size)
    stream = partial(_stream, training_batches)
    return Data(
        # Each pass over it draws the epoch whose images it gives, those of `train_from` excluded.
        train=stream(
            tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1).map(lambda x: x + 2**32)
        ).apply(tf.data.experimental.assert_cardinality(steps)),
        validation=fixed_batches("validation"),
        test=fixed_batches("test"),
        train_from=lambda epoch, step=0: stream(tf.data.Dataset.counter(epoch), step),
        originals=partial(_originals, source, channels),
        steps_per_epoch=steps,
        class_names=source.class_names,
        sizes=source.sizes,
        image_shape=shape,
        original_side=source.side,
        skipped=source.skipped,
    )


def _originals(source, channels, split):
    """Returns the decoded images of a split with their labels; None if there are none."""
    if not source.sizes.get(split):
        return None

    def decode_example(*example):
        encoded, label = source.read(*example)
        return decode(encoded, channels), label

    return source.examples(split).map(decode_example, tf.data.AUTOTUNE)


def _stream(training_batches, epochs, skip=0):
    """Returns the batches of a dataset of epochs, one after the other, without the first `skip` ones."""
    # What a dataset is told about its distribution does not come out of `flat_map`.
    options = training_batches(tf.constant(0, tf.int64)).options()
    return stream_epochs(training_batches, epochs).skip(skip).with_options(options).prefetch(tf.data.AUTOTUNE)


def choose_image_size(side, architecture, aux_heads=True):
    """Returns the height and width for a network of images whose shorter side is `side`, all in pixels.

    Large images are scaled down to the size that the architecture is made for; smaller ones keep theirs, unless the
    network needs more: then they are scaled up, by a whole number.
    """
    record = architectures.get(architecture)
    minimum = minimum_image_size(record, record.auxiliary_heads if aux_heads else ())
    side = min(side, record.image_size)
    return side * -(-minimum // side)


@dataclass(frozen=True)
class _Source:
    """Where examples come from: `examples(split)` gives them one by one, `read` the bytes and the label of each."""

    examples: Callable
    read: Callable
    class_names: list[str]
    sizes: dict[str, int]
    side: int
    shuffle_buffer: int
    skipped: list[str] = field(default_factory=list)


def _open_folder(dataset, **options):
    files = folder.read(dataset, **options)

    def examples(split):
        paths, labels = zip(*files.splits[split])
        return tf.data.Dataset.from_tensor_slices((list(paths), tf.constant(labels, tf.int64)))

    sizes = {split: len(found) for split, found in files.splits.items()}
    return _Source(
        examples=examples,
        read=lambda path, label: (tf.io.read_file(path), label),
        class_names=files.class_names,
        sizes=sizes,
        side=files.side,
        shuffle_buffer=sizes["train"],  # paths are small
        skipped=files.skipped,
    )


def _open_catalog(dataset, *, seed, validation_fraction, test_fraction, skip_bad_images):
    del skip_bad_images  # its images were checked when they were prepared
    builder = catalog.prepare(dataset)
    splits = catalog.splits(builder, seed, validation_fraction, test_fraction)
    image, label = builder.info.supervised_keys
    sides = [side for side in builder.info.features[image].shape[:2] if side]
    return _Source(
        examples=lambda split: catalog.examples(builder, splits[split]),
        read=lambda encoded, label: (encoded, tf.cast(label, tf.int64)),
        class_names=list(builder.info.features[label].names),
        sizes={split: builder.info.splits[expression].num_examples for split, expression in splits.items()},
        side=min(sides, default=10**6),  # where it is not known, images are taken to be large enough
        shuffle_buffer=SHUFFLE_BUFFER,
    )


def _batch(examples, batch_size, decode_example, *, count=None):
    del count  # a dataset of one process needs none
    return examples.map(decode_example, tf.data.AUTOTUNE).batch(batch_size)
