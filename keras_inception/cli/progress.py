"""How far a training is: a line an epoch, and on a terminal a bar below them."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from keras_inception.training import distribute
from keras_inception.training.saving import AfterSaving
from keras_inception.types import Logs


class TrainingProgress(AfterSaving):
    """Prints epoch, loss, accuracy of each head and the time that is left; `history.csv` holds the other metrics.

    An epoch is printed when it is saved.

    It is also a context, which gives the terminal back however the training ends.

    Args:
        epochs: Of the whole training.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs
        # The latter wraps where the terminal is narrow. A name of a head is no markup.
        said = TextColumn("{task.fields[said]}", markup=False, table_column=Column())
        columns = TextColumn("{task.description}"), BarColumn(20), said
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
        self._task = self._bar.add_task("", total=epochs, said="")
        self._begun: tuple[float, float] | None = None  # when, and after how many epochs, the first step ended

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:  # otherwise it would print an empty line
            self._bar.stop()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begun = None
        self._is_chief = distribute.is_chief(self.model.distribute_strategy)
        if self._is_chief and self._bar.console.is_terminal:
            self._bar.start()
            self._bar.console.show_cursor()  # a kill would leave it hidden

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        done = self._epoch + (batch + 1) / self.params["steps"]
        self._begun = self._begun or (time.monotonic(), done)
        said = "  ".join(filter(None, (self._left(done), self._scores(logs or {}))))
        self._bar.update(self._task, completed=done, description=self._name(), said=said)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._is_chief:
            logs = logs or {}
            validated = self._scores(logs, "val_")
            said = f"loss {logs['loss']:.4f}; validation: {validated}" if validated else self._scores(logs)
            print("; ".join(filter(None, (f"{self._name()}: {said}", self._left(epoch + 1)))), flush=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.__exit__()

    def _name(self) -> str:
        return f"epoch {self._epoch + 1}/{self._epochs}"

    def _scores(self, logs: Mapping[str, Any], prefix: str = "") -> str:
        """Returns loss and accuracy of each head, as far as they are known."""
        if f"{prefix}loss" not in logs:
            return ""
        names = self.model.output_names
        keys = {name: f"{prefix}{name}_accuracy" if len(names) > 1 else f"{prefix}accuracy" for name in names}
        accuracies = [f"{name} {logs[key]:.2%}" for name, key in keys.items() if key in logs]
        return f"loss {logs[f'{prefix}loss']:.4f}" + (f", accuracy {', '.join(accuracies)}" if accuracies else "")

    def _left(self, done: float) -> str:
        """Returns how long the rest of the training takes, at the speed since its first step, which compiles it."""
        if self._begun is None or not self._begun[1] < done < self._epochs:
            return ""
        seconds = (time.monotonic() - self._begun[0]) / (done - self._begun[1]) * (self._epochs - done)
        return f"{timedelta(seconds=round(seconds))} left"
