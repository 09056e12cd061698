"""Starts `program.py` in processes of its own, as workers or on several devices, and ends what it started."""

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
CLUSTER_VARIABLES = ("TF_CONFIG", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NODELIST")


def free_ports(count):
    """Returns ports that nothing listens on; all are held until the last is found."""
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """Returns `launch(cases, workers=1, devices=1, limit_seconds=240, **options)`.

    It returns, for every process, its exit code, what it printed, when it ended (seconds after the first one did), and
    the arrays that its cases gave.
    """
    started, base = [], tmp_path_factory.mktemp("processes")

    def launch(cases, *, workers=1, devices=1, limit_seconds=240, **options):
        folder = pathlib.Path(tempfile.mkdtemp(dir=base))  # may be called in several threads
        environment = {name: value for name, value in os.environ.items() if name not in CLUSTER_VARIABLES}
        environment |= {
            "PYTHONPATH": str(HERE.parents[2]),
            "KERAS_BACKEND": "tensorflow",
            "CUDA_VISIBLE_DEVICES": "",
        }
        addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
        processes = []
        for index in range(workers):
            if workers > 1:
                cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
                environment["TF_CONFIG"] = json.dumps(cluster)
            command = [sys.executable, str(HERE / "program.py"), cases, str(folder / f"{index}.npz")]
            command += [f"--devices={devices}", *(f"--{name}={value}" for name, value in options.items())]
            with open(folder / f"{index}.log", "w") as log:
                processes.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                    )
                )
        started.extend(processes)
        ended = _wait(processes, limit_seconds)
        return [
            SimpleNamespace(
                code=process.returncode,
                log=(folder / f"{index}.log").read_text(),
                ended=ended.get(index, np.inf) - min(ended.values(), default=0),
                arrays=_read(folder / f"{index}.npz"),
            )
            for index, process in enumerate(processes)
        ]

    yield launch
    for process in started:
        _end(process)


def _wait(processes, limit_seconds):
    """Waits for all processes and returns when each ended; those that are late are ended."""
    begin, ended = time.monotonic(), {}
    while len(ended) < len(processes) and time.monotonic() - begin < limit_seconds:
        for index, process in enumerate(processes):
            if index not in ended and process.poll() is not None:
                ended[index] = time.monotonic()
        time.sleep(0.1)
    for process in processes:
        _end(process)
    return ended


def _end(process):
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session is its own
        process.wait()


def _read(path):
    if not path.exists():
        return {}
    with np.load(path) as file:
        return dict(file)
