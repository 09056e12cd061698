"""Workers in processes of their own: the chief alone writes and talks, and a lost worker ends the others."""

import json
import pathlib
import shutil
import sys

import pytest
import tensorflow as tf
from conftest import cluster_of
from tiny_network import TINY

from keras_inception.training import distribute

pytestmark = pytest.mark.tensorflow
PROGRAM = pathlib.Path(__file__).parents[1] / "survival" / "program.py"


@pytest.fixture
def two_workers(start, image_folder, tmp_path):
    """Returns `run(moments, *options)`: `train` on two workers; `moments` are those of `survival/program.py`."""

    def run(moments=("never 0", "never 0"), *options, dataset=image_folder):
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"architecture": TINY.to_dict()}))
        command = [sys.executable, str(PROGRAM), "train", "--dataset", str(dataset), "--config", str(config)]
        command += ["--epochs", "2", "--batch-size", "8", "--out", str(tmp_path / "run"), *options]
        return start(command, [found | {"MOMENT": moment} for found, moment in zip(cluster_of(2), moments)])

    return run


@pytest.mark.slow
def test_two_workers_train_one_run_that_the_chief_writes_also_after_a_worker_was_lost(two_workers, tmp_path):
    killed, other = two_workers(("step 1 1 9", "never 0"))  # the chief, in the second epoch
    assert (killed.code, other.code) == (-9, 2), other.complained
    assert "32 training, 4 validation, 4 test images" in killed.said
    complaints = [line for line in other.complained.splitlines() if line.startswith("keras-inception")]
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
    assert "These are left out now: the same command on all workers goes on." in told
    assert "defect" not in told

    chief, other = two_workers(("never 0", "never 0"), *options, dataset=images)
    assert (chief.code, other.code) == (0, 0), chief.complained + other.complained
    assert "35 training, 4 validation, 0 test images" in chief.said  # of 40
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert record["skipped"] == ["dark/3.png"]
    assert "dark/3.png" not in str(record["splits"])


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
