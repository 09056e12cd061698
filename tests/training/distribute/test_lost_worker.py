"""A worker that dies ends the others soon, with one clear line."""

import pytest
import tensorflow as tf

from keras_inception.training import distribute

pytestmark = pytest.mark.tensorflow


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1], ids=["the chief", "a worker"])
def test_a_killed_worker_ends_the_other_within_a_minute(dies, launch):
    workers = launch("loses_a_worker", workers=2, dies=dies)
    killed, other = workers[dies], workers[1 - dies]
    assert (killed.code, other.code) == (-9, 7), other.log
    assert 0 <= other.ended - killed.ended < 60
    lines = [line for line in other.log.splitlines() if line.startswith("Lost: ")]
    assert lines == [
        f"Lost: Another of the 2 workers was lost, so worker {1 - dies} stops: training needs all of them. Start "
        "all of them again with the same command. Received: UnavailableError"
    ]


def two_workers():
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": ["127.0.0.1:1", "127.0.0.1:2"]}), task_type="worker", task_id=1
    )


def test_only_errors_of_communication_mean_a_lost_worker():
    lost = tf.errors.UnavailableError(None, None, "Connection reset by peer")
    text = "Another of the 2 workers was lost, so worker 1 stops: training needs all of them"
    with pytest.raises(distribute.WorkerLostError, match=text), distribute.lost_workers(two_workers()):
        raise lost
    with pytest.raises(ValueError, match=r"^no matter$"), distribute.lost_workers(two_workers()):
        raise ValueError("no matter")


def test_one_worker_cannot_be_lost():
    with pytest.raises(tf.errors.UnavailableError), distribute.lost_workers():
        raise tf.errors.UnavailableError(None, None, "a file server")
