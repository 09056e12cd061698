"""A callback that sees each batch of a training, and what a constant answer to the labels so far would reach."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_inception.architectures import described
from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.model import InceptionModel
from keras_inception.types import Array, Logs

Report: TypeAlias = Callable[[str], None]

# Shares of the loss that a constant answer has. Above AT_CHANCE a head has not left it, below LEARNS it has learned
# something; a head between the two is neither accused nor a witness. Ours: in healthy trainings of the paper's network
# on digits a slow head passes from 100% to 87% within one epoch, and a stuck one stays within 1% of chance.
AT_CHANCE, LEARNS = 0.95, 0.8


def warn(message: str) -> None:
    """Reports a message as Python's warning."""
    warnings.warn(message, stacklevel=2)


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
    """Returns the losses of a compiled `InceptionModel`, with their weights; refuses any other model."""
    head_losses = getattr(model, "head_losses", None)
    if head_losses is None:
        raise InputError(
            f"The model must be an `InceptionModel` that is compiled: use `compile_model`. Received: {described(model)}"
        )
    return head_losses


class Watcher(keras.callbacks.Callback):
    """A callback for an `InceptionModel` that sees the batch of each step before it is computed.

    Under several replicas it sees none.

    Args:
        report: Called with each message.

    Attributes:
        batch: What the data gave for the step: `(images, labels)`, perhaps with sample weights. None without a batch,
            and while the next one is drawn.
        waiting_seconds: For how long the step waited for its batch, in wall-clock time; None without a batch.
        computing_since: When the step had its batch, in seconds of `time.perf_counter`; None without a batch.
        chance: The `Chance` of the labels of the first 1,000 batches.
    """

    batch: Any = None
    waiting_seconds: float | None = None
    computing_since: float | None = None
    chance: Chance

    def __init__(self, report: Report = warn):
        super().__init__()
        self.report = report

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.batch = self.waiting_seconds = self.computing_since = None
        self._batches = 0
        self.chance = Chance(self.model)
        self.model.observe(self.on_batch)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.batch = None  # frees the memory before the next one comes

    def on_batch(self, batch: Any, waiting_seconds: float) -> None:
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            return
        self.batch, self.waiting_seconds, self.computing_since = batch, waiting_seconds, time.perf_counter()
        self._batches += 1
        if self._batches <= 1000:
            self.chance.update(batch)
