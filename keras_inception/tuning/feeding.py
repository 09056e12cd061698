"""Plain data for a trial: batches of its size, images augmented as strongly as it says, steps counted."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data import augmentation
from keras_inception.errors import InputError
from keras_inception.network.model import InceptionModel
from keras_inception.network.preprocess import preprocess_input, undo_preprocessing
from keras_inception.recipes.augmentation import Augmentation
from keras_inception.training.config import TrainConfig
from keras_inception.types import Array, Dataset, Tensor


def feed(
    config: TrainConfig, model: InceptionModel, any_size: bool, x: Any = None, y: Any = None, **kwargs: Any
) -> tuple[dict[str, Any], int]:
    """Returns the arguments for `fit` in the place of those that were given to `search`, and the steps of an epoch.

    A `tf.data.Dataset` that does not know its length is read once to count it.

    Args:
        config: The trial's configuration.
        model: The trial's model.
        any_size: Whether the size of the batches is searched.
        x: Images, or a dataset of images and labels.
        y: Labels, where `x` does not hold them.
        **kwargs: Others of `fit`'s.

    Raises:
        InputError: The data cannot be batched or augmented as the space says.
    """
    augments, size = config.resolved_augmentation != Augmentation(), config.recipe.batch_size
    if any_size and kwargs.get("batch_size") is not None:
        raise InputError(
            "`batch_size` is searched: leave it out of `search`, or out of the space. "
            f"Received: batch_size={kwargs['batch_size']}"
        )
    if y is not None:
        size = kwargs.pop("batch_size", None) or size
        x, kwargs = _batches(np.asarray(x), keras.tree.map_structure(np.asarray, y), size, config.seed, **kwargs)
    off = {
        "mixup_off_epoch": config.resolved_augmentation.mixup_off_epoch,
        "final_epochs": config.final_epochs,
        "train_image_size": config.train_image_size,
    }
    for name, value in off.items():
        if value:
            raise InputError(
                f"`{name}` is of the epochs of a dataset that the configuration names: leave it out for arrays and "
                f"datasets of your own. Received: {name}={value}"
            )
    steps = kwargs.get("steps_per_epoch")
    if not isinstance(x, tf.data.Dataset):
        if any_size or augments:
            raise InputError(
                "Batch size and augmentation are applied to arrays and to a `tf.data.Dataset`. Give one of these, or "
                f"leave both out of the space. Received: {type(x).__name__}"
            )
        steps = steps or (len(x) if hasattr(x, "__len__") else 0)
    else:
        kwargs["shuffle"] = False
        endless = x.cardinality() == tf.data.INFINITE_CARDINALITY
        x = x.rebatch(size) if any_size and y is None else x
        if not steps and not endless:
            steps = _length(x)
            x = x.apply(tf.data.experimental.assert_cardinality(steps))  # Keras warns where it cannot know the end
        x = _augmented(x, config, model) if augments else x
    if not steps:
        raise InputError(
            "`search` must get data that is not empty, and `steps_per_epoch` for data without an end: the schedule of "
            f"the rate counts them. Received: {type(x).__name__}"
        )
    return {"x": x, **kwargs}, steps


def _batches(
    x: Array, y: Any, size: int, seed: int, *, sample_weight: Any = None, validation_split: float = 0.0,
    shuffle: bool = True, **kwargs: Any,
) -> tuple[Dataset, dict[str, Any]]:  # fmt: skip
    """Returns arrays in batches, and what is left of the arguments of `fit`."""
    weights = [] if sample_weight is None else [np.asarray(sample_weight)]
    parts = (x, tuple(y) if isinstance(y, list) else y, *weights)
    kept = int(len(x) * (1 - validation_split))  # Keras's: the last ones validate
    if kept < len(x) and kwargs.get("validation_data") is None:
        kwargs["validation_data"] = keras.tree.map_structure(lambda part: part[kept:], parts)
    examples = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(lambda part: part[:kept], parts))
    if shuffle:
        examples = examples.shuffle(max(1, min(kept, 10_000)), seed=seed)
    return examples.batch(size), kwargs


def _length(dataset: Dataset) -> int:
    known = int(dataset.cardinality())
    return int(dataset.reduce(np.int64(0), lambda count, *_: count + 1)) if known < 0 else known


def _augmented(batches: Dataset, config: TrainConfig, model: InceptionModel) -> Dataset:
    """Returns batches with their images augmented anew in each epoch."""
    mode, shape = model.preprocessing, model.input_shape[1:]

    def change_one(seed_and_image: tuple[Tensor, Tensor]) -> Tensor:
        seed, image = seed_and_image
        pixels = undo_preprocessing(tf.cast(image, tf.float32), preprocessing=mode)
        pixels = augmentation.augment(pixels, shape, seed, config.resolved_augmentation)
        return preprocess_input(pixels, "channels_last", preprocessing=mode)

    def change(seed: Tensor, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        images, labels, *rest = batch
        seeds = tf.random.experimental.stateless_split(seed, tf.shape(images)[0] + 1)
        images = tf.map_fn(change_one, (seeds[1:], images), fn_output_signature=tf.float32)
        images.set_shape((None, *shape))
        return *augmentation.mix(images, labels, model.classes, seeds[0], config.resolved_augmentation), *rest

    seeds = tf.data.Dataset.random(config.seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(seeds, batches).map(change, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
