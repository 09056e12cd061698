"""What a layer may ask about the replicas that run one step together: how many, which one, and their sum.

On one device, and on every backend but TensorFlow, there is one replica.
"""

from typing import Any

import keras

from keras_inception.types import Tensor


def replica_count() -> int:
    """Returns the number of replicas that run the step being traced; 1 outside of a replica's step."""
    context = _context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_index() -> Tensor:
    """Returns which of the replicas this is, from 0 on: a tensor under several, the number 0 under one."""
    context = _context()
    return 0 if context is None else context.replica_id_in_sync_group


def sum_over_replicas(x: Tensor) -> Tensor:
    """Returns the sum of `x` over all replicas, the same on each; `x` itself where there is one."""
    if replica_count() == 1:
        return x
    import tensorflow as tf

    return _context().all_reduce(tf.distribute.ReduceOp.SUM, x)


def mean_over_replicas(logs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the mean of each of some scalars over all replicas, the same on each, which are exchanged together."""
    if replica_count() == 1:
        return logs
    import tensorflow as tf

    dtype = keras.backend.result_type(*(value.dtype.name for value in logs.values()))
    values = [tf.cast(value, dtype) for value in logs.values()]
    return dict(zip(logs, _context().all_reduce(tf.distribute.ReduceOp.MEAN, values)))


def _context() -> Any:
    """Returns TensorFlow's replica context; None where there is none, as in the scope in which a model is built."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()
