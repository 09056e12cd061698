"""What a constant answer reaches, and which losses of a training are compared with it."""

import math
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.losses import logs_by_head
from keras_inception.network.model import InceptionModel
from keras_inception.types import Array, Logs

# Shares of the loss that a constant answer has. Above AT_CHANCE a head has not left it, below LEARNS it has learned
# something; a head between the two is neither accused nor a witness. Ours: in healthy trainings of the paper's network
# on digits a slow head passes from 100% to 87% within one epoch, and a stuck one stays within 1% of chance.
AT_CHANCE, LEARNS = 0.95, 0.8


class Chance:
    """What a constant answer reaches: ln(classes) for even classes, less for others."""

    def __init__(self, model: InceptionModel):
        self.names: list[str] = model.output_names
        self.classes: int = model.classes
        self.counts: Array = np.zeros(self.classes)
        self.examples: int = 0
        self.smoothing: float = getattr(head_losses_of(model).losses[0], "label_smoothing", 0)

    def update(self, batch: Any) -> None:
        """Counts the labels of a batch, `(images, labels)` or with sample weights."""
        _, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        labels, sample_weight = (losses.spread(values, self.names, "y")[0] for values in (labels, sample_weight))
        labels = np.asarray(labels)
        weights = np.ones(len(labels)) if sample_weight is None else np.reshape(sample_weight, len(labels))
        if labels.ndim == 2 and labels.shape[1] == self.classes:
            self.counts += weights @ labels
        else:
            self.counts += np.bincount(labels.astype("int64").reshape(-1), weights, self.classes)
        self.examples += len(labels)

    @property
    def _shares(self) -> Array:
        total = self.counts.sum()
        shares = self.counts / total if total > 0 else np.full(self.classes, 1 / self.classes)
        return (1 - self.smoothing) * shares + self.smoothing / self.classes

    @property
    def loss(self) -> float:
        """The loss of the best constant answer, in nats."""
        shares = self._shares
        weight = self.counts.sum() / self.examples if self.examples else 1.0
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum() * weight)

    @property
    def accuracy(self) -> float:
        """The accuracy of the best constant answer, in [0, 1]."""
        return float(self._shares.max())

    def __str__(self) -> str:
        uniform = f"ln({self.classes}) = {math.log(self.classes):.3f}"
        if abs(self.loss / math.log(self.classes) - 1) < 0.01:
            return uniform
        return f"chance, {self.loss:.3f} for these frequencies of the classes ({uniform})"


def head_losses_of(model: InceptionModel) -> losses.HeadLosses:
    """Returns the losses of a compiled `InceptionModel`, with their weights.

    Raises:
        InputError: The model is another one, or not compiled.
    """
    head_losses = getattr(model, "head_losses", None)
    if head_losses is None:
        raise InputError(
            "The model must be an `InceptionModel` that is compiled: use `compile_model`. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    return head_losses


def losses_by_head(model: InceptionModel, logs: Logs | None) -> dict[str, float]:
    """Returns the lower of the losses in training and validation of each head that learns by cross-entropy."""
    head_losses, names = head_losses_of(model), model.output_names
    if len(names) == 1 and model.losses:
        return {}  # what Keras logs holds the penalties of the weights
    training, validation = (logs_by_head(logs or {}, names, prefix) for prefix in ("", "val_"))
    entropies = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)
    return {
        name: min(values["loss"] for values in (training[name], validation[name]) if "loss" in values)
        for name, loss, weight in zip(names, head_losses.losses, head_losses.weights)
        if isinstance(loss, entropies) and weight and "loss" in training[name]
    }
