"""Sources of batches of which TensorFlow's trainer reads each batch once.

Keras reads the first batches of a `PyDataset` and of PyTorch's `DataLoader` to learn their shapes, and forgets them.
What stands here keeps them for the first epoch. Of generators and of a `tf.data.Dataset` Keras loses none.
"""

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.errors import InputError

PEEKED = 2  # batches that Keras looks at: enough to see which sizes differ


def read_once(data: Any) -> Any:
    """Returns a source of the same batches for `fit`, `evaluate` or `predict`; data that need none are returned."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.utils.data.DataLoader):
        return _of_loader(data)
    return PeekedDataset(data) if isinstance(data, keras.utils.PyDataset) else data


class PeekedDataset(keras.utils.PyDataset):
    """A `PyDataset` that gives batches which were looked at before the first epoch again, without reading them.

    The first epoch of `data` begins with that look, and ends once.
    """

    def __init__(self, data: keras.utils.PyDataset) -> None:
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data = data
        self._kept: dict[int, Any] | None = {}  # None after the first epoch
        self._begun = self._within = False  # the epoch of `data`, and Keras's, which begins later

    @property
    def num_batches(self) -> int | None:
        return self._data.num_batches

    def __getitem__(self, index: int) -> Any:
        if self._kept is None or index >= PEEKED:
            return self._data[index]
        if index in self._kept:
            return self._kept.pop(index)
        if not self._begun:
            self._begun = True
            self._data.on_epoch_begin()
        self._kept[index] = self._data[index]
        return self._kept[index]

    def on_epoch_begin(self) -> None:
        self._within = True
        if not self._begun:
            self._begun = True
            self._data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        if self._within:  # Keras ends an epoch before the first one too
            self._begun = self._within = False
            self._kept = None  # processes that read for Keras have copies
            self._data.on_epoch_end()


def _of_loader(loader: Any) -> tf.data.Dataset:
    """Returns the batches of PyTorch's `DataLoader`; the first pass goes on where the look at the first ones ended."""
    first: Iterator[Any] = iter(loader)
    peeked = [_arrays(batch) for batch in itertools.islice(first, PEEKED)]
    if not peeked:
        raise InputError(f"A `DataLoader` must give batches; this one is at its end. Received: {type(loader).__name__}")
    passes: list[Iterator[Any]] = [itertools.chain(peeked, map(_arrays, first))]

    def batches() -> Iterator[Any]:
        return passes.pop() if passes else map(_arrays, loader)

    data = tf.data.Dataset.from_generator(batches, output_signature=tf.nest.map_structure(_specification, *peeked))
    if hasattr(loader.dataset, "__len__"):
        data = data.apply(tf.data.experimental.assert_cardinality(len(loader)))
    return data


def _arrays(batch: Any) -> Any:
    arrays = keras.tree.map_structure(lambda x: np.asarray(x.cpu()), batch)
    return tuple(arrays) if isinstance(arrays, list) else arrays


def _specification(*arrays: np.ndarray) -> tf.TensorSpec:
    sizes = [size[0] if len(set(size)) == 1 else None for size in zip(*(array.shape[1:] for array in arrays))]
    return tf.TensorSpec([None, *sizes], arrays[0].dtype)
