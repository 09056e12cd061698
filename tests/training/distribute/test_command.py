"""`keras-inception train` on two workers: the chief alone writes and talks, and a lost worker costs an epoch."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from tiny_network import TINY

pytest.importorskip("tensorflow")

PROGRAM = pathlib.Path(__file__).parents[1] / "survival" / "program.py"
LIMIT_SECONDS = 200


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@pytest.fixture
def two_workers(image_folder, tmp_path):
    """Returns `start(moments)`: the command on two workers, and how each ended, what it said and complained.

    `moments` say for each worker when it ends itself; see `survival/program.py`.
    """
    started = []

    def start(moments=("never 0", "never 0")):
        workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"architecture": TINY.to_dict()}))
        options = ["--config", str(config), "--epochs", "2", "--batch-size", "8"]
        arguments = ["train", "--dataset", str(image_folder), *options, "--out", str(tmp_path / "run")]
        processes = []
        for index, moment in enumerate(moments):
            cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "MOMENT": moment}
            command = [sys.executable, str(PROGRAM), *arguments]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            processes.append(subprocess.Popen(command, env=environment, **pipes))
        started.extend(processes)
        return [(process.returncode, *said) for process, said in
                [(process, process.communicate(timeout=LIMIT_SECONDS)) for process in processes]]  # fmt: skip

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_two_workers_train_one_run_that_the_chief_writes_also_after_a_worker_was_lost(two_workers, tmp_path):
    (killed, chief, _), (code, _, errors) = two_workers(("step 1 1 9", "never 0"))  # the chief, in the second epoch
    assert (killed, code) == (-9, 2), errors
    assert "32 training, 4 validation, 4 test images" in chief
    complaints = [line for line in errors.splitlines() if line.startswith("keras-inception")]
    assert len(complaints) == 1
    assert "Another of the 2 workers was lost, so worker 1 stops" in complaints[0]

    (code, chief, errors), (other_code, other, other_errors) = two_workers()
    assert (code, other_code) == (0, 0), errors + other_errors
    assert "going on after 1 epochs" in chief
    assert "test accuracy: main" in chief
    assert other == ""
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["epoch", "1", "2"]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["test"]) == {"main", "aux1", "aux2"}
    assert (tmp_path / "run" / "model.keras").is_file()
