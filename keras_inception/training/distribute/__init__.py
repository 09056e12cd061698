"""Training on several devices and several machines: TensorFlow's strategies, with plain `fit` in Keras 3.

    strategy = get_strategy()  # before TensorFlow does anything else
    with strategy.scope():
        model = ...  # any Keras model, built and compiled here
    model.fit(dataset)  # batches of the global size: every replica takes its part

`MirroredStrategy` and `MultiWorkerMirroredStrategy` are TensorFlow's, and any Keras model can `fit` under them. That an
`InceptionModel` gets the weights of one device from any batches is done by its own step and layers: see
`MultiWorkerMirroredStrategy`.
"""

from keras_inception.network.tensorflow_step import check_trainable
from keras_inception.training.config import STRATEGIES
from keras_inception.training.distribute.batches import batch
from keras_inception.training.distribute.cluster import (
    agree,
    is_chief,
    lost_workers,
    worker_count,
    worker_index,
)
from keras_inception.training.distribute.strategies import (
    MirroredStrategy,
    MultiWorkerMirroredStrategy,
    get_strategy,
)
from keras_inception.training.interruption import WorkerLostError

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
