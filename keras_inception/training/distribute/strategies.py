"""TensorFlow's mirrored strategies, with what plain `fit` of Keras 3 needs of them."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_inception import undocumented
from keras_inception.errors import InputError
from keras_inception.training.config import STRATEGIES
from keras_inception.training.distribute import batches, cluster
from keras_inception.training.distribute.meeting import TIMEOUT_SECONDS, meet
from keras_inception.types import Strategy

# Gradients are exchanged in packs of so many bytes. So two workers on loopback exchange 53 MB in 0.16 s, and in 0.25 s
# in TensorFlow's one pack (medians of nine; with 4 and 16 MiB 0.15 and 0.19 s).
PACK_BYTES: int = 2**23


class _ForKeras(tf.distribute.Strategy):
    """What the two strategies have in common: how Keras's batches are split, and its values reduced."""

    def reduce(self, reduce_op: Any, value: Any, axis: int | None) -> Any:
        """Reduces a value over the replicas; see `tf.distribute.Strategy.reduce`.

        Keras 3.15 also asks for two things that TensorFlow does not define. For the mean of a nested structure without
        `axis`, its first batch, of which it wants the shapes alone, this returns the first replica's part. For a scalar
        with `axis=0`, a metric of this step, it reduces over the replicas.
        """
        if tf.nest.is_nested(value):
            if axis is None and reduce_op in ("MEAN", tf.distribute.ReduceOp.MEAN):
                return tf.nest.map_structure(lambda part: self.experimental_local_results(part)[0], value)
            return tf.nest.map_structure(lambda part: self.reduce(reduce_op, part, axis), value)
        if axis == 0 and self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        """Splits batches of the global size over the replicas; see `tf.distribute.Strategy` and `batch`.

        Any batch is split, also one that does not divide evenly or holds fewer examples than there are replicas: the
        replicas' parts differ by one example at most.
        """
        if self.num_replicas_in_sync == 1 or not batches.can_split(dataset):
            return super().experimental_distribute_dataset(dataset, options)
        return self.distribute_datasets_from_function(lambda context: batches.split(dataset, context), options)


class MirroredStrategy(_ForKeras, undocumented.OwnCollectives, tf.distribute.MirroredStrategy):
    """`tf.distribute.MirroredStrategy` for Keras 3: several devices of one machine train as one.

    See `MultiWorkerMirroredStrategy` for what it does for any Keras model and for an `InceptionModel`. Without
    `devices` it takes all GPUs, or where there are none all logical CPU devices.

    Args:
        devices: Names of devices, such as `["GPU:0", "GPU:1"]`.
        cross_device_ops: See `tf.distribute.MirroredStrategy`.
    """

    def __init__(self, devices: Sequence[str] | None = None, cross_device_ops: Any = None):
        if devices is None and not tf.config.list_physical_devices("GPU"):
            devices = [f"CPU:{index}" for index in range(len(tf.config.list_logical_devices("CPU")))]
        super().__init__(devices, cross_device_ops)


class MultiWorkerMirroredStrategy(_ForKeras, tf.distribute.MultiWorkerMirroredStrategy):
    """`tf.distribute.MultiWorkerMirroredStrategy` for Keras 3: the devices of several machines train as one.

    Under this one any Keras model that is built and compiled inside `scope()` can `fit`, `evaluate` and `predict`, with
    the weights of one device as long as it has neither dropout nor batch normalization and batches divide evenly among
    the replicas. Workers whose TensorFlow was not seeded take one seed from the chief, so that all shuffle alike.

    An `InceptionModel` with the layers of this package has them always: every example counts once and weighs the same,
    however a batch divides (a training batch of fewer examples than replicas, which only the end of the data can bring,
    is left out); `BatchNormalization` takes its statistics over all replicas; `Dropout` draws on every replica for
    itself; and what does not work under a strategy is refused before the first step, see `check_trainable`. Nothing of
    this is written into the model: its `.keras` file is that of one device.

    Args:
        cluster_resolver: Names the workers; by default from `TF_CONFIG`, or else from Slurm.
        communication_options: See `tf.distribute.MultiWorkerMirroredStrategy`; by default packs of 8 MiB.
        timeout_seconds: For how long, in wall-clock time, this worker waits for the others; SIGINT and SIGTERM end it.
        report: Called with a message that says for whom it waits; by default Python's warning.

    Raises:
        InputError: No resolver is given and there is no `TF_CONFIG` and no Slurm, or it is malformed; TensorFlow was
            used before; or this worker's port is in use.
        WorkerLostError: The others did not come in time.
    """

    def __init__(
        self,
        cluster_resolver: Any = None,
        communication_options: Any = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        report: Callable[[str], None] = warnings.warn,
    ):
        cluster_resolver = cluster_resolver or cluster.resolver_of_environment()
        if cluster_resolver is None:
            raise InputError(
                "Several workers must know each other, through the variable `TF_CONFIG` or through Slurm's (started "
                "with `srun`). Set it on every worker, or use `MirroredStrategy` for the devices of one machine. "
                "Received: no TF_CONFIG and no SLURM_STEP_NUM_TASKS above 1"
            )
        if communication_options is None:
            communication_options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=PACK_BYTES)
        if cluster.worker_addresses(cluster_resolver):
            meet(cluster_resolver, timeout_seconds, report)
        try:
            with cluster.lost_workers(cluster_resolver):
                workers = undocumented.workers_that_pack(self, cluster_resolver, communication_options)
                tf.distribute.Strategy.__init__(self, workers)
        except RuntimeError as error:
            if not undocumented.is_of_late_joining(error):
                raise
            raise InputError(
                "Several workers must be joined before TensorFlow does anything else in the process, because that "
                "fixes its devices. Create the strategy first, then data, models and seeds."
            ) from None
        if cluster.worker_count(self) > 1:
            self._agree_on_a_seed()

    def _agree_on_a_seed(self) -> None:
        with tf.Graph().as_default():
            unseeded, _ = tf.compat.v1.get_seed(0)  # what TensorFlow takes where no global seed was set
        if tf.compat.v1.get_seed(0)[0] != unseeded:
            return
        own = int.from_bytes(os.urandom(4), "little") >> 1 if cluster.is_chief(self) else 0
        seed = self.reduce("SUM", self.run(lambda: tf.constant(own, tf.int64)), axis=None)
        tf.random.set_seed(int(seed) // len(self.extended.worker_devices))


def get_strategy(
    name: str = "auto", *, timeout_seconds: float = TIMEOUT_SECONDS, report: Callable[[str], None] = warnings.warn
) -> Strategy:
    """Returns a strategy for training; call it before TensorFlow does anything else.

    Args:
        name: `"one"` is TensorFlow's default strategy: one device. `"mirrored"` trains on all GPUs of this machine, or
            on the logical CPU devices where there is no GPU. `"multi-worker"` joins the workers that `TF_CONFIG` or
            Slurm names and waits for all of them. `"auto"` is `"multi-worker"` where these name several workers,
            `"mirrored"` where this machine has several GPUs, and `"one"` elsewhere.
        timeout_seconds: For how long, in wall-clock time, a worker waits for the others.
        report: Called with a message that says for whom a worker waits; by default Python's warning.

    Returns:
        A `tf.distribute.Strategy`. Build and compile the model inside its `scope()`.

    Raises:
        InputError: The name is unknown, `TF_CONFIG` or a variable of Slurm is malformed, `"multi-worker"` is given
            without a cluster, several workers are joined after TensorFlow was used, or a worker's port is in use.
        WorkerLostError: Other workers did not come in time.
    """
    if name not in STRATEGIES:
        raise InputError(f"`name` must be one of {STRATEGIES}. Received: name={name!r}")
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return MirroredStrategy()
    resolver = cluster.resolver_of_environment()
    if name == "multi-worker" or (resolver is not None and cluster.worker_count(resolver) > 1):
        return MultiWorkerMirroredStrategy(resolver, timeout_seconds=timeout_seconds, report=report)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return MirroredStrategy()
    return tf.distribute.get_strategy()
