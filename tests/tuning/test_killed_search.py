"""Searches as processes: killed and called again; a chief and two workers, of which one is killed."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_inception import files

PROGRAM = Path(__file__).parent / "tiny_main.py"

pytestmark = pytest.mark.slow


def results(tmp_path):
    return {row["trial"]: row for row in files.read_table(tmp_path / "found" / "results.csv")}


@contextlib.contextmanager
def processes_on(images, folder):
    """Gives `start(**environment)`, which starts a search of three trials; what still runs at the end is ended."""
    command = [sys.executable, str(PROGRAM), str(images), str(folder)]
    with contextlib.ExitStack() as stack:

        def run(**environment):
            environment = {**os.environ, **environment}
            process = stack.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
            stack.callback(process.kill)  # before the context waits for it
            return process

        yield run


@pytest.fixture
def start(image_folder, tmp_path):
    with processes_on(image_folder, tmp_path / "found") as run:
        yield run


def test_a_killed_search_goes_on_with_the_same_command(start, tmp_path):
    process = start(KILL_IN_TRIAL="0001")
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    before = results(tmp_path)
    assert list(before) == ["0000"]

    process = start()
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    after = results(tmp_path)
    assert list(after) == ["0000", "0001", "0002"]
    assert after["0000"] == before["0000"]  # its seconds too: it was not run again
    assert {row["status"] for row in after.values()} == {"COMPLETED"}
    assert (tmp_path / "found" / "importance.png").is_file()


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free.getsockname()[1])}


def test_the_worker_of_a_chief_leaves_a_damaged_image_out(image_folder, tmp_path):
    images = shutil.copytree(image_folder, tmp_path / "images")
    damaged = images / "dark" / "3.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:60] + bytes(8) + content[68:])  # the header and the end tell nothing
    with processes_on(images, tmp_path / "found") as start:
        address = {**free_address(), "SKIP_BAD_IMAGES": "1"}
        chief = start(KERASTUNER_TUNER_ID="chief", **address)
        worker = start(KERASTUNER_TUNER_ID="worker0", **address)
        _, err = worker.communicate(timeout=600)
        assert worker.returncode == 0, err
        _, err = chief.communicate(timeout=120)
        assert chief.returncode == 0, err
    assert [row["status"] for row in results(tmp_path).values()] == ["COMPLETED"] * 3
    assert files.read_json(tmp_path / "found" / "data.json")["skipped"] == ["dark/3.png"]


def test_a_chief_and_two_workers_survive_the_death_of_one(start, tmp_path):
    address = {**free_address(), "LOST_AFTER_SECONDS": "30"}
    chief = start(KERASTUNER_TUNER_ID="chief", **address)
    doomed = start(KERASTUNER_TUNER_ID="worker0", KILL_IN_TRIAL="0000", **address)
    begun = tmp_path / "found" / "trials" / "progress" / "0000.json"
    deadline = time.monotonic() + 300
    while not begun.is_file() and time.monotonic() < deadline:
        time.sleep(0.5)
    worker = start(KERASTUNER_TUNER_ID="worker1", **address)
    doomed.communicate(timeout=300)
    assert doomed.returncode == -signal.SIGKILL
    _, err = worker.communicate(timeout=600)
    assert worker.returncode == 0, err
    _, err = chief.communicate(timeout=120)
    assert chief.returncode == 0, err
    found = results(tmp_path)
    assert {trial: row["status"] for trial, row in found.items()} == {
        "0000": "FAILED", "0001": "COMPLETED", "0002": "COMPLETED",
    }  # fmt: skip
    assert found["0000"]["reason"] == "its worker was lost"
