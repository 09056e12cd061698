"""What this package uses of Keras, TensorFlow and KerasTuner though they do not document it.

The docstring of each function and class says "Why:" it is needed and "Since:" which version the name is there;
tests/test_undocumented.py fails when it is gone. No other file of the package reads such a name: an attribute with a
leading underscore, `.src`, a match on one of their messages or on a `__qualname__`.

The libraries are imported within the functions: on another backend there is no TensorFlow.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class OwnCollectives:
    """A `tf.distribute.MirroredStrategy` whose communication is that of no other one in its process.

    Why: each strategy numbers what its replicas exchange from 1 on. A second training in the process, as after an
    interruption, meets the first one's numbers, and ends where their shapes differ ("Shape mismatch in the collective
    instance").
    Since: TensorFlow 2.4, `_collective_key_base` of `MirroredStrategy`, after which groups of devices are numbered.
    """

    next_base: int = 2**10

    def __init__(self, *args: Any) -> None:
        self._collective_key_base = OwnCollectives.next_base
        OwnCollectives.next_base += 2**10
        super().__init__(*args)


def is_of_late_joining(error: RuntimeError) -> bool:
    """Returns whether an error says that workers are joined after TensorFlow was used.

    Why: TensorFlow has no class for it, and the way out must be said.
    Since: TensorFlow 2.4.
    """
    return "program startup" in str(error)


def is_of_collective(error: Exception) -> bool:
    """Returns whether an `InternalError` of TensorFlow is of the communication between workers.

    Why: TensorFlow tells the other workers of a lost one with errors of many classes; this one has other causes too.
    Since: TensorFlow 2.4.
    """
    return "ollective" in str(error)


def workers_that_pack(strategy: Any, cluster_resolver: Any, communication_options: Any) -> Any:
    """Returns what a `MultiWorkerMirroredStrategy` consists of, which exchanges gradients in its options' packs.

    Why: by TensorFlow's own, `ReplicaContext.all_reduce`, through which Keras sums gradients, packs as the options of
    the call say, and Keras gives none: all gradients become one pack, of which nothing leaves before all is computed.
    Since: TensorFlow 2.4, `CollectiveAllReduceExtended` and its `_replica_ctx_all_reduce`.
    """
    from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

    class Extended(CollectiveAllReduceExtended):
        def _replica_ctx_all_reduce(self, reduce_op: Any, value: Any, options: Any = None) -> Any:
            merged = communication_options if options is None else communication_options.merge(options)
            return super()._replica_ctx_all_reduce(reduce_op, value, merged)

    return Extended(strategy, cluster_resolver=cluster_resolver, communication_options=communication_options)


def plain_message(error: Exception) -> str:
    """Returns the message of an error in one line, without the names of TensorFlow's nodes.

    Why: TensorFlow's names of nodes hide what went wrong, and it has no message without them.
    Since: TensorFlow 2.4.
    """
    import re

    return " ".join(re.sub(r"\[\[\{\{.*?\}\}\]\]|\{\{.*?\}\}|\[Op:.*", "", str(error)).split())[:300]


def system_error(error: Exception) -> OSError | None:
    """Returns the failure of the system that an error of TensorFlow reports, with number and file; None for others.

    Why: its classes tell neither a full disk from too little memory nor a missing file from a missing operation.
    Since: TensorFlow 2.4, whose messages are the file, `;` and the system's words.
    """
    import errno
    import os
    import re
    import sys

    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    numbers = {os.strerror(number): number for number in errno.errorcode}
    begin, words = r"(?:^|\n|\}\}|: Iterator::[\w:]*: )", "|".join(map(re.escape, numbers))
    found = re.search(rf"(?:.*{begin})? ?([^\n]*); ({words})", error.message)
    return OSError(numbers[found[2]], found[2], found[1]) if found else None


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function as one node of each TensorFlow graph that calls it, traced once.

    Why: TensorFlow copies a `tf.function` into the graph that calls it, and sends through each node of a branch that is
    not taken that it is not: what few images need would cost all of them, and each epoch's start.
    Since: TensorFlow 2.12, the attribute `_noinline` of `experimental_attributes`.

    Called eagerly it is the function itself: of one call, the trace would take longer.
    """
    import functools

    import tensorflow as tf

    traced = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return (function if tf.executing_eagerly() else traced)(*arguments)

    return call


def ignore_missing_optimizers() -> None:
    """Keeps Keras from warning that it loads no state of an optimizer from a `.keras` file.

    Why: it says so of every network that was compiled and never trained, in a warning without a class of its own; no
    command goes on with the optimizer of a `.keras` file.
    Since: Keras 3.0.
    """
    import warnings

    warnings.filterwarnings("ignore", "Skipping variable loading for optimizer", UserWarning)


class BuildsWithoutReading:
    """A `keras.Model` whose metrics are built without data of the user, and once; on TensorFlow by `build_metrics`.

    Why: before it trains or evaluates, Keras draws a batch of the data to build what `compile` was given, and forgets
    it: a dataset is read twice, and a source that can be read once loses a batch. It does so in each call, since a
    model that computes its own loss leaves Keras's unbuilt.
    Since: Keras 3.6, `_symbolic_build` of all trainers, `_maybe_symbolic_build` of TensorFlow's under a strategy, and
    `_compile_metrics`.

    The type checker cannot know the `keras.Model` that stands beside it.
    """

    def symbolic_batch(self) -> Any:
        """Returns symbolic tensors for a batch of images and labels; None where their form is not known."""

    def _symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:
        if getattr(self._compile_metrics, "built", True):  # type: ignore[attr-defined]
            if self.optimizer is not None and not self.optimizer.built:  # type: ignore[attr-defined]
                self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]
            return
        batch = self.symbolic_batch() if data_batch is None else data_batch
        super()._symbolic_build(iterator, batch)  # type: ignore[misc]

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:
        if iterator is None:
            super()._maybe_symbolic_build(data_batch=data_batch)  # type: ignore[misc]

    def build_metrics(self, batch: object) -> None:
        """Builds the metrics under a strategy, for `(images, labels, sample weights)` as those of one replica."""
        super()._maybe_symbolic_build(data_batch=batch)  # type: ignore[misc]


def directions(
    model: Any, logged: Callable[[], Iterable[str]], others: Callable[[Iterable[str]], Mapping[str, str]]
) -> Any:
    """Returns a metric without a value, in which Keras's callbacks find the direction of all that a model logs.

    Why: `EarlyStopping` and its like look for it in lists of Keras's own class alone, in which the metrics of all heads
    have one name: they refuse `val_main_accuracy` without `mode=`.
    Since: Keras 3.0, `MetricsList` and `Metric._direction`.

    Args:
        model: A compiled model; its metrics are looked up when a callback asks.
        logged: Returns the names in the logs, in the order of the metrics. A callback of one worker may ask, so no
            result is computed: that would wait for the other workers.
        others: Returns from names in the logs other names for some of them.
    """
    from types import SimpleNamespace

    import keras
    from keras.src.trainers.compile_utils import MetricsList

    class Directions(MetricsList):
        def __init__(self) -> None:
            keras.metrics.Metric.__init__(self, name="directions")

        @property
        def metrics(self) -> list[SimpleNamespace]:
            lists = [getattr(metric, "metrics", [metric]) for metric in model.metrics if metric is not self]
            found: dict[str, Any] = dict(zip(logged(), [each for metrics in lists for each in metrics]))
            found |= {other: found[name] for other, name in others(found).items()}
            for name, each in found.items():
                # The losses of the heads are plain means, of which Keras says no direction.
                found[name] = getattr(each, "_direction", "down" if name.endswith("_loss") else None)
            return [SimpleNamespace(name=name, _direction=way) for name, way in found.items() if way is not None]

        def result(self) -> dict[str, Any]:
            return {}

        def reset_state(self) -> None:
            pass

    return Directions()
