"""A seed for each image, batch and order of an epoch, and the stream of epochs that is made with them."""

from collections.abc import Callable

import tensorflow as tf

from keras_inception.types import Dataset, Tensor


def example_seed(seed: int | Tensor, epoch: int | Tensor, position: int | Tensor) -> Tensor:
    """Returns the seed of one example in one epoch.

    Args:
        seed: The training's seed, a scalar.
        epoch: The epoch's number, a scalar of at least 0.
        position: The example's place in the epoch's order, counted over all workers, a scalar of at least 0.

    Returns:
        `(2,)`, int64, for the argument `seed` of the functions of this folder.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(key, tf.cast(position, tf.int64))


def batch_seed(seed: int | Tensor, epoch: int | Tensor, batch: int | Tensor) -> Tensor:
    """Returns the seed of one batch in one epoch, which no example has, for `mix`; `(2,)`, int64."""
    return example_seed(seed, epoch, -1 - tf.cast(batch, tf.int64))


def order_seed(seed: int | Tensor, epoch: int | Tensor) -> Tensor:
    """Returns the seed of the order of an epoch's examples, for `Dataset.shuffle` in `stream_epochs`; int64 scalar."""
    return example_seed(seed, epoch, 0)[0]  # the same for all positions, and drawn for this seed and epoch alone


def stream_epochs(one_epoch: Callable[[Tensor], tf.data.Dataset], epochs: Dataset) -> Dataset:
    """Chains the batches of epochs, one after the other.

    `model.fit(stream, steps_per_epoch=...)` takes an endless one on from epoch to epoch. A training that is resumed at
    epoch N passes `tf.data.Dataset.counter(N)` and sees what it would have seen.

    Args:
        one_epoch: Function from the epoch's number, an int64 scalar tensor, to the batches of that epoch. It shuffles
            with `order_seed` and `reshuffle_each_iteration=False`.
        epochs: The numbers of the epochs, int64 scalars.
    """

    @tf.autograph.experimental.do_not_convert
    def seeded(epoch: Tensor) -> Dataset:
        # Of the graph of this function alone. `shuffle` would mix TensorFlow's global seed into a seed of its own, and
        # fail on one that is a tensor where the global seed is 0.
        tf.compat.v1.set_random_seed(1)
        return one_epoch(epoch)

    return epochs.flat_map(seeded)
