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
from keras_inception.tuning.space import Space
from keras_inception.types import Array, Tensor


class Feed:
    """What `fit` gets for a trial.

    Args:
        config: The trial's configuration.
        space: What is searched.
        model: The trial's model.
        counts: Keeps the numbers of examples of data sets from trial to trial.
    """

    def __init__(
        self, config: TrainConfig, space: Space, model: InceptionModel, counts: dict[int, tuple[Any, int]]
    ) -> None:
        self._config, self._model, self._counts = config, model, counts
        self._sizes_batches = "batch_size" in space
        self._augments = config.augmentation != Augmentation()

    def arguments(self, x: Any = None, y: Any = None, *positional: Any, **kwargs: Any) -> tuple[dict[str, Any], int]:
        """Returns the arguments for `fit` in the place of those that were given to `search`, and the steps of an epoch.

        Args:
            x: Images, or a dataset of images and labels.
            y: Labels, where `x` does not hold them.
            *positional: Keras's `batch_size`.
            **kwargs: Others of Keras's.

        Raises:
            InputError: The data cannot be batched or augmented as the space says.
        """
        if positional:
            raise InputError("`search` must get all but images and labels by name, as `epochs=5`.")
        if self._sizes_batches and kwargs.get("batch_size") is not None:
            raise InputError(
                "`batch_size` is searched: leave it out of `search`, or out of the space. "
                f"Received: batch_size={kwargs['batch_size']}"
            )
        if y is not None:
            x, kwargs = self._batches(np.asarray(x), keras.tree.map_structure(np.asarray, y), kwargs)
        elif isinstance(x, tf.data.Dataset):
            x = self._of_size(x)
        elif self._sizes_batches or self._augments:
            raise InputError(
                "Batch size and augmentation are applied to arrays and to a `tf.data.Dataset`. Give one of these, or "
                f"leave both out of the space. Received: {type(x).__name__}"
            )
        if isinstance(x, tf.data.Dataset):
            x, kwargs = self._augmented(x), {**kwargs, "shuffle": False}
        return {"x": x, **kwargs}, kwargs.get("steps_per_epoch") or _steps(x)

    def _batches(self, x: Array, y: Any, kwargs: dict[str, Any]) -> tuple[tf.data.Dataset, dict[str, Any]]:
        """Returns arrays in batches, and what is left of the arguments of `fit`."""
        kwargs = dict(kwargs)
        size = kwargs.pop("batch_size", None) or self._config.recipe.batch_size
        weights, share = kwargs.pop("sample_weight", None), kwargs.pop("validation_split", 0.0)
        parts = (x, tuple(y) if isinstance(y, list) else y, *([] if weights is None else [np.asarray(weights)]))
        kept = int(len(x) * (1 - share))  # Keras's: the last ones validate
        if kept < len(x) and kwargs.get("validation_data") is None:
            kwargs["validation_data"] = keras.tree.map_structure(lambda part: part[kept:], parts)
        examples = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(lambda part: part[:kept], parts))
        if kwargs.pop("shuffle", True):
            examples = examples.shuffle(max(1, min(kept, 10_000)), seed=self._config.seed)
        return examples.batch(size), kwargs

    def _of_size(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns a dataset in batches of the trial's size."""
        if not self._sizes_batches:
            return dataset
        size, examples = self._config.recipe.batch_size, dataset.unbatch()
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            return examples.batch(size)
        if id(dataset) not in self._counts:
            self._counts[id(dataset)] = dataset, _length(examples)  # the dataset, so that its id stays its own
        return examples.batch(size).apply(
            tf.data.experimental.assert_cardinality(-(-self._counts[id(dataset)][1] // size))
        )

    def _augmented(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns batches with their images augmented anew in each epoch."""
        if not self._augments:
            return batches
        mode, shape, classes = self._model.preprocessing, self._model.input_shape[1:], self._model.classes
        chosen = self._config.augmentation

        def change_one(seed_and_image: tuple[Tensor, Tensor]) -> Tensor:
            seed, image = seed_and_image
            pixels = undo_preprocessing(tf.cast(image, tf.float32), preprocessing=mode)
            pixels = augmentation.augment(pixels, shape, seed, chosen)
            return preprocess_input(pixels, "channels_last", preprocessing=mode)

        def change(seed: Tensor, batch: tuple[Any, ...]) -> tuple[Any, ...]:
            images, labels, *rest = batch
            seeds = tf.random.experimental.stateless_split(seed, tf.shape(images)[0] + 1)
            images = tf.map_fn(change_one, (seeds[1:], images), fn_output_signature=tf.float32)
            images.set_shape((None, *shape))
            return *augmentation.mix(images, labels, classes, seeds[0], chosen), *rest

        seeds = tf.data.Dataset.random(self._config.seed, rerandomize_each_iteration=True).batch(2)
        changed = tf.data.Dataset.zip(seeds, batches).map(change, tf.data.AUTOTUNE)
        return changed.prefetch(tf.data.AUTOTUNE)


def _length(dataset: tf.data.Dataset) -> int:
    return int(dataset.reduce(np.int64(0), lambda count, *_: count + 1))


def _steps(x: Any) -> int:
    """Returns the steps of an epoch, which the schedule of the learning rate needs."""
    if not isinstance(x, tf.data.Dataset):
        steps = len(x) if hasattr(x, "__len__") else 0
    elif (steps := int(x.cardinality())) == tf.data.UNKNOWN_CARDINALITY:
        steps = _length(x)
    if steps > 0:
        return steps
    raise InputError(
        "`search` must get data that is not empty, and `steps_per_epoch` for data without an end: the schedule of the "
        f"rate counts them. Received: {type(x).__name__}"
    )
