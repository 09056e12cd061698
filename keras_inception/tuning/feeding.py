"""Plain data for a trial: batches of its size, images augmented as strongly as it says, steps counted."""

from dataclasses import fields
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data import augmentation
from keras_inception.errors import InputError
from keras_inception.network.preprocess import preprocess_input, undo_preprocessing
from keras_inception.recipes.augmentation import NONE, Augmentation


def augments(config):
    """Returns whether a configuration changes the training images."""
    return any(getattr(config, field.name) != getattr(NONE, field.name) for field in fields(Augmentation))


class Feed:
    """What `fit` gets for a trial.

    Args:
        config: The trial's `TrainConfig`.
        searched: The names in the space.
        model: The trial's model.
        counts: Dict that keeps the numbers of examples from trial to trial.

    Raises:
        ValueError: The data cannot be batched or augmented as the space says.
    """

    def __init__(self, config, searched, model, counts):
        self.config, self.searched, self.model, self.counts = config, searched, model, counts

    def arguments(self, x=None, y=None, *positional, **kwargs):
        """Returns the arguments for `fit` in the place of those that were given to `search`, and the steps of an epoch.

        Args:
            x: Images, or a dataset of images and labels.
            y: Labels, where `x` does not hold them.
            *positional: Keras's `batch_size`.
            **kwargs: Others of Keras's.
        """
        if positional:
            raise InputError("`search` must get all but images and labels by name, as `epochs=5`.")
        if "batch_size" in self.searched and kwargs.get("batch_size") is not None:
            raise InputError(
                "`batch_size` is searched: leave it out of `search`, or out of the space. "
                f"Received: batch_size={kwargs['batch_size']}"
            )
        if isinstance(x, tf.data.Dataset):
            x, kwargs = self._dataset(x), {**kwargs, "shuffle": False}
        elif y is None:
            self._check_others(x)
        else:
            x, y, kwargs = self._arrays(np.asarray(x), keras.tree.map_structure(np.asarray, y), kwargs)
        steps = kwargs.get("steps_per_epoch") or _steps(x, y, kwargs)
        return ({"x": x} if y is None else {"x": x, "y": y}) | kwargs, steps

    def _dataset(self, dataset):
        augmented = augments(self.config)
        if not augmented and "batch_size" not in self.searched:
            return dataset
        examples = dataset.unbatch()
        if augmented:
            examples = self._augmented(examples)
        size = self.config.batch_size if "batch_size" in self.searched else _batch_size(dataset)
        batches = self._mixed(examples.batch(size))
        if dataset.cardinality() != tf.data.INFINITE_CARDINALITY:
            batches = batches.apply(tf.data.experimental.assert_cardinality(-(-self._count(dataset) // size)))
        return batches.prefetch(tf.data.AUTOTUNE)

    def _count(self, dataset):
        """Returns the number of examples, counted once in a search."""
        if id(dataset) not in self.counts:
            self.counts[id(dataset)] = dataset, _length(dataset.unbatch())  # the dataset, so that its id stays its own
        return self.counts[id(dataset)][1]

    def _arrays(self, x, y, kwargs):
        size = kwargs.pop("batch_size", None) or self.config.batch_size
        if not augments(self.config) or not len(x):
            return x, y, {**kwargs, "batch_size": size}
        kwargs = dict(kwargs)
        weights = kwargs.pop("sample_weight", None)
        if isinstance(y, (dict, list)) or kwargs.get("class_weight"):
            raise InputError(
                "`augmentation` with arrays needs labels that come once and no `class_weight`. Leave augmentation out "
                "of the space, or give a `tf.data.Dataset`."
            )
        share = kwargs.pop("validation_split", 0.0)
        kept = int(len(x) * (1 - share))  # Keras's: the last ones validate
        if share and kwargs.get("validation_data") is None:
            kwargs["validation_data"] = (x[kept:], y[kept:])
        parts = (x[:kept], y[:kept]) if weights is None else (x[:kept], y[:kept], np.asarray(weights)[:kept])
        examples = tf.data.Dataset.from_tensor_slices(parts)
        if kwargs.pop("shuffle", True):
            examples = examples.shuffle(min(kept, 10_000), seed=self.config.seed)
        batches = self._mixed(self._augmented(examples).batch(size))
        batches = batches.apply(tf.data.experimental.assert_cardinality(-(-kept // size)))
        return batches.prefetch(tf.data.AUTOTUNE), None, {**kwargs, "shuffle": False}

    def _check_others(self, x):
        own = [name for name in ("batch_size", "augmentation") if name in self.searched]
        if own or augments(self.config):
            raise InputError(
                "Batch size and augmentation are applied to arrays and to a `tf.data.Dataset`. Give one of these, or "
                f"leave {' and '.join(own) or 'augmentation'} out of the space. Received: {type(x).__name__}"
            )

    def _augmented(self, examples):
        """Returns the examples with their images augmented anew in each epoch."""
        mode, shape = self.model.preprocessing, self.model.input_shape[1:]

        def change(seed, example):
            image, *rest = example
            pixels = undo_preprocessing(tf.cast(image, tf.float32), preprocessing=mode)
            pixels = augmentation.augment(pixels, shape, seed, self.config)
            return preprocess_input(pixels, "channels_last", preprocessing=mode), *rest

        return _with_seeds(examples, self.config.seed).map(change, tf.data.AUTOTUNE)

    def _mixed(self, batches):
        if self.config.mixup is None and self.config.cutmix is None:
            return batches
        mix = partial(augmentation.mix, classes=self.model.classes, augmentation=self.config)

        def change(seed, batch):
            images, labels, *rest = batch
            return *mix(images, labels, seed=seed), *rest

        return _with_seeds(batches, self.config.seed + 1).map(change, tf.data.AUTOTUNE)


def _with_seeds(dataset, seed):
    """Returns a dataset of a seed `(2,)`, another one in each pass, and the elements of a dataset."""
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(seeds, dataset)


def _length(dataset):
    return int(dataset.reduce(np.int64(0), lambda count, *_: count + 1))


def _batch_size(dataset):
    return int(tf.shape(next(iter(dataset.take(1)))[0])[0])


def _steps(x, y, kwargs):
    """Returns the steps of an epoch, which the schedule of the learning rate needs."""
    if y is not None:
        count = int(len(x) * (1 - kwargs.get("validation_split", 0.0)))
        return -(-count // kwargs["batch_size"])
    if isinstance(x, tf.data.Dataset):
        steps = int(x.cardinality())
        if steps == tf.data.UNKNOWN_CARDINALITY:
            steps = _length(x)
        if steps > 0:
            return steps
    elif hasattr(x, "__len__"):
        return len(x)
    raise InputError("`search` must get `steps_per_epoch` for data without an end, for the schedule of the rate.")
