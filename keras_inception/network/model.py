"""The model whose heads all learn from the same label."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_inception import architectures
from keras_inception.architectures import Architecture
from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.labels import check_labels
from keras_inception.network.preprocess import check_mode
from keras_inception.network.replicas import replica_count
from keras_inception.types import Tensor

if keras.backend.backend() == "tensorflow":
    from keras_inception.network.tensorflow_step import TensorFlowStep as Step
else:
    Step = keras.Model  # type: ignore[misc]  # Keras's own step; both are `keras.Model`s


@keras.saving.register_keras_serializable(package="keras_inception")
class InceptionModel(Step):
    """A functional model whose heads all learn from the same label.

    It is a `keras.Model` with `output_names` such as `["main", "aux1", "aux2"]`, except that

    - labels and sample weights that come once, as in ordinary `(image, label)` data, serve every head; labels per head
      (a list in the order of the outputs, or a dict by their names) work too;
    - labels that name no class are refused before the step that would learn from them: on TensorFlow in every batch of
      any data, on other backends in arrays;
    - `compile` takes one loss and one list of metrics for all heads, or one per head;
    - the logged loss of each head is a mean over examples, exact for any size of the last batch (Keras 3.15 takes a
      mean over batches);
    - under a strategy of several replicas a step is that of one device with the whole batch;
    - `architecture`, `class_names` and `preprocessing` travel in its `.keras` file.

    Attributes:
        architecture: The `Architecture`, or None.
        class_names: The names of the classes in the order of the outputs, or None.
        preprocessing: The mode of `preprocess_input` that the model's input went through.
        head_losses: The losses of the heads and their weights; None until the model is compiled.
        default_loss_weights: What `compile` takes where it is given no `loss_weights`; None for 1 each, as in Keras.
    """

    head_losses: losses.HeadLosses | None = None
    default_loss_weights: Sequence[float] | None = None

    def __init__(
        self,
        *args: Any,
        architecture: Architecture | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: str = "inception",
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        check_mode(preprocessing)
        self.architecture = architecture
        self.class_names = class_names
        self.preprocessing = preprocessing

    @property
    def class_names(self) -> list[str] | None:
        return None if self._class_names is None else list(self._class_names)

    @class_names.setter
    def class_names(self, class_names: Sequence[str] | None) -> None:
        if class_names is not None and len(class_names) != self.classes:
            raise InputError(
                f"`class_names` must hold one name for each of the {self.classes} classes. "
                f"Received: {len(class_names)} names"
            )
        self._class_names = None if class_names is None else tuple(str(name) for name in class_names)

    @property
    def class_labels(self) -> list[str]:
        """The names of the classes, or their numbers where the model has no names."""
        return self.class_names or [str(index) for index in range(self.classes)]

    @property
    def classes(self) -> int:
        """The number of classes: the size of the last dimension of every output."""
        return (self.output_shape[0] if isinstance(self.output_shape, list) else self.output_shape)[-1]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures the model for training; see `keras.Model.compile`.

        `loss`, `metrics` and `weighted_metrics` may be given once for all heads, as a list with one entry per head, or
        as a dict by output names; `loss_weights` as a list or a dict. A head whose loss is None does not learn.
        `metrics` that are the model's own, as KerasTuner passes them, stand for those that it was compiled with.
        """
        names = self.output_names
        loss_weights = self.default_loss_weights if loss_weights is None else loss_weights
        own = {id(metric) for metric in self.metrics}
        if self.head_losses is not None and any(id(metric) in own for metric in keras.tree.flatten(metrics)):
            metrics = self.head_losses.compiled_metrics
        head_losses = losses.spread(loss, names, "loss")
        loss_weights = None if loss_weights is None else losses.spread(loss_weights, names, "loss_weights")
        super().compile(
            optimizer=optimizer,
            loss=head_losses if len(names) > 1 else head_losses[0],
            loss_weights=loss_weights,
            metrics=losses.metrics_per_head(metrics, names, "metrics"),
            weighted_metrics=losses.metrics_per_head(weighted_metrics, names, "weighted_metrics"),
            **kwargs,
        )
        self.head_losses = losses.HeadLosses(names, head_losses, loss_weights, metrics)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        if y is None or self.head_losses is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = self.head_losses.total(*self._spread(y, y_pred, sample_weight))
        return sum((keras.ops.sum(extra) / replica_count() for extra in self.losses), start=loss)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Tensor]:
        if y is None or self.head_losses is None:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        labels, predictions, weights = self._spread(y, y_pred, sample_weight)
        self.head_losses.update_metrics(labels, predictions, weights)
        if len(predictions) == 1:
            return super().compute_metrics(x, labels[0], predictions[0], weights[0])
        return super().compute_metrics(x, labels, predictions, None if sample_weight is None else weights)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return super().metrics + ([] if self.head_losses is None else self.head_losses.metrics)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model; see `keras.Model.fit`.

        Raises:
            InputError: A label names no class. Of arrays all labels are looked at before the first step.
        """
        self.check_batch(y)
        validation_data = kwargs.get("validation_data")
        if isinstance(validation_data, (list, tuple)) and len(validation_data) >= 2:
            self.check_batch(validation_data[1])
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics; see `keras.Model.evaluate`. Labels that name no class are refused."""
        self.check_batch(y)
        return super().evaluate(x, y, *args, **kwargs)

    def check_batch(self, y: Any) -> None:
        """Refuses labels that name no class, where a head learns from such labels.

        Args:
            y: Labels as `fit` takes them, of a batch or of all data: once, as a list, or as a dict by output names.

        Raises:
            InputError: See `check_labels`.
        """
        if y is None or self.head_losses is None:
            return
        for labels, loss in zip(losses.spread(y, self.output_names, "y"), self.head_losses.losses):
            if labels is not None and isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
                check_labels(keras.ops.convert_to_numpy(labels), self.classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "architecture": None if self.architecture is None else self.architecture.to_dict(),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "InceptionModel":
        own = ("architecture", "class_names", "preprocessing")
        model = super().from_config({k: v for k, v in config.items() if k not in own}, custom_objects)
        model.architecture = architectures.saved(config["architecture"])
        model.class_names, model.preprocessing = config["class_names"], config["preprocessing"]
        return model

    def _spread(self, y: Any, y_pred: Any, sample_weight: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """Returns labels, predictions and sample weights as lists with one entry per head."""
        names = self.output_names
        predictions = list(y_pred) if isinstance(y_pred, (list, tuple)) else [y_pred]
        return losses.spread(y, names, "y"), predictions, losses.spread(sample_weight, names, "sample_weight")


def gives_logits(model: keras.Model, name: str) -> bool:
    """Returns whether the output `name` is logits rather than a softmax.

    Raises:
        InputError: It is neither.
    """
    activation = getattr(model.get_layer(name), "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise InputError(
            "`compile_model` knows the loss for softmax outputs and for logits. Use `model.compile` with your own "
            f"loss. Received: output {name!r} with activation={getattr(activation, '__name__', activation)}"
        )
    return activation is keras.activations.linear
