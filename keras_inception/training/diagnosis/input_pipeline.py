"""Trainings that wait for their data."""

import time

from keras_inception.training.diagnosis.watcher import Watcher
from keras_inception.types import Logs


class InputPipeline(Watcher):
    """Reports, once, that training waits for the input pipeline, with the time of waiting and that of computing.

    It looks after 100 steps and at epoch ends, from 10 on; the first batch of each epoch, which fills the buffers, and
    the first two steps, which trace and warm up, do not count. It reports when the waiting takes more than a fifth of
    the time and more than 2 ms a batch: a pipeline that keeps up, and prefetches, takes less. One replica only.

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
            self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._count < 10 or self._reported:
            return
        waiting, computing = 1e3 * self._waiting / self._count, 1e3 * self._computing / self._count
        share = waiting / (waiting + computing)
        if share > 0.2 and waiting > 2:
            self._reported = True
            self.report(
                f"Training waits for the input pipeline: {waiting:.1f} ms for each batch, beside {computing:.1f} ms of "
                f"computing, {share:.0%} of the time. What helps: `.prefetch(tf.data.AUTOTUNE)` at the end of the "
                "pipeline, `num_parallel_calls=tf.data.AUTOTUNE` in each `map`, `.cache()` after the decoding where "
                "the images fit into memory, and smaller image files."
            )
