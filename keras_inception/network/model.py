"""The model whose heads all learn from the same label."""

import keras
from keras import ops

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.preprocess import check_mode


@keras.saving.register_keras_serializable(package="keras_inception")
class InceptionModel(keras.Model):
    """A functional model whose heads all learn from the same label.

    It is a `keras.Model` with `output_names` such as `["main", "aux1", "aux2"]`, except that

    - labels and sample weights that come once, as in ordinary `(image, label)` data, serve every head; labels per head
      (a list in the order of the outputs, or a dict by their names) work too;
    - `compile` takes one loss and one list of metrics for all heads, or one per head;
    - the logged loss of each head is a mean over examples, exact for any size of the last batch (Keras 3.15 takes a
      mean over batches);
    - `architecture`, `class_names` and `preprocessing` travel in its `.keras` file.

    Attributes:
        architecture: The `Architecture`, or None.
        class_names: The names of the classes in the order of the outputs, or None.
        preprocessing: The mode of `preprocess_input` that the model's input went through.
    """

    _head_losses = None  # until compiled

    def __init__(self, *args, architecture=None, class_names=None, preprocessing="inception", **kwargs):
        super().__init__(*args, **kwargs)
        check_mode(preprocessing)
        self.architecture = architecture
        self.class_names = class_names
        self.preprocessing = preprocessing

    @property
    def class_names(self):
        return None if self._class_names is None else list(self._class_names)

    @class_names.setter
    def class_names(self, class_names):
        if class_names is not None and len(class_names) != self.classes:
            raise InputError(
                f"`class_names` must hold one name for each of the {self.classes} classes. "
                f"Received: {len(class_names)} names"
            )
        self._class_names = None if class_names is None else tuple(str(name) for name in class_names)

    @property
    def classes(self):
        """The number of classes: the size of the last dimension of every output."""
        return (self.output_shape[0] if isinstance(self.output_shape, list) else self.output_shape)[-1]

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        """Configures the model for training; see `keras.Model.compile`.

        `loss`, `metrics` and `weighted_metrics` may be given once for all heads, as a list with one entry per head, or
        as a dict by output names; `loss_weights` as a list or a dict. A head whose loss is None does not learn.
        """
        names = self.output_names
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
        self._head_losses = losses.HeadLosses(names, head_losses, loss_weights)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if y is None or self._head_losses is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = self._head_losses.total(*self._spread(y, y_pred, sample_weight))
        return sum((self._aggregate_additional_loss(extra) for extra in self.losses), start=loss)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if y is None or self._head_losses is None:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        labels, predictions, weights = self._spread(y, y_pred, sample_weight)
        self._head_losses.update_metrics(labels, predictions, weights)
        if len(predictions) == 1:
            return super().compute_metrics(x, labels[0], predictions[0], weights[0])
        return super().compute_metrics(x, labels, predictions, None if sample_weight is None else weights)

    @property
    def metrics(self):
        return super().metrics + ([] if self._head_losses is None else self._head_losses.metrics)

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains the model; see `keras.Model.fit`. Labels that name no class are refused before the first step.

        Raises:
            ValueError: An array of labels (or the first batch of a `tf.data.Dataset`) holds some outside
                `[0, classes)`.
        """
        self._check_labels(_first_labels(x) if y is None else y)
        validation_data = kwargs.get("validation_data")
        if isinstance(validation_data, (list, tuple)) and len(validation_data) >= 2:
            self._check_labels(validation_data[1])
        else:
            self._check_labels(_first_labels(validation_data))
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Returns the losses and metrics; see `keras.Model.evaluate`. Labels that name no class are refused."""
        if not kwargs.get("_use_cached_eval_dataset"):  # Called by `fit`, which has looked at them already.
            self._check_labels(_first_labels(x) if y is None else y)
        return super().evaluate(x, y, *args, **kwargs)

    def get_config(self):
        return {
            **super().get_config(),
            "architecture": None if self.architecture is None else self.architecture.to_dict(),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        own = ("architecture", "class_names", "preprocessing")
        model = super().from_config({k: v for k, v in config.items() if k not in own}, custom_objects)
        model.architecture = architectures.saved(config["architecture"])
        model.class_names, model.preprocessing = config["class_names"], config["preprocessing"]
        return model

    def _spread(self, y, y_pred, sample_weight):
        """Returns labels, predictions and sample weights as lists with one entry per head."""
        names = self.output_names
        predictions = list(y_pred) if isinstance(y_pred, (list, tuple)) else [y_pred]
        return losses.spread(y, names, "y"), predictions, losses.spread(sample_weight, names, "sample_weight")

    def _check_labels(self, y):
        if y is None or self._head_losses is None or not self._head_losses.take_class_indices:
            return
        for labels in losses.spread(y, self.output_names, "y"):
            labels, classes = ops.convert_to_numpy(labels), self.classes
            if labels.size == 0 or (labels.ndim > 1 and labels.shape[-1] == classes):
                continue
            if not (labels.min() >= 0 and labels.max() < classes):
                raise InputError(
                    f"Labels must be integers from 0 to {classes - 1}, or one-hot, for a model of {classes} classes. "
                    "Renumber them, or build the model with as many classes as there are. "
                    f"Received: labels from {labels.min()} to {labels.max()}"
                )


def _first_labels(dataset):
    """Returns the labels in the first batch of a `tf.data.Dataset`; None for any other data."""
    if not (hasattr(dataset, "element_spec") and hasattr(dataset, "take")):
        return None
    batch = next(iter(dataset.take(1)), None)
    return batch[1] if isinstance(batch, tuple) and len(batch) > 1 else None


def gives_logits(model, name):
    """Returns whether the output `name` is logits rather than a softmax.

    Raises:
        ValueError: It is neither.
    """
    activation = getattr(model.get_layer(name), "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise InputError(
            "`compile_model` knows the loss for softmax outputs and for logits. Use `model.compile` with your own "
            f"loss. Received: output {name!r} with activation={getattr(activation, '__name__', activation)}"
        )
    return activation is keras.activations.linear
