"""Images and labels for training: one function for the bundled digits, any TFDS dataset and folders of images."""

from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from keras_inception import architectures
from keras_inception.data import catalog, folder
from keras_inception.data.images import decode, resize, to_input
from keras_inception.model import minimum_image_size

__all__ = ["Data", "decode", "load", "resize", "to_input"]

SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class Data:
    """A dataset that is ready for `model.fit`.

    Attributes:
        train: `tf.data.Dataset` of `(image, label)` batches, shuffled anew in each epoch; image float32
            `(batch, *image_shape)`, preprocessed, label int64 `(batch,)`.
        validation: The same, in a fixed order; None if there is none.
        test: The same, in a fixed order; None if there is none.
        class_names: The names of the classes in the order of the labels.
        sizes: The number of examples by split name.
        image_shape: `(height, width, channels)` of the network's input.
        original_side: The shorter side of the images as they were found, in pixels (the median one of a folder).
        skipped: The paths of unreadable files that were left out.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None
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
        seed: Fixes the order of the training examples, and the splits that the source lacks.
        validation_fraction: Share of the training examples for validation where the source has none, in [0, 1).
        test_fraction: Share of the training examples for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        batch: Function of a dataset of examples, the batch size and the function that decodes an example, that
            returns a dataset of batches; `distribute.batch` gives each of several workers its part.

    Returns:
        A `Data`.

    Raises:
        ValueError: The dataset is unknown, empty, damaged, cannot be downloaded, or has fewer than two classes.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    if channels not in (1, 3):
        raise ValueError(f"`channels` must be 1 or 3. Received: channels={channels}")
    if not (0 <= validation_fraction < 1 and 0 <= test_fraction < 1 and validation_fraction + test_fraction < 1):
        raise ValueError(
            "`validation_fraction` and `test_fraction` must be at least 0 and together below 1. "
            f"Received: validation_fraction={validation_fraction}, test_fraction={test_fraction}"
        )
    open_source = _open_folder if Path(dataset).is_dir() else _open_catalog
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    source = open_source(dataset, channels, seed=seed, skip_bad_images=skip_bad_images, **fractions)
    if len(source.class_names) < 2:
        raise ValueError(f"A dataset must have at least two classes. Received: {dataset!r} with {source.class_names}")
    size = image_size or choose_image_size(source.side, architecture, aux_heads)
    shape = (size, size, channels)

    def decode_example(*example):
        image, label = source.decode(*example)
        return to_input(image, shape, preprocessing), tf.cast(label, tf.int64)

    def batches(split, shuffle):
        if not source.sizes.get(split):
            return None
        examples = source.examples(split)
        if shuffle:
            examples = examples.shuffle(min(source.sizes[split], SHUFFLE_BUFFER), seed=seed)
        return (batch or _batch)(examples, batch_size, decode_example).prefetch(tf.data.AUTOTUNE)

    return Data(
        train=batches("train", shuffle=True),
        validation=batches("validation", shuffle=False),
        test=batches("test", shuffle=False),
        class_names=source.class_names,
        sizes=source.sizes,
        image_shape=shape,
        original_side=source.side,
        skipped=source.skipped,
    )


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
    """Where examples come from: `examples(split)` gives them encoded, one by one, `decode` makes image and label."""

    examples: callable
    decode: callable
    class_names: list[str]
    sizes: dict[str, int]
    side: int
    skipped: list[str] = field(default_factory=list)


def _open_folder(dataset, channels, **options):
    files = folder.read(dataset, **options)

    def examples(split):
        paths, labels = zip(*files.splits[split])
        return tf.data.Dataset.from_tensor_slices((list(paths), tf.constant(labels, tf.int64)))

    return _Source(
        examples=examples,
        decode=lambda path, label: (decode(tf.io.read_file(path), channels), label),
        class_names=files.class_names,
        sizes={split: len(found) for split, found in files.splits.items()},
        side=files.side,
        skipped=files.skipped,
    )


def _open_catalog(dataset, channels, *, seed, validation_fraction, test_fraction, skip_bad_images):
    del channels, skip_bad_images  # TFDS decodes, and its images were checked when they were prepared
    builder = catalog.prepare(dataset)
    splits = catalog.splits(builder, seed, validation_fraction, test_fraction)
    image, label = builder.info.supervised_keys
    sides = [side for side in builder.info.features[image].shape[:2] if side]
    return _Source(
        examples=lambda split: builder.as_dataset(split=splits[split], as_supervised=True),
        decode=lambda image, label: (image, label),
        class_names=list(builder.info.features[label].names),
        sizes={split: builder.info.splits[expression].num_examples for split, expression in splits.items()},
        side=min(sides, default=10**6),  # where it is not known, images are taken to be large enough
    )


def _batch(examples, batch_size, decode_example):
    return examples.map(decode_example, tf.data.AUTOTUNE).batch(batch_size)
