"""The loss of every step of a training, and the step from which on a head is better than a constant answer."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.training.diagnosis import AT_CHANCE
from keras_inception.training.diagnosis.watcher import Watcher
from keras_inception.types import Array, Logs, PathLike

# Ours: one batch of 32 images wavers by a few percent of ln(classes), ten of them by one.
WINDOW = 10


class StepLosses(Watcher):
    """Writes the loss of each head in each step of a training on one machine into a CSV file.

    A row of the file is a step: `step` (from 1), `cpu_seconds` (of the process since the step before; for the first one
    since this was made), `chance` (the loss of a constant answer to the labels so far, see `diagnosis`), and the mean
    loss of each head over the batch, such as `main_loss`.

    Args:
        path: The file.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        self.path: Path = Path(path)
        self._step, self._since = 0, time.process_time()

    def go_on_after(self, step: int) -> None:
        """Keeps the first `step` steps of the file and goes on behind them: the training is resumed there."""
        self._step = step
        if step:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            self.path.write_text("".join(lines[: 1 + step]), encoding="utf-8")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._metrics = self.model.head_losses.metrics
        if self._step == 0:
            self._write("w", "step", "cpu_seconds", "chance", *(metric.name for metric in self._metrics))

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if batch == 0:  # the metrics, which count over an epoch, were reset, or restored in the middle of one
            self._before = self._totals()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        totals, now = self._totals(), time.process_time()
        sums, counts = (totals - self._before).T
        self._step += 1
        values = (now - self._since, self.chance.loss, *(sums / counts))
        self._write("a", self._step, *(f"{value:.6g}" for value in values))
        self._before, self._since = totals, now

    def _totals(self) -> Array:
        """Returns the sum and the number of the losses of each head in this epoch, `(heads, 2)`."""
        return np.array([(float(metric.total), float(metric.count)) for metric in self._metrics])

    def _write(self, mode: str, *cells: Any) -> None:
        # Line by line: what a training that is killed leaves behind reaches as far as its checkpoint.
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)


def moving_average(losses: Sequence[float] | Array) -> Array:
    """Returns at each step the mean over it and the steps before it, `WINDOW` of them where there are as many."""
    sums = np.cumsum([0.0, *losses])
    ends = np.arange(1, len(losses) + 1)
    begins = np.maximum(ends - WINDOW, 0)
    return (sums[ends] - sums[begins]) / (ends - begins)


def left_at(losses: Sequence[float] | Array, chance: float) -> int | None:
    """Returns the step at which a head left the loss of a constant answer.

    Args:
        losses: Its loss in each step.
        chance: The loss of the best constant answer: ln(classes) for even classes.

    Returns:
        The first step, from 1, from which on the moving average stays below 95% (`AT_CHANCE`) of `chance` until the
        end of the training; None where it does not.
    """
    at_chance = np.flatnonzero(~(moving_average(losses) < AT_CHANCE * chance))  # NaN is at chance
    step = at_chance[-1] + 2 if at_chance.size else 1
    return int(step) if step <= len(losses) else None
