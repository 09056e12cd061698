"""The loss of every step of a training."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.training.diagnosis.watcher import Watcher
from keras_inception.types import Array, Logs, PathLike


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
            with files.written_aside(self.path) as aside:
                aside.write_text("".join(lines[: 1 + step]), encoding="utf-8")

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
        with files.writing(self.path), open(self.path, mode, newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)
