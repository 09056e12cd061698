"""Workers in processes of their own: the chief alone writes and talks, and a lost worker ends the others."""

import json
import pathlib
import shutil
import signal
import sys

import pytest
import tensorflow as tf
from conftest import cluster_of
from tiny_network import TINY

from keras_inception import data
from keras_inception.training import distribute
from keras_inception.training.interruption import PreemptedError, termination_signal

pytestmark = pytest.mark.tensorflow
PROGRAM = pathlib.Path(__file__).parents[1] / "survival" / "program.py"


@pytest.fixture
def two_workers(start, image_folder, tmp_path):
    """Returns `run(moments, *options)`: `train` on two workers; `moments` are those of `survival/program.py`."""

    def run(moments=("never 0", "never 0"), *options, dataset=image_folder, homes=None):
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"architecture": TINY.to_dict()}))
        command = [sys.executable, str(PROGRAM), "train", "--dataset", str(dataset), "--config", str(config)]
        command += ["--epochs", "2", "--batch-size", "8", "--out", str(tmp_path / "run"), *options]
        own = [{"KERAS_HOME": str(home)} for home in homes or ()] or [{}, {}]
        each = zip(cluster_of(2), moments, own)
        return start(command, [{**found, "MOMENT": moment, **its} for found, moment, its in each])

    return run


@pytest.mark.slow
def test_two_workers_train_one_run_that_the_chief_writes_also_after_a_worker_was_lost(two_workers, tmp_path):
    killed, other = two_workers(("step 1 1 9", "never 0"))  # the chief, in the second epoch
    assert (killed.code, other.code) == (-9, 2), other.complained
    assert "32 training, 4 validation, 4 test images" in killed.said
    complaints = complained_of(other)
    assert len(complaints) == 1
    assert "Another of the 2 workers was lost, so worker 1 stops" in complaints[0]

    chief, other = two_workers()
    assert (chief.code, other.code) == (0, 0), chief.complained + other.complained
    assert "going on after 1 epoch" in chief.said
    assert "test accuracy: main" in chief.said
    assert other.said == ""
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["epoch", "1", "2"]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["test"]) == {"main", "aux1", "aux2"}
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
def test_workers_that_are_all_told_to_end_are_preempted_and_go_on_with_the_same_command(two_workers):
    moment = f"batch 1 1 {signal.SIGTERM.value}"
    chief, other = two_workers((moment, moment))
    assert (chief.code, other.code) == (75, 75), chief.complained + other.complained
    told = [complained_of(worker)[-1] for worker in (chief, other)]
    assert "told to end (SIGTERM), so the training was saved after 1 epoch and 2 steps" in told[0]
    assert told[1] == (
        "keras-inception train: told to end (SIGTERM), as another worker has ended: the same command on all workers "
        "goes on from what the first of them saved"
    )

    chief, other = two_workers()
    assert (chief.code, other.code) == (0, 0), chief.complained + other.complained
    assert "going on after 1 epoch and 2 steps" in chief.said


def complained_of(worker):
    """Returns the lines of the command itself, without those of TensorFlow's C++."""
    return [line for line in worker.complained.splitlines() if line.startswith("keras-inception")]


@pytest.mark.parametrize(
    ("told", "error", "expected"),
    [
        (False, distribute.WorkerLostError("the chief"), distribute.WorkerLostError),
        (True, distribute.WorkerLostError("the chief"), PreemptedError),
        (True, ValueError("no matter"), ValueError),
    ],
)
def test_a_worker_that_was_told_to_end_is_preempted_and_not_bereft(told, error, expected):
    with pytest.raises(Exception, match=r"the same command on all workers goes on|the chief|no matter") as raised:
        _end_a_training(error, told=told)
    assert type(raised.value) is expected


def _end_a_training(error, *, told):
    with termination_signal():
        if told:
            signal.raise_signal(signal.SIGTERM)
        raise error


@pytest.mark.slow
def test_an_image_that_is_damaged_within_is_left_out_by_all_workers(two_workers, image_folder, tmp_path):
    images = shutil.copytree(image_folder, tmp_path / "images")
    damaged = images / "dark" / "3.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:60] + bytes(8) + content[68:])  # the header and the end tell nothing
    options = ("--skip-bad-images", "--test-fraction", "0")

    ended = two_workers(("never 0", "never 0"), *options, dataset=images)
    assert [each.code for each in ended] == [2, 2]
    told = "".join(each.complained for each in ended)
    assert "dark/3.png" in told
    assert "and are left out now: " in told
    assert ". The same command on all workers goes on." in told
    assert "defect" not in told

    chief, other = two_workers(("never 0", "never 0"), *options, dataset=images)
    assert (chief.code, other.code) == (0, 0), chief.complained + other.complained
    assert "35 training, 4 validation, 0 test images" in chief.said  # of 40
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert record["skipped"] == ["dark/3.png"]
    assert "dark/3.png" not in str(record["splits"])


@pytest.mark.slow
def test_workers_of_whom_one_knows_of_damage_train_on_the_same_images(two_workers, image_folder, tmp_path, monkeypatch):
    images = shutil.copytree(image_folder, tmp_path / "images")
    for name in ("dark/3.png", "light/8.png"):
        content = (images / name).read_bytes()
        (images / name).write_bytes(content[:60] + bytes(8) + content[68:])
    homes = [tmp_path / "home 0", tmp_path / "home 1"]
    monkeypatch.setenv("KERAS_HOME", str(homes[1]))
    loaded = data.load(images, architecture=TINY, skip_bad_images=True, full_check=True)
    assert sum(loaded.sizes.values()) == 38

    chief, other = two_workers(("never 0", "never 0"), "--skip-bad-images", dataset=images, homes=homes)
    assert (chief.code, other.code) == (0, 0), chief.complained + other.complained
    assert "not every worker knows of the same unreadable images" in chief.complained
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == loaded.record


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1], ids=["the chief", "a worker"])
def test_a_killed_worker_ends_the_other(dies, launch):
    workers = launch("loses_a_worker", workers=2, dies=dies)
    killed, other = workers[dies], workers[1 - dies]
    assert (killed.code, other.code) == (-9, 7), other.complained
    lines = [line for line in other.said.splitlines() if line.startswith("Lost: ")]
    assert lines == [
        f"Lost: Another of the 2 workers was lost, so worker {1 - dies} stops: training needs all of them. Start "
        "all of them again with the same command. Received: UnavailableError"
    ]


def test_only_errors_of_communication_among_several_workers_mean_a_lost_one():
    spec = tf.train.ClusterSpec({"worker": ["127.0.0.1:1", "127.0.0.1:2"]})
    workers = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type="worker", task_id=1)
    text = "Another of the 2 workers was lost, so worker 1 stops: training needs all of them"
    with pytest.raises(distribute.WorkerLostError, match=text), distribute.lost_workers(workers):
        raise tf.errors.UnavailableError(None, None, "Connection reset by peer")
    with pytest.raises(ValueError, match=r"^no matter$"), distribute.lost_workers(workers):
        raise ValueError("no matter")
    with pytest.raises(tf.errors.UnavailableError), distribute.lost_workers():  # of a file server
        raise tf.errors.UnavailableError(None, None, "a file server")
