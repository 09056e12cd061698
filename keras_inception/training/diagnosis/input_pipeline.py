"""Trainings that wait for their data."""

import time

from keras_inception.training.diagnosis.watcher import Watcher
from keras_inception.types import Logs


class InputPipeline(Watcher):
    """Reports, once, that training waits for the input pipeline, with the time of waiting and that of computing.

    In Keras 3.15 on TensorFlow, the batch is drawn inside the train function, between `on_train_batch_begin` and
    `on_train_batch_end`; here it is drawn beforehand and timed by itself. The first batch of each epoch, which fills
    the buffers, and the first two steps, which trace and warm up, do not count.

    It looks after the first 100 steps that count and at epoch ends, from 10 on. It reports when the waiting takes more
    than a fifth of the time and more than 2 ms a batch: with a pipeline that keeps up, and prefetches, a batch is drawn
    in less than that. One replica only.

    Args:
        report: Called with the message.
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._count, self._waiting, self._computing = -1, 0.0, 0.0  # of two early steps, the first is a first batch
        self._reported = False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if batch == 0 or self.waiting_seconds is None or self.computing_since is None or self._reported:
            return
        self._count += 1
        if self._count > 0:
            self._waiting += self.waiting_seconds
            self._computing += time.perf_counter() - self.computing_since
        if self._count == 100:
            self._look()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._count >= 10:
            self._look()

    def _look(self) -> None:
        waiting, computing = 1e3 * self._waiting / self._count, 1e3 * self._computing / self._count
        share = waiting / (waiting + computing)
        if share > 0.2 and waiting > 2 and not self._reported:
            self._reported = True
            self.report(
                f"Training waits for the input pipeline: {waiting:.1f} ms for each batch, beside {computing:.1f} ms of "
                f"computing, {share:.0%} of the time. What helps: `.prefetch(tf.data.AUTOTUNE)` at the end of the "
                "pipeline, `num_parallel_calls=tf.data.AUTOTUNE` in each `map`, `.cache()` after the decoding where "
                "the images fit into memory, and smaller image files."
            )
