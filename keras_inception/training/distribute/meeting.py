"""Workers wait for each other here, where they say for whom and can be ended, before TensorFlow waits within itself."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from keras_inception.errors import InputError
from keras_inception.training.distribute.cluster import worker_addresses, worker_index
from keras_inception.training.interruption import WorkerLostError

TIMEOUT_SECONDS: float = 600
GREETING = b"keras-inception worker "


def meet(resolver: Any, timeout_seconds: float, report: Callable[[str], None]) -> None:
    """Waits until each worker of a cluster has reached every other, each at its own address.

    A worker that has reached all, and was reached by all, may leave: nobody needs it here any more.

    Args:
        resolver: Names the workers.
        timeout_seconds: For how long, in wall-clock time, it waits.
        report: Called with a message that says for whom it waits: after two seconds, whenever that changes, and each
            minute.

    Raises:
        InputError: The port of this worker is in use on its machine, or may not be listened at.
        WorkerLostError: Some did not come in time.
    """
    addresses, own = worker_addresses(resolver), worker_index(resolver)
    unreached = set(range(len(addresses))) - {own}
    unheard = set(unreached)
    begin = time.monotonic()
    told_at, told_of = begin - 58, unreached | unheard  # the first message comes after two seconds
    with _answering(addresses[own], own, unheard):
        while unreached or unheard:
            unreached -= {index for index in sorted(unreached) if _reaches(addresses[index], own, index)}
            missing, now = unreached | unheard, time.monotonic()
            waiting = (
                f"worker {own} ({addresses[own]}) waited for {len(missing)} of the {len(addresses)} workers: "
                f"{', '.join(addresses[index] for index in sorted(missing))}"
            )
            if missing and now - begin > timeout_seconds:
                raise WorkerLostError(
                    f"After {timeout_seconds:g} s {waiting}. Start all of them within this time, by the same command, "
                    "and look whether each can reach the others' ports."
                )
            if missing and (now - told_at > 60 or (missing != told_of and now - begin > 2)):
                told_at, told_of = now, missing
                report(f"{waiting.replace('waited', 'waits', 1)}; it gives up after {timeout_seconds:g} s")
            if missing:
                time.sleep(0.2)


@contextlib.contextmanager
def _answering(address: str, own: int, unheard: set[int]) -> Iterator[None]:
    """Listens at this worker's port, answers greetings, and takes whoever greets out of `unheard`."""

    class Reply(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                self.request.settimeout(2)
                index = int(self.request.recv(100).removeprefix(GREETING))
                self.request.sendall(GREETING + b"%d" % own)
                unheard.discard(index)

    host, _, port = address.rpartition(":")
    families = {socket.AF_INET}
    with contextlib.suppress(OSError):  # of a name that only the others know
        families = {found[0] for found in socket.getaddrinfo(host.strip("[]"), int(port))}

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        allow_reuse_address = daemon_threads = True

    try:
        server = Server(("", int(port)), Reply)
    except OSError as error:
        raise InputError(
            f"The port of a worker must be free on its machine: another program, or a worker with the same `index`, "
            f"may listen there. Choose another port on all workers. Received: {address} ({error.strerror})"
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _reaches(address: str, own: int, index: int) -> bool:
    """Returns whether the worker of that index answers at its address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2) as connection:
            connection.sendall(GREETING + b"%d" % own)
            return connection.recv(100) == GREETING + b"%d" % index
    except OSError:  # not there yet
        return False
