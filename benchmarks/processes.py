"""Processes that measure one thing each (`measured.py`), asked in turns so that a slow moment meets all of them."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


class Measured:
    """A process that measures one thing when it is asked.

    Args:
        what: Which of the functions in `measured.py`.
        warm: Commands to run once before it is ready.
        environment: Variables to add to the environment.
        **options: Arguments of the function; `cores` is what the process is pinned to when it is ready.
    """

    def __init__(self, what, *, warm, environment=None, **options):
        options = json.dumps({"what": what, "warm": warm, **options})
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("measured.py"), options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip

    def ready(self):
        """Waits until it is built, traced and warm, and returns its facts."""
        return self.answer()

    def ask(self, command):
        self.send(command)
        return self.answer()

    def send(self, command):
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            sys.exit(f"A measurement failed:\n{self._errors.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def in_turns(measured, repeats, key="cpu_seconds"):
    """Asks pairs of a `Measured` and a command in turns; returns the seconds of each by name."""
    seconds = {name: [] for name in measured}
    for _ in range(repeats):
        for name, (process, command) in measured.items():
            seconds[name].append(process.ask(command)[key])
    return seconds


def last_core():
    return sorted(os.sched_getaffinity(0))[-1:]
