"""Batches: each worker's own part of the data, and each replica's part of a batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.training.distribute.cluster import worker_count, worker_index
from keras_inception.types import Dataset, Strategy


def batch(
    examples: Dataset,
    batch_size: int,
    decode: Callable[..., Any] | None = None,
    *,
    count: int | None = None,
    strategy: Strategy | None = None,
) -> Dataset:
    """Batches examples for training or evaluation, on each worker those of its own.

    The workers' batches number k together are the global batch number k: examples are dealt out to the workers one by
    one, so each worker decodes only its own. All workers must see the same examples in the same order, so a shuffle
    needs a seed. On one worker these are ordinary batches.

    Args:
        examples: `tf.data.Dataset` of single examples, not decoded where that is costly, shuffled with a seed.
        batch_size: Examples per step over all workers, at least the number of replicas.
        decode: A function from what `examples` holds to what the model wants, such as `(image, label)`.
        count: The number of examples, where the dataset itself cannot tell; below 0 if nobody can.
        strategy: A strategy; by default the current one.

    Returns:
        A `tf.data.Dataset` for `fit` and `evaluate` under that strategy. With several workers the order of `predict`'s
        rows would be another than that of the examples. Not to be batched or sharded again: its auto-shard policy is
        OFF, which tells our strategies that its batches are this worker's part.

    Raises:
        InputError: The batch is smaller than the number of replicas.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    workers, worker = worker_count(strategy), worker_index(strategy)
    if batch_size < strategy.num_replicas_in_sync:
        raise InputError(
            "`batch_size` must be at least the number of replicas, or some would have nothing to do. Use larger "
            f"batches or fewer devices. Received: batch_size={batch_size}, {strategy.num_replicas_in_sync} replicas"
        )
    count = int(examples.cardinality()) if count is None else count
    if workers > 1:
        examples = _every(examples, lambda index: index % batch_size % workers == worker)
    if decode is not None:
        examples = examples.map(decode, tf.data.AUTOTUNE)
    batches = examples.batch(-(-(batch_size - worker) // workers))
    if workers == 1:
        return batches
    if count >= 0:
        if 0 < count % batch_size <= worker:  # nothing of the last batch is this worker's, and it must take part
            batches = batches.concatenate(_empty(batches.element_spec))
        batches = batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)


def _every(examples: Dataset, is_own: Callable[[Any], Any]) -> Dataset:
    return examples.enumerate().filter(lambda index, _: is_own(index)).map(lambda _, example: example)


def _empty(spec: Any) -> Dataset:
    return tf.data.Dataset.from_tensors(
        tf.nest.map_structure(lambda leaf: tf.zeros([0, *(size or 0 for size in leaf.shape[1:])], leaf.dtype), spec)
    )


def can_split(dataset: Any) -> bool:
    """Returns whether a dataset holds batches of dense tensors, which `split` knows how to split."""
    if not isinstance(dataset, tf.data.Dataset):
        return False
    # What is None in every batch, such as sample weights, is no tensor to split.
    leaves = [leaf for leaf in tf.nest.flatten(dataset.element_spec) if not leaf.is_compatible_with(None)]
    return bool(leaves) and all(isinstance(leaf, tf.TensorSpec) and leaf.shape.rank != 0 for leaf in leaves)


def split(dataset: Dataset, context: Any) -> Dataset:
    """Returns the parts of every batch for the replicas of this worker, one after the other.

    Args:
        dataset: `tf.data.Dataset` of batches of the global size; with the auto-shard policy OFF and several workers, of
            this worker's part.
        context: The `tf.distribute.InputContext` of this worker.

    Returns:
        A `tf.data.Dataset` with as many elements for each batch as this worker has replicas. Parts differ by one
        example at most, and some are empty where there are fewer examples than replicas.
    """
    workers = context.num_input_pipelines
    local = context.num_replicas_in_sync // workers
    policy = dataset.options().experimental_distribute.auto_shard_policy
    if workers > 1 and policy == tf.data.experimental.AutoShardPolicy.OFF:
        parts, own = local, list(range(local))
    else:
        # Keras puts what the replicas predict together in this order: the first one of each worker, the second ones.
        parts = workers * local
        own = [replica * workers + context.input_pipeline_id for replica in range(local)]
    static = _static_part(dataset.element_spec, parts, whole=parts == workers * local)
    nested = isinstance(dataset.element_spec, tuple)

    def parts_of(*arguments: Any) -> Dataset:
        element = arguments if nested else arguments[0]
        size = tf.shape(tf.nest.flatten(element)[0], tf.int64)[0]

        def part(index: Any) -> Any:
            rows = slice(-(-size * index // parts), -(-size * (index + 1) // parts))  # the first ones get what is over
            return tf.nest.map_structure(lambda x: _rows(x, rows, static), element)

        return tf.data.Dataset.from_tensor_slices(tf.constant(own, tf.int64)).map(part)

    return dataset.flat_map(parts_of).prefetch(local)


def _rows(x: Any, rows: slice, static: int | None) -> Any:
    if not isinstance(x, tf.Tensor):
        return x
    part = x[rows]
    part.set_shape([static, *part.shape[1:]])
    return part


def _static_part(spec: Any, parts: int, *, whole: bool) -> int | None:
    """Returns the number of examples of every part where it is always the same, else None."""
    size = tf.nest.flatten(spec)[0].shape[0]
    return size // parts if whole and size is not None and size % parts == 0 else None
