"""Training on several devices and several machines: TensorFlow's strategies, with plain `fit` in Keras 3.

    strategy = get_strategy()  # before TensorFlow does anything else
    with strategy.scope():
        model = ...  # any Keras model, built and compiled here
    model.fit(dataset)  # batches of the global size: every replica takes its part

`MirroredStrategy` and `MultiWorkerMirroredStrategy` are TensorFlow's, and any Keras model can `fit` under them. That an
`InceptionModel` gets the weights of one device from any batches is done by its own step and layers: see
`MultiWorkerMirroredStrategy`.
"""

import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.network.tensorflow_step import check_trainable
from keras_inception.training.config import STRATEGIES
from keras_inception.training.distribute.batches import batch
from keras_inception.training.distribute.cluster import (
    WorkerLostError,
    agree,
    is_chief,
    lost_workers,
    resolver_of_environment,
    worker_count,
    worker_index,
)
from keras_inception.training.distribute.strategies import MirroredStrategy, MultiWorkerMirroredStrategy
from keras_inception.types import Strategy

__all__ = [
    "STRATEGIES",
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "WorkerLostError",
    "agree",
    "batch",
    "check_trainable",
    "get_strategy",
    "is_chief",
    "lost_workers",
    "worker_count",
    "worker_index",
]


def get_strategy(name: str = "auto") -> Strategy:
    """Returns a strategy for training; call it before TensorFlow does anything else.

    Args:
        name: `"one"` is TensorFlow's default strategy: one device. `"mirrored"` trains on all GPUs of this machine, or
            on the logical CPU devices where there is no GPU. `"multi-worker"` joins the workers that `TF_CONFIG` or
            Slurm names and waits for all of them. `"auto"` is `"multi-worker"` where these name several workers,
            `"mirrored"` where this machine has several GPUs, and `"one"` elsewhere.

    Returns:
        A `tf.distribute.Strategy`. Build and compile the model inside its `scope()`.

    Raises:
        InputError: The name is unknown, `TF_CONFIG` or a variable of Slurm is malformed, `"multi-worker"` is given
            without a cluster, or several workers are joined after TensorFlow was used.
    """
    if name not in STRATEGIES:
        raise InputError(f"`name` must be one of {STRATEGIES}. Received: name={name!r}")
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return MirroredStrategy()
    resolver = resolver_of_environment()
    if name == "multi-worker":
        return MultiWorkerMirroredStrategy(resolver)
    if resolver is not None and worker_count(resolver) > 1:
        return MultiWorkerMirroredStrategy(resolver)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return MirroredStrategy()
    return tf.distribute.get_strategy()
