"""What ends a training from outside: SIGTERM of a scheduler that wants its machine back, Ctrl-C, and a lost worker."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from keras_inception.errors import StoppedError


class PreemptedError(StoppedError):
    """SIGTERM came, and the training was saved."""


class WorkerLostError(StoppedError):
    """Another worker of the cluster ended before the training did, or did not come."""


@contextlib.contextmanager
def termination_signal() -> Iterator[threading.Event]:
    """Catches SIGTERM as long as the context lasts.

    Returns:
        An event that is set when the signal came; outside the main thread, which alone can catch signals, it never is.

    Raises:
        PreemptedError: The signal came, and another worker, which was told as well, ended first.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came
    except WorkerLostError as error:
        if not came.is_set():
            raise
        raise PreemptedError(
            "told to end (SIGTERM), as another worker has ended: the same command on all workers goes on from what the "
            "first of them saved"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupt:
    """Ctrl-C, which waits while an epoch is saved; a second one waits for nothing."""

    def __init__(self) -> None:
        self._is_held, self._came = False, False

    def hold(self) -> None:
        """Lets Ctrl-C wait from now on."""
        self._is_held = True

    def release(self) -> None:
        """Lets Ctrl-C wait no more.

        Raises:
            KeyboardInterrupt: It came in the meantime.
        """
        self._is_held = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def must_wait(self) -> bool:
        """Returns whether a Ctrl-C that comes now waits."""
        waits = self._is_held and not self._came
        self._came = waits
        return waits


@contextlib.contextmanager
def interrupt_signal() -> Iterator[Interrupt]:
    """Lets Ctrl-C (SIGINT) wait as long as it is held within the context; otherwise it does what it did before.

    Outside the main thread, which alone can catch signals, and where Ctrl-C is ignored, it is left alone.
    """
    interrupt, before = Interrupt(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupt
        return

    def come(number: int, frame: FrameType | None) -> None:
        if not interrupt.must_wait():
            before(number, frame)

    signal.signal(signal.SIGINT, come)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
