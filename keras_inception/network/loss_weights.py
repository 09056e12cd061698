"""The weights of the heads' losses: numbers, or Keras's schedules over the steps of a training."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras.optimizers.schedules import LearningRateSchedule

from keras_inception.errors import InputError, shown
from keras_inception.network.labels import check_weights
from keras_inception.rules import plain
from keras_inception.types import Logs, Schedule

LossWeight: TypeAlias = float | Schedule


def check_loss_weights(weights: Sequence[Any]) -> list[LossWeight]:
    """Returns the weights, one for each head, as Python's numbers and schedules.

    Raises:
        InputError: One is neither a schedule nor a finite number of at least 0, or all are 0.
    """
    found = [plain(weight) for weight in weights]
    first = [at(weight, 0) for weight in found]
    check_weights(first, "loss_weights")
    if np.ndim(first) != 1 or not any(found):
        raise InputError(
            "`loss_weights` must be a number for each head, and one of them above 0. "
            f"Received: loss_weights={shown(found)}"
        )
    return found


def at(weight: LossWeight, step: int) -> Any:
    """Returns a weight after a number of steps: the number, or that of the schedule."""
    return float(weight(step)) if isinstance(weight, LearningRateSchedule) else weight


class LogLossWeights(keras.callbacks.Callback):
    """Adds to the logs of each epoch the weights that follow a schedule, in its last step: `aux1_loss_weight`."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        head_losses, names = self.model.head_losses, self.model.output_names
        if logs is None or head_losses is None:
            return
        last = max(int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)) - 1, 0)
        for name, weight in zip(names, head_losses.weights):
            if isinstance(weight, LearningRateSchedule):
                logs[f"{name}_loss_weight" if len(names) > 1 else "loss_weight"] = at(weight, last)
