"""Searches as processes: killed and called again; a chief and two workers, of which one is killed."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = Path(__file__).parent / "tiny_main.py"

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path):
    """The command of a small search of three trials."""
    for name, least in (("dark", 0), ("light", 150)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(20):
            picture = Image.new("RGB", (10, 10), (least + 5 * index, least + index, least))
            picture.save(tmp_path / "pictures" / name / f"{index}.png")
    (tmp_path / "base.json").write_text(json.dumps({"architecture": "tiny", "epochs": 1, "batch_size": 16}))
    return [
        *(sys.executable, str(PROGRAM), "tune", "--config", "base.json", "--dataset", "pictures", "--out", "found"),
        *("--max-trials", "3", "--tuner", "random", "--hours", "1", "--search", "learning_rate", "aux1_weight"),
    ]


def results(tmp_path):
    with open(tmp_path / "found" / "results.csv", newline="") as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


@pytest.fixture
def start(command, tmp_path):
    """Returns `start(**environment)`, which starts the command; whatever still runs at the end is ended."""
    with contextlib.ExitStack() as stack:

        def run(**environment):
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=tmp_path,
                    env={**os.environ, **environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)  # before the context waits for it
            return process

        yield run


def test_a_killed_search_goes_on_with_the_same_command(start, tmp_path):
    process = start(KILL_IN_TRIAL="1")
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    before = results(tmp_path)
    assert list(before) == ["0"]

    process = start()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    after = results(tmp_path)
    assert list(after) == ["0", "1", "2"]
    assert after["0"] == before["0"]  # its seconds too: it was not run again
    assert {row["status"] for row in after.values()} == {"COMPLETED"}
    assert "best: trial" in out


def test_a_chief_and_two_workers_survive_the_death_of_one(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port, "LOST_AFTER_SECONDS": "20"}
    chief = start(KERASTUNER_TUNER_ID="chief", **address)
    doomed = start(KERASTUNER_TUNER_ID="worker0", KILL_IN_TRIAL="0", **address)
    started = tmp_path / "found" / "trials" / "trial_0"
    deadline = time.monotonic() + 300
    while not started.is_dir() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert started.is_dir()
    worker = start(KERASTUNER_TUNER_ID="worker1", **address)
    doomed.communicate(timeout=300)
    assert doomed.returncode == -signal.SIGKILL
    _, err = worker.communicate(timeout=600)
    assert worker.returncode == 0, err
    out, err = chief.communicate(timeout=120)
    assert chief.returncode == 0, err
    found = results(tmp_path)
    assert sorted(found) == ["0", "1", "2"]
    assert {row["status"] for row in found.values()} == {"COMPLETED"}
    assert out.count("learning_rate=") == 3
