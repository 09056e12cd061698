"""A training that is killed at any moment goes on, and ends with the bits of the one that was never killed."""

import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tiny_network import TINY

h5py = pytest.importorskip("h5py")
pytest.importorskip("tensorflow")

pytestmark = pytest.mark.slow

PROGRAM = pathlib.Path(__file__).parent / "program.py"
# 32 training images: 8 steps an epoch. Dropout, augmentation, MixUp, warm-up, averages, class weights, weights of
# losses that fall: all go on.
OPTIONS = (
    *("--epochs", 3, "--batch-size", 4, "--seed", 3),
    *("--crop-area", 0.5, 1, "--brightness", 0.3, "--mixup", 0.2, "--ema-epochs", 1, "--deterministic"),
    *("--class-weight", "balanced", "--patience", 3, "--max-minutes", 600, "--aux-loss-schedule", "linear"),
)
LIMIT_SECONDS = 600
PREEMPTED = 75


def command(*arguments, moment="never 0"):
    environment = {**os.environ, "MOMENT": moment, "KERAS_BACKEND": "tensorflow"}
    environment.pop("TF_NUM_INTRAOP_THREADS", None)  # as many threads as a user has
    return subprocess.run(
        [sys.executable, str(PROGRAM), "train", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


def weights(model_file):
    """Returns all arrays of a `.keras` file: those of the layers and of the optimizer."""
    arrays = {}
    with zipfile.ZipFile(model_file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


@pytest.fixture(scope="module")
def options(image_folder, tmp_path_factory):
    """The options of all trainings: the tiny network travels as a record in a file."""
    path = tmp_path_factory.mktemp("options") / "tiny.json"
    path.write_text(json.dumps({"architecture": TINY.to_dict(), "dataset": str(image_folder)}))
    return ("--config", path, *OPTIONS)


@pytest.fixture(scope="module")
def never_killed(options, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "never-killed"
    finished = command(*options, "--out", run)
    assert finished.returncode == 0, finished.stderr
    return run


def assert_same(run, never_killed):
    assert (run / "history.csv").read_text() == (never_killed / "history.csv").read_text()
    with open(run / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    for name in ("model.keras", "best.keras"):
        found, expected = weights(run / name), weights(never_killed / name)
        assert found.keys() == expected.keys()
        # 10 convolutions with batch norm and 5 linear layers; two moments and the average of the 40 that learn; a step;
        # the record of what the images went through.
        assert len(expected) == 10 * 5 + 5 * 2 + 3 * 40 + 1 + 1
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert (run / "results.json").read_text() == (never_killed / "results.json").read_text()
    assert not (run / "checkpoint.npz").exists()


@pytest.mark.parametrize(
    "moment",
    ["step 0 2 9", "checkpoint 2 9", "model 2 9", "results 1 9"],
)
def test_a_killed_training_ends_as_if_it_had_not_been(moment, options, never_killed, tmp_path):
    run = tmp_path / "run"
    killed = command(*options, "--out", run, moment=moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = command("--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(run, never_killed)


def test_a_finished_training_is_not_gone_on_with(never_killed):
    again = command("--resume", never_killed)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "holds a finished run" in again.stderr


@pytest.mark.parametrize("moment", ["step 1 5 15", "step 1 7 15"])
def test_a_training_that_is_told_to_end_saves_and_goes_on(moment, options, never_killed, tmp_path):
    run = tmp_path / "run"
    told = command(*options, "--out", run, moment=moment)
    assert told.returncode == PREEMPTED, told.stderr
    assert f"Go on with `keras-inception train --resume {run}`" in told.stderr
    assert (run / "checkpoint.npz").is_file()
    resumed = command(*options, "--out", run)  # the same command goes on as well
    assert resumed.returncode == 0, resumed.stderr
    epoch, step = map(int, moment.split()[1:3])
    steps = (step + 1) % 8  # the signal came when the step was done, and was seen after it
    done = epoch + (step == 7)
    expected = f"going on after {done} epoch{'s' * (done != 1)}" + (f" and {steps} steps" if steps else "")
    assert expected in resumed.stdout
    assert_same(run, never_killed)
