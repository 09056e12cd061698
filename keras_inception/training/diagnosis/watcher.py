"""A callback that sees each batch of a training."""

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from keras_inception.training.diagnosis.chance import Chance
from keras_inception.types import Logs

Report: TypeAlias = Callable[[str], None]


def warn(message: str) -> None:
    """Reports a message as Python's warning."""
    warnings.warn(message, stacklevel=2)


class Watcher(keras.callbacks.Callback):
    """A callback for an `InceptionModel` that sees the batch of each step before it is computed.

    Under several replicas, and with `steps_per_execution` above 1, it sees none.

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
        self.model.observe(self)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.batch = None  # frees the memory before the next one comes

    def on_batch(self, batch: Any, waiting_seconds: float) -> None:
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            return
        self.batch, self.waiting_seconds, self.computing_since = batch, waiting_seconds, time.perf_counter()
        self._batches += 1
        if self._batches <= 1000:
            self.chance.update(batch)
