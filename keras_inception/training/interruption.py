"""Preemption: a scheduler that wants its machine back sends SIGTERM, and the training saves and ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from keras_inception.errors import StoppedError


class PreemptedError(StoppedError):
    """SIGTERM came, and the training was saved."""


@contextlib.contextmanager
def termination_signal() -> Iterator[threading.Event]:
    """Catches SIGTERM as long as the context lasts.

    Returns:
        An event that is set when the signal came; outside the main thread, which alone can catch signals, it never is.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)
