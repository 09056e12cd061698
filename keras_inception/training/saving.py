"""What a training does beside its steps: it validates with averages, saves itself, and ends when it is told to."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import keras
import tensorflow as tf

from keras_inception import files
from keras_inception.network.blocks import MAIN
from keras_inception.network.logs import other_names
from keras_inception.training import checkpoint, distribute, optimizers, runs
from keras_inception.training.interruption import Interrupt, PreemptedError
from keras_inception.types import Logs

# A worker that is told to end says so with this file to the chief, which saves.
STOP: str = "stop-requested"


class AveragesInValidation(keras.callbacks.Callback):
    """Validates with the moving average of the weights, where there is one."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._averaged = contextlib.ExitStack()
        self._averaged.enter_context(optimizers.averaged_weights(self.model))

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._averaged.close()


class Advance(keras.callbacks.Callback):
    """Keeps the progress of a training up to date, on every worker, and ends it where it is over.

    Args:
        progress: How far the training has come.
        is_over: Whether to end after an epoch.
    """

    def __init__(self, progress: checkpoint.Progress, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self.progress: checkpoint.Progress = progress
        self.is_over: Callable[[], bool] = is_over

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        since, self._since = self._since, time.monotonic()
        self.progress.seconds += self._since - since

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_end(0)
        progress, logs = self.progress, logs or {}
        twice = other_names(logs, self.model.output_names)
        row: dict[str, float] = {"epoch": epoch + 1}
        row |= {name: float(value) for name, value in logs.items() if name not in twice}
        progress.history.append(row)
        score = row.get(f"val_{MAIN}_accuracy", row.get("val_accuracy"))
        if score is not None and (progress.best is None or score > progress.best["val_main_accuracy"]):
            progress.best = {"epoch": epoch + 1, "val_main_accuracy": score}
        progress.epoch, progress.step = epoch + 1, 0
        if self.is_over():
            self.model.stop_training = True


class AfterSaving(keras.callbacks.Callback):
    """A callback that is called with an epoch when that is saved, so that what it reports is never lost."""


class HoldInterrupt(keras.callbacks.Callback):
    """Lets Ctrl-C wait from the end of an epoch, before anything reports it, until `End` finds it saved.

    Args:
        interrupt: The Ctrl-C of this process.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        super().__init__()
        self.interrupt: Interrupt = interrupt

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.interrupt.release()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.interrupt.hold()


class SaveRun(keras.callbacks.Callback):
    """Writes checkpoint, history and model after every epoch, and a checkpoint when the process is told to end in one.

    Args:
        folder: The run's folder.
        progress: How far the training has come; `Advance` keeps it up to date.
        steps_per_epoch: Batches of one epoch.
        terminated: Is set when the process was told to end.
    """

    def __init__(
        self, folder: Path, progress: checkpoint.Progress, steps_per_epoch: int, terminated: threading.Event
    ) -> None:
        super().__init__()
        self.folder: Path = folder
        self.progress: checkpoint.Progress = progress
        self.steps_per_epoch: int = steps_per_epoch
        self.terminated: threading.Event = terminated
        self.resumed_at: int = progress.step
        self.steps: int = progress.step

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.steps = self.resumed_at
        if not self.resumed_at:
            return
        if self.model.distribute_strategy.num_replicas_in_sync == 1:
            outputs = [tf.zeros((1, self.model.classes)) for _ in self.model.output_names]
            self.model.compute_metrics(None, tf.zeros(1, tf.int64), outputs if len(outputs) > 1 else outputs[0])
        elif distribute.worker_count(self.model.distribute_strategy) == 1:  # of several workers none are kept
            self.model.build_metrics((tf.zeros((1, *self.model.input_shape[1:])), tf.zeros(1, tf.int64), None))
        checkpoint.restore(self.folder / runs.CHECKPOINT, self.model, "metrics")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.steps += 1
        if self.steps < self.steps_per_epoch and self._must_end():
            self._end(self._checkpoint(step=self.steps))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._checkpoint(step=0)
        files.write_table(self.folder / runs.HISTORY, self.progress.history)
        with optimizers.averaged_weights(self.model):
            runs.save_model(self.model, self.folder)
        if self.progress.best and self.progress.best["epoch"] == self.progress.epoch:
            with files.written_aside(self.folder / runs.BEST) as aside:
                shutil.copyfile(self.folder / runs.MODEL, aside)

    def end_if_told(self) -> None:
        """Ends the training, which is saved up to its last epoch, where this process or another worker was told to."""
        if self._must_end():
            self._end(self.progress)

    def _must_end(self) -> bool:
        return self.terminated.is_set() or (self.folder / STOP).exists()

    def _end(self, saved: checkpoint.Progress) -> NoReturn:
        raise PreemptedError(
            f"told to end (SIGTERM), so the training was saved after {saved}. Go on with {runs.resuming(self.folder)}"
        )

    def _checkpoint(self, step: int) -> checkpoint.Progress:
        state = replace(self.progress, step=step)
        metrics = step > 0 and distribute.worker_count(self.model.distribute_strategy) == 1
        checkpoint.write(self.folder / runs.CHECKPOINT, self.model, state, metrics=metrics)
        return state


class End(keras.callbacks.Callback):
    """Ends the training after an epoch that was saved, and reported, where Ctrl-C or SIGTERM came.

    Args:
        if_told: Ends it where SIGTERM came.
        interrupt: The Ctrl-C of this process.
    """

    def __init__(self, if_told: Callable[[], None], interrupt: Interrupt) -> None:
        super().__init__()
        self.if_told: Callable[[], None] = if_told
        self.interrupt: Interrupt = interrupt

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.interrupt.release()
        self.if_told()


class PassOnTermination(keras.callbacks.Callback):
    """Tells the chief, which saves, that this worker was told to end.

    Args:
        folder: The run's folder.
        terminated: Is set when the process was told to end.
    """

    def __init__(self, folder: Path, terminated: threading.Event) -> None:
        super().__init__()
        self.folder: Path = folder
        self.terminated: threading.Event = terminated
        self.told: bool = False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.terminated.is_set() and not self.told and self.folder.is_dir():
            (self.folder / STOP).touch()
            self.told = True
