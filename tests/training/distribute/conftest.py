"""Starts workers in processes of their own, and ends what it started."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent


def cluster_of(workers):
    """Returns a `TF_CONFIG` for each of so many workers on free ports of this machine."""
    with contextlib.ExitStack() as open_sockets:  # all are held until the last is found
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(workers)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{found.getsockname()[1]}" for found in sockets]
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})} for task in tasks]


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Returns `start(command, environments, limit_seconds=240)`, which runs a command once in each environment.

    It returns, for every process, its exit code, what it said and complained. One that runs at the limit is killed.
    """
    started, base = [], tmp_path_factory.mktemp("processes")

    def end(process):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its session is its own
            process.wait()

    def start(command, environments, limit_seconds=240):
        folder = pathlib.Path(tempfile.mkdtemp(dir=base))  # may be called in several threads
        common = {name: value for name, value in os.environ.items() if not name.startswith(("TF_CONFIG", "SLURM"))}
        common |= {"PYTHONPATH": str(HERE.parents[2]), "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
        processes = []
        for index, environment in enumerate(environments):
            with open(folder / f"{index}.out", "w") as said, open(folder / f"{index}.err", "w") as complained:
                outputs = {"stdout": said, "stderr": complained, "start_new_session": True}
                processes.append(subprocess.Popen(command, env={**common, **environment}, **outputs))
        started.extend(processes)
        begin = time.monotonic()
        while any(process.poll() is None for process in processes) and time.monotonic() - begin < limit_seconds:
            time.sleep(0.1)
        for process in processes:
            end(process)
        return [
            SimpleNamespace(
                code=process.returncode,
                said=(folder / f"{index}.out").read_text(),
                complained=(folder / f"{index}.err").read_text(),
            )
            for index, process in enumerate(processes)
        ]

    yield start
    for process in started:
        end(process)


@pytest.fixture(scope="session")
def launch(start, tmp_path_factory):
    """Returns `launch(cases, workers=1, devices=1, limit_seconds=240, **options)`.

    It runs `program.py` and returns what `start` does, with the arrays that the cases gave.
    """

    def launch(cases, *, workers=1, devices=1, limit_seconds=240, **options):
        out = pathlib.Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
        command = [sys.executable, str(HERE / "program.py"), cases, str(out), f"--devices={devices}"]
        command += [f"--{name}={value}" for name, value in options.items()]
        processes = start(command, cluster_of(workers) if workers > 1 else [{}], limit_seconds)
        for index, process in enumerate(processes):
            path = out / f"{index}.npz"
            process.arrays = dict(np.load(path)) if path.exists() else {}
        return processes

    return launch
