"""`keras-inception train` on two workers: both end well, the chief alone writes and talks."""

import json
import os
import socket
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")

COMMAND = "import sys; sys.argv[0] = 'keras-inception'; from keras_inception.cli import main; sys.exit(main())"
LIMIT_SECONDS = 400


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@pytest.mark.slow
def test_two_workers_train_one_run_that_the_chief_writes(image_folder, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    arguments = ["--dataset", image_folder, "--architecture", "googlenet_small", "--epochs", "1", "--batch-size", "8"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, "train", *map(str, arguments), "--out", str(tmp_path / "run")],
            env={
                **os.environ,
                "TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        (chief, chief_errors), (other, other_errors) = (
            process.communicate(timeout=LIMIT_SECONDS) for process in processes
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], chief_errors + other_errors
    assert "32 training, 4 validation, 4 test images" in chief
    assert "test accuracy: main" in chief
    assert other == ""
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["test"]) == {"main", "aux1", "aux2"}
    assert (tmp_path / "run" / "model.keras").is_file()
