"""A search on several machines: which of KerasTuner's processes this one is, and how a worker finds its chief."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from keras_inception import files
from keras_inception.errors import InputError, StoppedError

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
CHIEF_WITHIN_SECONDS = 600.0


def is_worker() -> bool:
    """Returns whether this process is a worker of a search on several machines."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_chief_of_search() -> bool:
    """Returns whether this process is the chief of a search on several machines."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_worker()


def chief() -> tuple[str, int]:
    """Returns the address and the port of the chief."""
    return os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"])


def check() -> None:
    """Refuses variables of a search on several machines that are not all there or not right.

    Raises:
        InputError: One is missing, or wrong, or the chief cannot listen there.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not given:
        return
    missing = [name for name in VARIABLES if not given.get(name)]
    if missing:
        raise InputError(
            f"A search on several machines needs {', '.join(VARIABLES)} in the environment of each process, and one on "
            f"this machine alone none of them. Received: no {', '.join(missing)}"
        )
    name, port = given["KERASTUNER_TUNER_ID"], given["KERASTUNER_ORACLE_PORT"]
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise InputError(f"KERASTUNER_ORACLE_PORT must be a number from 1 to 65535. Received: {port!r}")
    if "/" in name or name in (".", ".."):
        raise InputError(f"KERASTUNER_TUNER_ID must be a name such as chief or worker0. Received: {name!r}")
    if is_chief_of_search():
        try:
            with socket.socket(socket.AF_INET6 if ":" in chief()[0] else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(chief())
        except OSError as error:
            raise InputError(
                "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT must be an address of the chief's machine and a free "
                f"port. Received: {chief()[0]}:{port} ({error.strerror or error})"
            ) from error


@contextlib.contextmanager
def place(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder of a search, or of the place of a worker in it, while it lasts.

    Raises:
        InputError: Another process searches there, or has this worker's name, or a worker does not see the folder.
        StoppedError: No chief was there in time.
    """
    if not is_worker():
        with files.locked(folder):
            yield
        return
    _wait_for_chief()
    if not folder.is_dir():
        raise InputError(f"A worker must see the folder of its chief's search. Received: {folder}, which is not there")
    name = os.environ["KERASTUNER_TUNER_ID"]
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder / "trials" / f"worker-{name}"))
        except InputError as error:
            raise InputError(
                f"Each worker must have a KERASTUNER_TUNER_ID of its own. Received: {name!r}, twice"
            ) from error
        yield


def _wait_for_chief() -> None:
    (address, port), begun = chief(), time.monotonic()
    while True:
        try:
            socket.create_connection((address, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() - begun > CHIEF_WITHIN_SECONDS:
                raise StoppedError(
                    f"No chief was at {address}:{port} within {CHIEF_WITHIN_SECONDS / 60:g} minutes "
                    f"({error.strerror or error}). Start one there: the same command with KERASTUNER_TUNER_ID=chief."
                ) from error
            time.sleep(1)
