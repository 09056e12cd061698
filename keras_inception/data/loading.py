"""Images and labels for training: one function for the bundled digits, any TFDS dataset and folders of images."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception import architectures, files
from keras_inception.architectures import Architecture
from keras_inception.data import folder, table
from keras_inception.data.augmentation import augment, batch_seed, example_seed, mix, order_seed, stream_epochs
from keras_inception.data.cache import Cache
from keras_inception.data.collection import Collection
from keras_inception.data.decoding import decode
from keras_inception.data.images import read, to_input
from keras_inception.errors import InputError, shortened
from keras_inception.network.preprocess import check_mode, preprocess_input
from keras_inception.network.record import checked_resize
from keras_inception.network.sizes import check_memory, minimum_image_size
from keras_inception.recipes.augmentation import Augmentation
from keras_inception.rules import COUNT, SEED, SHARE, SWITCH, WHOLE, argument, is_whole, maybe, rule
from keras_inception.types import Dataset, PathLike, Tensor

UNCOUNTED = 2**32  # the numbers from here on are of passes that no training counts


@dataclass(frozen=True)
class Data:
    """Images and labels that are ready for `model.fit`. TensorFlow traces what reads a split when it is asked for.

    Attributes:
        pipeline: How examples are read and batched.
        steps_per_epoch: Batches of one epoch.
        class_names: The names of the classes in the order of the labels.
        sizes: The number of examples by split name.
        image_shape: `(height, width, channels)` of the network's input.
        original_side: The shorter side of the images as they were found, in pixels (the median one of a folder).
        record: What tells these data from others, as JSON: the source, the classes, and the examples of each split.
        skipped: The paths of unreadable files that were left out.
        added: The files that were left out because they are newer than the record that was given.
        find_bad_images: Function that decodes all images and returns why some cannot be read, by path.
        cached_bytes: How large the images of `train` and `validation` are about, decoded, where they are kept.
    """

    pipeline: "_Pipeline"
    steps_per_epoch: int
    class_names: list[str]
    sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    original_side: int
    record: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    find_bad_images: Callable[[], dict[str, str]] = dict
    cached_bytes: int = 0

    def __repr__(self) -> str:
        names = [name for name in ("train", "validation", "test") if name in self.sizes]
        sizes = ", ".join(f"{name} {self.sizes[name]:,}" for name in names)
        shape, classes = "x".join(map(str, self.image_shape)), shortened(", ".join(self.class_names), 500)
        return f"<Data: {sizes} images of {shape}, {len(self.class_names)} classes: {classes}>"

    @cached_property
    def train(self) -> Dataset:
        """Batches `(image, label)`, shuffled and augmented anew in each pass.

        Image float32, preprocessed, `(batch, *image_shape)`, label int64 `(batch,)`; `(batch, classes)`, float32, where
        MixUp or CutMix mixes, here in each pass, for which `mixup_off_epoch` has no number.
        """
        # Each pass draws the epoch whose images it gives, those of `train_from` excluded.
        random = tf.data.Dataset.random(self.pipeline.seed, rerandomize_each_iteration=True)
        batches = self.pipeline.stream(random.take(1).map(lambda number: number + UNCOUNTED))
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch))

    @cached_property
    def validation(self) -> Dataset | None:
        """Batches as those of `train`, never augmented, in a fixed order; None if there are none."""
        return self.pipeline.fixed("validation")

    @cached_property
    def test(self) -> Dataset | None:
        """Batches as those of `train`, never augmented, in a fixed order; None if there are none."""
        return self.pipeline.fixed("test")

    def class_counts(self, split: str = "train") -> list[int]:
        """Returns the number of images of a split by class, in the order of the labels."""
        labels = self.pipeline.collection.examples(split).map(lambda source, label: label).batch(4096)
        counts = np.zeros(len(self.class_names), "int64")
        for batch in labels.as_numpy_iterator():
            counts += np.bincount(batch, minlength=len(counts))
        return counts.tolist()

    def balanced(self, batches: Dataset) -> Dataset:
        """Returns training batches with the weights, `(batch,)`, by which all classes count alike."""
        counts = np.maximum(self.class_counts(), 1)
        weights = tf.constant(self.sizes["train"] / (len(counts) * counts), tf.float32)

        @tf.autograph.experimental.do_not_convert
        def weigh(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            is_mixed = labels.shape.rank == 2
            return images, labels, tf.linalg.matvec(labels, weights) if is_mixed else tf.gather(weights, labels)

        return batches.map(weigh)

    def train_from(
        self, epoch: int, step: int = 0, *, image_size: int | None = None, whole_from: int | None = None
    ) -> Dataset:
        """Returns the training batches from a step of an epoch on, both from 0, without end.

        They depend on the seed and on these arguments alone: a training that was interrupted sees what it would have
        seen. What it has seen of the epoch is not read again.

        Args:
            epoch: The first epoch, from 0.
            step: Its first step, from 0.
            image_size: Height and width of the images in pixels; by default those of `image_shape`.
            whole_from: The epoch from which on images are as validation shows them, whole and of `image_shape`: crops,
                MixUp and CutMix end. By default they never do.

        Raises:
            InputError: The epoch has fewer steps, or an argument is out of range.
            tf.errors.OpError: While they are read: an image cannot be; see `reading`.
        """
        epoch, step = argument("epoch", epoch, WHOLE), argument("step", step, WHOLE)
        image_size = argument("image_size", image_size, maybe(*COUNT["rule"]))
        whole_from = argument("whole_from", whole_from, maybe(*WHOLE["rule"]))
        if step > self.steps_per_epoch:
            raise InputError(
                f"`step` must be at most {self.steps_per_epoch}, the steps of an epoch. Received: step={step}"
            )
        pipeline = self.pipeline
        whole = replace(pipeline, augmentation=replace(pipeline.augmentation, crop_area=None), mixes=False)
        if image_size is not None:
            pipeline = replace(pipeline, image_shape=(image_size, image_size, self.image_shape[-1]))
        if whole_from is None:
            return pipeline.stream(tf.data.Dataset.counter(epoch), step)
        if epoch >= whole_from:
            return whole.stream(tf.data.Dataset.counter(epoch), step)
        batches = pipeline.stream(tf.data.Dataset.range(epoch, whole_from), step)
        return batches.concatenate(whole.stream(tf.data.Dataset.counter(whole_from)))

    def some(self, split: str, most: int) -> tuple[Dataset, Dataset]:
        """Returns unaugmented images of a split, as batches for the network and, in that order, as `originals`.

        Args:
            split: Its name; it must have images.
            most: How many at most; of more images, every second, third and so on.
        """
        every = -(-self.sizes[split] // most)
        return self.pipeline.fixed(split, every), self.pipeline.originals(split, every)

    def originals(self, split: str) -> Dataset | None:
        """Returns the images of a split as they are, decoded and not scaled, one by one in a fixed order.

        They are pairs of image `(height, width, channels)`, uint8, and label, int64; None if there are none.
        """
        return self.pipeline.originals(split)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Names the images by whose reading, within the context, TensorFlow fails.

        Raises:
            BadImagesError: Images of a folder cannot be read, or are gone.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
            raise  # another worker was lost
        except tf.errors.ResourceExhaustedError:
            raise  # of memory or disk
        except tf.errors.OpError:
            if bad := self.find_bad_images():
                raise folder.BadImagesError(bad) from None
            raise


def load(
    dataset: PathLike,
    *,
    image_size: int | None = None,
    channels: int = 3,
    batch_size: int = 32,
    architecture: str | Architecture = "googlenet",
    aux_heads: bool = True,
    preprocessing: str = "inception",
    resize: str = "crop",
    seed: int = 0,
    split_seed: int | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    skip_bad_images: bool = False,
    full_check: bool = False,
    augmentation: Augmentation | None = None,
    batch: Callable[..., tf.data.Dataset] | None = None,
    record: Mapping[str, Any] | None = None,
    cache: PathLike | None = None,
    on_check: Callable[[int, int], None] | None = None,
) -> Data:
    """Loads images and labels for training, validation and testing.

    Args:
        dataset: `"digits"` (scikit-learn's, no network), a folder of class folders (with or without `train`,
            `validation` and `test` above them; JPEG, PNG, BMP, GIF, WebP), a CSV or Parquet
            file with the columns path, label and perhaps split, or the name of a TFDS dataset.
        image_size: Height and width of the network's input in pixels; by default chosen by `choose_image_size`.
        channels: 3, or 1 for greyscale.
        batch_size: Examples per batch, at least 1.
        architecture: The network that the images are for; decides the size.
        aux_heads: Whether the network has its auxiliary heads; they need larger images.
        preprocessing: The mode of `preprocess_input` that the network wants.
        resize: How an image becomes a square: `"crop"`, `"pad"` or `"stretch"`, the `mode` of `data.resize`.
        seed: Fixes the order of the training examples and their augmentation.
        split_seed: Fixes the splits that the source lacks; by default `seed`.
        validation_fraction: Share of the training examples for validation where the source has none, in [0, 1).
        test_fraction: Share of the training examples for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        full_check: Whether to decode each file of a folder first, rather than to look at its header and end.
        augmentation: What happens to the training images; by default nothing.
        batch: Function of examples, the batch size, the function that decodes an example and, as `count`, the number of
            examples, that returns batches; `distribute.batch` gives each of several workers its part.
        record: The `record` of earlier data, whose examples and splits are taken: files that came later are left out,
            anything else that is not as it was is refused.
        cache: Where the images of `train` and `validation` are kept, decoded, when they are first read: `"memory"`, or
            an empty folder, which is not removed. By default they are decoded each time.
        on_check: Function that is told how many files of a folder were checked, and of how many, from time to time.

    Raises:
        InputError: The dataset is unknown, empty, damaged, cannot be downloaded, has fewer than two classes, or needs
            more room than there is where it is to be kept; or an argument is out of range.
    """
    check_mode(preprocessing)
    checked_resize(resize)
    image_size = argument("image_size", image_size, maybe(*COUNT["rule"]))
    batch_size = argument("batch_size", batch_size, COUNT)
    channels = argument("channels", channels, rule("1 or 3", lambda value: is_whole(value, 1) and value in (1, 3)))
    seed = argument("seed", seed, SEED)
    split_seed = argument("split_seed", split_seed, maybe(*SEED["rule"]))
    split_seed = seed if split_seed is None else split_seed
    validation_fraction = argument("validation_fraction", validation_fraction, SHARE)
    test_fraction = argument("test_fraction", test_fraction, SHARE)
    aux_heads = argument("aux_heads", aux_heads, SWITCH)
    skip_bad_images = argument("skip_bad_images", skip_bad_images, SWITCH)
    full_check = argument("full_check", full_check, SWITCH)
    of_kind = maybe("an `Augmentation`", lambda value: isinstance(value, Augmentation))
    augmentation = argument("augmentation", augmentation, of_kind) or Augmentation()
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            "`validation_fraction` and `test_fraction` must be together below 1. "
            f"Received: validation_fraction={validation_fraction}, test_fraction={test_fraction}"
        )
    if image_size is not None:
        network = architectures.get(architecture)
        heads = network.auxiliary_heads if aux_heads else ()
        check_memory(network, heads, (image_size, image_size, channels), 2, batch_size)
    path = files.named(dataset, "dataset")
    if path.is_dir() or table.is_table(path):
        collection = folder.read(
            dataset,
            split_seed,
            validation_fraction,
            test_fraction,
            skip_bad_images=skip_bad_images,
            full_check=full_check,
            record=record,
            on_check=on_check,
        )
    else:
        from keras_inception.data import catalog  # TFDS takes a while to import, and a folder needs none of it

        collection = catalog.read(str(dataset), split_seed, validation_fraction, test_fraction, record=record)
    if len(collection.class_names) < 2:
        raise InputError(
            f"A dataset must have at least two classes. Received: {dataset!r} with {collection.class_names}"
        )
    size = image_size or choose_image_size(collection.side, architecture, aux_heads)
    shape, steps = (size, size, channels), -(-collection.sizes["train"] // batch_size)
    batch = batch or _batch
    labels = batch(
        collection.examples("train"), batch_size, lambda source, label: label, count=collection.sizes["train"]
    )
    kept = None if cache is None else Cache(cache)
    pipeline = _Pipeline(
        collection, shape, preprocessing, resize, batch_size, batch, seed, augmentation, labels.options(), kept
    )
    cached_bytes = 0 if kept is None else pipeline.decoded_bytes()
    if kept is not None:
        kept.check_room(cached_bytes)
    return Data(
        pipeline=pipeline,
        steps_per_epoch=steps,
        class_names=collection.class_names,
        sizes=collection.sizes,
        image_shape=shape,
        original_side=collection.side,
        record=collection.record,
        skipped=collection.skipped,
        added=collection.added,
        find_bad_images=collection.find_bad_images,
        cached_bytes=cached_bytes,
    )


def choose_image_size(side: int, architecture: str | Architecture, aux_heads: bool = True) -> int:
    """Returns the height and width for a network of images whose shorter side is `side`, all in pixels.

    Large images are scaled down to the size that the architecture is made for; smaller ones keep theirs, unless the
    network needs more: then they are scaled up, by a whole number.

    Raises:
        InputError: There is no such architecture, or its rows fit no image.
    """
    record = architectures.get(architecture)
    minimum = minimum_image_size(record, record.auxiliary_heads if aux_heads else ())
    side = min(side, record.image_size)
    return side * -(-minimum // side)


def _batch(
    examples: Dataset, batch_size: int, decode_example: Callable[..., Tensor], *, count: int | None = None
) -> Dataset:
    del count  # of use to several workers
    return examples.map(decode_example, tf.data.AUTOTUNE).batch(batch_size)


def _read_ahead(batches: Dataset) -> Dataset:
    """Returns the batches, read ahead of the steps.

    On one core nothing is tuned: there TensorFlow 2.21 does not wake its tuner when the data have ended, and the end of
    `fit` or `evaluate` would wait for it, up to as long again as the data took.
    """
    batches = batches.prefetch(tf.data.AUTOTUNE)
    if _cores() > 1:
        return batches
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SAMPLE = 64  # images whose sizes tell those of all


@dataclass(frozen=True)
class _Pipeline:
    """How the examples of a collection are read, augmented and batched; the fields are arguments of `load`."""

    collection: Collection
    image_shape: tuple[int, int, int]
    preprocessing: str
    resize: str
    batch_size: int
    batch: Callable[..., tf.data.Dataset]
    seed: int
    augmentation: Augmentation
    options: tf.data.Options  # of the batches; what these are told about their distribution does not leave `flat_map`
    cache: Cache | None = None
    mixes: bool = True  # whether MixUp and CutMix take part; labels have their form all the same

    def fixed(self, split: str, every: int = 1) -> Dataset | None:
        """Returns the batches of a split, or of every so-manieth example, in its own order; None if it is empty."""
        if not self.collection.sizes.get(split):
            return None

        @tf.autograph.experimental.do_not_convert
        def to_example(index: Tensor, example: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            source = self._source(split, index, example[0])
            convert = read if source.dtype == tf.string else to_input
            return convert(source, self.image_shape, self.preprocessing, self.resize), example[1]

        examples = self.collection.examples(split).enumerate().shard(every, 0)
        return _read_ahead(self.batch(examples, self.batch_size, to_example))

    def originals(self, split: str, every: int = 1) -> Dataset | None:
        """Returns the decoded images of the examples of `fixed`, with their labels; None if there are none."""
        if not self.collection.sizes.get(split):
            return None
        return self.collection.examples(split).shard(every, 0).map(self._decoded, tf.data.AUTOTUNE)

    def decoded_bytes(self) -> int:
        """Returns how large the decoded images of training and validation are about, by `SAMPLE` of them."""
        count = self.collection.sizes["train"]
        examples = self.collection.examples("train").shuffle(min(count, self.collection.shuffle_buffer), self.seed)
        sample = examples.take(SAMPLE).map(self._decoded, tf.data.AUTOTUNE).ignore_errors()  # they are found later
        sizes = [image.nbytes for image, _ in sample.as_numpy_iterator()]
        return round(np.mean(sizes or [0]) * (count + self.collection.sizes.get("validation", 0)))

    @tf.autograph.experimental.do_not_convert
    def _decoded(self, source: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        return decode(self.collection.encoded(source), self.image_shape[-1]), label

    def _source(self, split: str, index: Tensor, source: Tensor) -> Tensor:
        """Returns the bytes of an example's file or, where decoded images are kept, its image."""
        if self.cache is None or split == "test":  # which is read once
            return self.collection.encoded(source)
        # The augmentation decodes colours, what is never augmented the channels of the network.
        key, channels = (index, 3) if split == "train" else (-1 - index, self.image_shape[-1])
        return self.cache.image(key, lambda planes: decode(self.collection.encoded(source), planes), channels)

    def stream(self, epochs: Dataset, skip: int = 0) -> Dataset:
        """Returns the training batches of some epochs, one after the other, without the first `skip` of the first.

        What is left out is not read.
        """
        batches = stream_epochs(self._epoch, epochs)
        if skip:
            first = stream_epochs(partial(self._epoch, skip=skip), epochs.take(1))
            batches = first.concatenate(stream_epochs(self._epoch, epochs.skip(1)))
        return _read_ahead(batches.with_options(self.options))

    def _epoch(self, epoch: Tensor, skip: int = 0) -> Dataset:
        @tf.autograph.experimental.do_not_convert
        def decode_example(position: Tensor, example: tuple[Tensor, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
            index, (name, label) = example
            seed, source = example_seed(self.seed, epoch, position), self._source("train", index, name)
            image = augment(source, self.image_shape, seed, self.augmentation, self.resize)
            return preprocess_input(image, "channels_last", preprocessing=self.preprocessing), label

        @tf.autograph.experimental.do_not_convert
        def mix_batch(index: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            classes, off = len(self.collection.class_names), self.augmentation.mixup_off_epoch
            on = None if off is None else (epoch < off) | (epoch >= UNCOUNTED)
            on = on if self.mixes else tf.constant(False)
            return mix(*batch, classes, batch_seed(self.seed, epoch, index), self.augmentation, on)

        count = self.collection.sizes["train"]
        examples = (
            self.collection.examples("train")
            .enumerate()
            .shuffle(
                min(count, self.collection.shuffle_buffer),
                seed=order_seed(self.seed, epoch),
                reshuffle_each_iteration=False,
            )
        )
        skipped = min(skip * self.batch_size, count)
        examples = examples.enumerate().skip(skipped)
        batches = self.batch(examples, self.batch_size, decode_example, count=count - skipped)
        return batches.enumerate(skip).map(mix_batch, tf.data.AUTOTUNE)
