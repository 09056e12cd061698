"""One label, several heads: the losses and metrics of a model in which every head learns from the same label.

Labels come in either form, integers `(batch,)` or one-hot `(batch, classes)`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.labels import check_labels, check_shares
from keras_inception.network.loss_weights import LossWeight
from keras_inception.rules import ABOVE_0, SHARE, argument, between
from keras_inception.types import Array, Tensor


def _is_one_hot(y_true: Tensor, y_pred: Tensor) -> bool:
    return len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1]


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseCategoricalCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Keras's loss of that name that takes one-hot labels (and any distribution over the classes) as well.

    Args:
        from_logits: Whether the predictions are logits rather than probabilities.
        label_smoothing: Share of each label, in [0, 1), that is spread evenly over all classes; Keras has it for
            one-hot labels alone.

    Input shapes: labels `(batch,)`, `(batch, 1)` or `(batch, classes)`, predictions `(batch, classes)`.

    Reference: Szegedy et al., Rethinking the Inception Architecture for Computer Vision, section 7.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        name: str = "sparse_categorical_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(from_logits=from_logits, name=name, **kwargs)
        self.from_logits = from_logits
        self.label_smoothing = argument("label_smoothing", label_smoothing, SHARE)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not _is_one_hot(y_true, y_pred):
            if not self.label_smoothing:
                return super().call(y_true, y_pred)
            indices = ops.reshape(ops.cast(y_true, "int32"), (-1,))
            y_true = ops.one_hot(indices, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            y_true, y_pred, from_logits=self.from_logits, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_inception")
class DistilledCrossentropy(SparseCategoricalCrossentropy):
    """The loss of an auxiliary head that learns from the labels and from the main head's softmax.

    It is (1 - `distillation`) times the cross-entropy of the labels, and `distillation` times the Kullback-Leibler
    divergence of the head's softmax from the main head's, both at a temperature T, times T squared. The main head does
    not learn from it. Where there is no main head, it is the cross-entropy of the labels.

    Args:
        from_logits: As in `SparseCategoricalCrossentropy`.
        label_smoothing: As in `SparseCategoricalCrossentropy`.
        distillation: Share of the main head's softmax in what is learned, from 0 to 1.
        temperature: What the logits of both heads are divided by, above 0.

    Reference: Zhang et al., Be Your Own Teacher, arXiv:1905.08094, equations 2 and 3, without its loss between maps.
    Hinton et al., Distilling the Knowledge in a Neural Network, arXiv:1503.02531, section 2, for T and its square.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        distillation: float = 0.5,
        temperature: float = 3.0,
        name: str = "distilled_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(from_logits, label_smoothing, name, **kwargs)
        self.distillation = argument("distillation", distillation, between(0, 1))
        self.temperature = argument("distillation_temperature", temperature, ABOVE_0)

    def call(self, y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> Tensor:
        """Returns `(batch,)` from labels, or from a pair of them and the main head's logits, `(batch, classes)`."""
        if not isinstance(y_true, tuple):
            return super().call(y_true, y_pred)
        labels, teacher = y_true
        student = _logits(y_pred, self.from_logits)
        wanted, given = (ops.log_softmax(logits / self.temperature, axis=-1) for logits in (teacher, student))
        divergence = ops.sum(ops.exp(wanted) * (wanted - given), axis=-1)
        return (1 - self.distillation) * super().call(labels, y_pred) + (
            self.distillation * self.temperature**2 * divergence
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distillation": self.distillation, "temperature": self.temperature}


def _logits(y_pred: Tensor, from_logits: bool) -> Tensor:
    """Returns logits from predictions; of probabilities their logarithms, as far down as Keras takes them."""
    return y_pred if from_logits else ops.log(ops.maximum(y_pred, keras.config.epsilon()))


class _TakesOneHotLabels:
    """A sparse metric of Keras that takes one-hot labels as well, and never counts not-a-number as right."""

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        indices = ops.cast(ops.argmax(y_true, axis=-1) if _is_one_hot(y_true, y_pred) else y_true, "int32")
        is_number = ops.logical_not(ops.any(ops.isnan(y_pred), axis=-1, keepdims=True))
        # Of NaN, `argmax` makes the first class. JAX takes -1 for the last one, which then is the least likely.
        indices = ops.where(ops.reshape(is_number, ops.shape(indices)), indices, -1)
        y_pred = ops.where(
            is_number, y_pred, ops.cast(ops.arange(y_pred.shape[-1]) < y_pred.shape[-1] - 1, y_pred.dtype)
        )
        return super().update_state(indices, y_pred, sample_weight)  # type: ignore[misc]  # the metric beside it


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseCategoricalAccuracy(_TakesOneHotLabels, keras.metrics.SparseCategoricalAccuracy):
    """Keras's metric of that name that takes one-hot labels as well."""


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseTopKCategoricalAccuracy(_TakesOneHotLabels, keras.metrics.SparseTopKCategoricalAccuracy):
    """Keras's metric of that name that takes one-hot labels as well."""


# Keras's losses whose labels name classes, or are distributions over them.
CLASS_LOSSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.CategoricalGeneralizedCrossEntropy,
    keras.losses.KLDivergence,
)
CLASS_FUNCTIONS = (
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.categorical_generalized_cross_entropy,
    keras.losses.kl_divergence,
)
# Those whose labels are a share of 0 to 1 for each class, of which several may be true.
SHARE_LOSSES = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.Dice,
    keras.losses.Tversky,
)
SHARE_FUNCTIONS = (
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
    keras.losses.dice,
    keras.losses.tversky,
)


def spread(value: Any, names: Sequence[str], argument: str) -> list[Any]:
    """Returns a list with one entry per head from a value for all of them, a list, or a dict by output names."""
    if isinstance(value, dict):
        unknown = set(value) - set(names)
        if unknown or (argument in ("y", "loss_weights") and len(value) < len(names)):
            raise InputError(
                f"`{argument}` by output names must be given for {names}. "
                f"Received: {argument} for {sorted(map(str, value))}"
            )
        return [value.get(name) for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise InputError(
                f"`{argument}` must be given once for all heads or once per head, {len(names)} times for {names}. "
                f"Received: a {type(value).__name__} of {len(value)}"
            )
        return list(value)
    return [value] * len(names)


def metrics_per_head(metrics: Any, names: Sequence[str], argument: str) -> Any:
    """Returns metrics as Keras wants them: for several heads a list of lists, with objects of its own for each head."""
    if metrics is None or isinstance(metrics, dict) or len(names) == 1:
        return metrics
    if isinstance(metrics, (list, tuple)) and any(isinstance(metric, (list, tuple)) for metric in metrics):
        return spread(metrics, names, argument)
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]

    def copy(metric: Any) -> Any:
        return metric.from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return [[copy(metric) for metric in metrics] for _ in names]


class HeadLosses:
    """The losses of all heads: their weighted sum for the gradient and, for the log, an exact mean of each.

    Args:
        names: The names of the outputs.
        losses: The loss of each head; None for one that does not learn.
        loss_weights: The weight of each, a number or a schedule over the steps of a training; None for 1.
        compiled_metrics: The metrics that `compile` was given beside them.
        directions: What tells Keras's callbacks which of all these rise and which fall.
    """

    def __init__(
        self,
        names: Sequence[str],
        losses: Sequence[Any],
        loss_weights: Sequence[LossWeight] | None,
        compiled_metrics: Any = None,
        directions: Any = None,
    ):
        self.compiled_metrics = compiled_metrics
        self.directions = directions
        self.losses: list[keras.losses.Loss | None] = [_resolve_loss(loss) for loss in losses]
        self.weights: Sequence[LossWeight] = [1.0] * len(names) if loss_weights is None else loss_weights
        self._teacher = list(names).index(MAIN) if MAIN in names else None
        # A single head's loss is the model's loss, which Keras logs already.
        learning = [name for name, loss in zip(names, self.losses) if loss is not None]
        self.metrics: list[keras.metrics.Mean] = []
        if len(names) > 1:
            self.metrics = [keras.metrics.Mean(name=f"{name}_loss") for name in learning]

    @property
    def metric_names(self) -> list[str]:
        """The names of the metrics that `compile` was given."""
        return [
            metric if isinstance(metric, str) else getattr(metric, "name", None) or metric.__name__
            for metric in keras.tree.flatten(self.compiled_metrics)
            if metric is not None
        ]

    def fitting(self, metrics: Any) -> Any:
        """Returns metrics of which "accuracy" takes labels in either form where the losses do.

        Keras would choose one of its metrics by the form of the first batch.
        """
        if not all(isinstance(loss, (SparseCategoricalCrossentropy, type(None))) for loss in self.losses):
            return metrics
        names = ("accuracy", "acc")
        return keras.tree.map_structure(lambda m: SparseCategoricalAccuracy(m) if m in names else m, metrics)

    def label_shapes(self, classes: int, metrics: Any) -> frozenset[tuple[int, ...] | None]:
        """Returns the shapes of one label, `()` or `(classes,)`, that the losses take; None where any other would do.

        Args:
            classes: The number of classes.
            metrics: The metrics that get the same labels.
        """
        ours = all(isinstance(m, (_TakesOneHotLabels, type(None))) for m in keras.tree.flatten(metrics))
        shapes: set[tuple[int, ...] | None] = set()
        for loss in self.losses:
            function = getattr(loss, "function", None)
            if isinstance(loss, SparseCategoricalCrossentropy):  # takes both
                shapes.add(() if ours else None)
            elif isinstance(loss, keras.losses.SparseCategoricalCrossentropy) or function is CLASS_FUNCTIONS[0]:
                shapes.add(())
            elif isinstance(loss, CLASS_LOSSES + SHARE_LOSSES) or function in CLASS_FUNCTIONS + SHARE_FUNCTIONS:
                shapes.add((classes,))
            elif loss is not None:
                shapes.add(None)
        return frozenset(shapes)

    def total(
        self,
        labels: Sequence[Tensor],
        predictions: Sequence[Tensor],
        sample_weights: Sequence[Tensor | None],
        step: Tensor = 0,
    ) -> Tensor:
        """Returns the weighted sum of the losses, a scalar, from one entry a head.

        Args:
            labels: For each head, as in `update_metrics`.
            predictions: For each head.
            sample_weights: For each head.
            step: How many steps were taken, which a schedule of a weight counts.
        """
        heads = zip(self.losses, self.weights, self._targets(labels, predictions), predictions, sample_weights)
        found = []
        for loss, weight, y, y_pred, w in heads:
            if loss is not None:
                value = loss(y, y_pred, w)
                found.append(value * (ops.cast(weight(step), value.dtype) if callable(weight) else weight))
        return sum(found)

    def update_metrics(
        self, labels: Sequence[Tensor], predictions: Sequence[Tensor], sample_weights: Sequence[Tensor | None]
    ) -> None:
        """Adds a batch to the mean of each head's loss.

        Args:
            labels: For each head, `(batch,)` or `(batch, classes)`, as its loss takes them.
            predictions: For each head, `(batch, classes)`.
            sample_weights: For each head, `(batch,)` or `(batch, 1)`, or None.
        """
        labels = [ops.convert_to_tensor(y) if loss is not None else y for loss, y in zip(self.losses, labels)]
        heads = zip(self.losses, self._targets(labels, predictions), predictions, sample_weights)
        learning = [(loss, y, y_pred, weight) for loss, y, y_pred, weight in heads if loss is not None]
        for metric, (loss, y, y_pred, sample_weight) in zip(self.metrics, learning):
            values = loss.call(y, y_pred)  # (batch,), not reduced
            if sample_weight is not None:
                values = values * ops.reshape(ops.cast(sample_weight, values.dtype), ops.shape(values))
            metric.update_state(values)

    def _targets(self, labels: Sequence[Tensor], predictions: Sequence[Tensor]) -> list[Any]:
        """Returns what each head learns from: labels, or a pair of them and the main head's logits."""
        if self._teacher is None or not any(map(_is_distilled, self.losses)):
            return list(labels)
        is_logits = getattr(self.losses[self._teacher], "from_logits", False)
        teacher = ops.stop_gradient(_logits(predictions[self._teacher], is_logits))
        return [
            (y, teacher) if _is_distilled(loss) and index != self._teacher else y
            for index, (loss, y) in enumerate(zip(self.losses, labels))
        ]


class _FunctionLoss(keras.losses.Loss):
    """A loss given as a function of labels and predictions."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        # The name opens a name scope, which "<lambda>" may not.
        super().__init__(name=getattr(function, "__name__", "loss").strip("<>"))
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred)


class _SumOfLosses(keras.losses.Loss):
    """Several losses of one head, added."""

    def __init__(self, losses: Sequence[keras.losses.Loss]):
        super().__init__(name="sum")
        self.losses = losses

    def call(self, y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> Tensor:
        """Returns `(batch,)` from labels, or from a pair of them and the main head's logits, for those distilled."""
        labels = y_true[0] if isinstance(y_true, tuple) else y_true
        return sum(loss.call(y_true if _is_distilled(loss) else labels, y_pred) for loss in self.losses)


def _is_distilled(loss: keras.losses.Loss | None) -> bool:
    """Returns whether a loss, or one of several that are added, learns from the main head."""
    several = loss.losses if isinstance(loss, _SumOfLosses) else [loss]
    return any(isinstance(each, DistilledCrossentropy) for each in several)


def check_labels_of(loss: keras.losses.Loss | None, labels: Array, classes: int) -> None:
    """Refuses labels that a head's loss cannot learn from; of a loss that is not Keras's those that are not finite."""
    function = getattr(loss, "function", None)
    if isinstance(loss, _SumOfLosses):
        for each in loss.losses:
            check_labels_of(each, labels, classes)
    elif isinstance(loss, CLASS_LOSSES) or function in CLASS_FUNCTIONS:
        check_labels(labels, classes, ignore_class=getattr(loss, "ignore_class", None))
    elif loss is not None:
        check_shares(labels, bounded=isinstance(loss, SHARE_LOSSES) or function in SHARE_FUNCTIONS)


def _resolve_loss(loss: Any) -> keras.losses.Loss | None:
    if isinstance(loss, (list, tuple)):  # several losses of one head are added
        several = [each for each in map(_resolve_loss, loss) if each is not None]
        return _SumOfLosses(several) if len(several) > 1 else (several or [None])[0]
    if loss in ("sparse_categorical_crossentropy", "categorical_crossentropy", "crossentropy", "ce"):
        return SparseCategoricalCrossentropy()
    loss = keras.losses.get(loss)
    return loss if loss is None or isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)
