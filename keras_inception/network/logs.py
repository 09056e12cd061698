"""The names of what Keras logs of each head, such as `val_aux1_accuracy`: read, known by other names, and to Keras."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import keras

from keras_inception.network.losses import (
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
)
from keras_inception.types import Logs

T = TypeVar("T")

# What `compile_model` logs of each head, by name.
BY_NAME = {
    "loss": SparseCategoricalCrossentropy,
    "accuracy": SparseCategoricalAccuracy,
    "top_5_accuracy": SparseTopKCategoricalAccuracy,
}
# What Keras calls its own metrics of classes in the logs.
KERAS_BY_NAME = {
    "acc": keras.metrics.SparseCategoricalAccuracy,
    "categorical_accuracy": keras.metrics.CategoricalAccuracy,
    "categorical_crossentropy": keras.metrics.CategoricalCrossentropy,
    "sparse_categorical_accuracy": keras.metrics.SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": keras.metrics.SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": keras.metrics.SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": keras.metrics.TopKCategoricalAccuracy,
}


def name_logs(heads: Iterable[str]) -> None:
    """Makes Keras know the logs of heads by their names, by which KerasTuner tells the direction of a text objective.

    KerasTuner asks before it builds the first model. Those of the heads that `GoogLeNet` builds are known from the
    import on, and so is `top_5_accuracy`, the main head's.
    """
    known = {f"{head}_{log}": kind for head in heads for log, kind in {**KERAS_BY_NAME, **BY_NAME}.items()}
    keras.saving.get_custom_objects().update({**known, "top_5_accuracy": SparseTopKCategoricalAccuracy})


def logs_by_head(logs: Mapping[str, T], names: Sequence[str], prefix: str = "") -> dict[str, dict[str, T]]:
    """Sorts Keras's logs by head.

    Args:
        logs: Dict of the names that Keras gives to losses and metrics, such as `main_accuracy`.
        names: The names of the outputs. With a single one, Keras does not write it before its metrics.
        prefix: What stands before every name, such as `"val_"`.

    Returns:
        A dict by output name of dicts by metric.
    """
    own = {key.removeprefix(prefix): value for key, value in logs.items() if key.startswith(prefix)}
    if len(names) == 1:
        return {names[0]: own}
    found: dict[str, dict[str, T]] = {name: {} for name in names}
    for key, value in own.items():
        if head := _head_of(key, names):
            found[head][key.removeprefix(f"{head}_")] = value
    return found


def _head_of(log: str, names: Sequence[str]) -> str:
    """Returns the head that a log begins with; of `aux` and `aux_1`, which both may, the longer name."""
    return max((name for name in names if log.startswith(f"{name}_")), key=len, default="")


def other_names(logs: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Returns by what other names the logs of the first head are known: `{"accuracy": "main_accuracy"}`.

    Of several heads it is the name without the head's, but for the loss, which is that of the model; of a single one,
    of which Keras logs just that, it is the name with the head's.

    Args:
        logs: The names in the logs.
        names: The names of the outputs.
    """
    start, found = f"{names[0]}_", {}
    for name in logs:
        prefix = "val_" if name.startswith("val_") else ""
        metric = name.removeprefix(prefix)
        if len(names) > 1 and _head_of(metric, names) == names[0] and metric != f"{start}loss":
            found[prefix + metric.removeprefix(start)] = name
        elif len(names) == 1 and not metric.startswith(start):
            found[prefix + start + metric] = name
    return found


class OtherNames(keras.callbacks.Callback):
    """Adds `other_names` to the logs of each epoch, for the callbacks after it and for the history."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs |= {other: logs[name] for other, name in other_names(logs, self.model.output_names).items()}
