"""Which strategy is taken, and which worker of which cluster this is; in this process, with one worker."""

import json
import os
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from keras_inception import data
from keras_inception.errors import InputError
from keras_inception.recipes import Augmentation
from keras_inception.training import distribute
from keras_inception.training.distribute import batches, cluster

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    for name in [name for name in os.environ if name == "TF_CONFIG" or name.startswith("SLURM")]:
        monkeypatch.delenv(name)


@pytest.fixture
def resolver(monkeypatch):
    """Returns the resolver of an environment with these variables."""

    def resolve(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return cluster.resolver_of_environment()

    return resolve


def tf_config(**changes):
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    return {"TF_CONFIG": json.dumps({**config, **changes})}


def test_one_device_is_the_default_strategy():
    default = tf.distribute.get_strategy()
    assert distribute.get_strategy("one") is default
    if len(tf.config.list_physical_devices("GPU")) < 2:
        assert distribute.get_strategy() is default
    assert distribute.is_chief()
    assert (distribute.worker_count(), distribute.worker_index()) == (1, 0)


def test_unknown_strategies_and_no_cluster_are_refused():
    with pytest.raises(ValueError, match=r"`name` must be one of .*'multi-worker'.*Received: name='many'"):
        distribute.get_strategy("many")
    with pytest.raises(ValueError, match=r"must know each other, through the variable `TF_CONFIG`.*Received: no TF_"):
        distribute.get_strategy("multi-worker")


def test_the_cluster_is_read_from_tf_config_and_the_chief_stands_before_the_workers(resolver):
    found = resolver(tf_config())
    assert found.cluster_spec().as_dict() == {"worker": ["a:1", "b:2"]}
    assert (distribute.worker_count(found), distribute.worker_index(found)) == (2, 1)
    assert not distribute.is_chief(found)
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:2"]}
    assert distribute.is_chief(resolver(tf_config(cluster=jobs, task={"type": "chief", "index": 0})))
    worker = resolver(tf_config(cluster=jobs, task={"type": "worker", "index": 1}))
    assert (distribute.worker_count(worker), distribute.worker_index(worker)) == (3, 2)


@pytest.mark.parametrize(
    "text",
    [
        "{cluster",
        "[]",
        "{}",
        "null",
        "[" * 200_000,
        "1" * 5_000,
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1e400}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": NaN}}',
        json.dumps({"cluster": {"worker": ["a:1"]}}),
        json.dumps({"cluster": {"worker": {"a:1": 0}}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
        json.dumps({"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}),
        *(
            json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}})
            for addresses in (
                ["a:1", "b"],
                ["a", "b:1"],
                ["a:0"],
                ["a:65536"],
                ["a:http"],
                [":1"],
                ["a:1", "a:1"],
                [["a:1"]],
                [None],
                ["a..b:1"],
                ["a" * 64 + ":1"],
                ["a b:1"],
                ["a\n:1"],
                ["\ud800:1"],
            )
        ),
        json.dumps({"cluster": {"chief": ["a:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}),
        *(
            json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": task})
            for task in ({"type": ["worker"], "index": 0}, {"type": "worker", "index": 1.9})
        ),
    ],
)
def test_a_malformed_tf_config_is_refused(resolver, text):
    with pytest.raises(InputError, match=r"`TF_CONFIG` must be JSON such as .* Received: TF_CONFIG="):
        resolver({"TF_CONFIG": text})


def slurm(**changes):
    """What `srun --nodes 2 --ntasks-per-node 2` gives the first task on the second node."""
    return {
        "SLURM_JOB_ID": "40001",
        "SLURM_LOCALID": "0",
        "SLURMD_NODENAME": "node09",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": "node[08-09]",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        **changes,
    }


def test_the_cluster_is_read_from_slurm(resolver):
    found = resolver(slurm())
    assert found.cluster_spec().as_dict() == {
        "worker": ["node08:12001", "node08:12002", "node09:12001", "node09:12002"]
    }
    assert (distribute.worker_count(found), distribute.worker_index(found)) == (4, 2)
    uneven = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"}
    assert resolver(slurm(**uneven)).cluster_spec().as_dict()["worker"][2:] == ["node09:12001"]
    assert resolver(slurm(SLURM_STEP_NUM_TASKS="1")) is None  # one task is no cluster


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
        ("n[9-10]-ib", "n9-ib n10-ib"),
        ("n[008-010,7],login", "n008 n009 n010 n7 login"),
        ("a-[1,3]x[01-02]y,b", "a-1x01y a-1x02y a-3x01y a-3x02y b"),
        ("a,b[3]", "a b3"),
    ],
)
def test_slurms_lists_of_nodes_are_expanded(resolver, text, nodes):
    nodes = nodes.split()
    last = {"SLURMD_NODENAME": nodes[-1], "SLURM_STEP_NODELIST": text, "SLURM_LOCALID": "0"}
    one_each = {"SLURM_STEP_NUM_TASKS": str(len(nodes)), "SLURM_STEP_TASKS_PER_NODE": f"1(x{len(nodes)})"}
    found = resolver(slurm(**last, **one_each))
    assert found.cluster_spec().as_dict()["worker"] == [f"{node}:12001" for node in nodes]
    assert distribute.worker_index(found) == len(nodes) - 1


def test_slurms_numbers_of_tasks_are_expanded(resolver):
    several = {"SLURM_STEP_NODELIST": "node[08-11]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1,3"}
    found = resolver(slurm(**several, SLURM_STEP_NUM_TASKS="8", SLURMD_NODENAME="node11", SLURM_LOCALID="2"))
    hosts = [address.split(":")[0] for address in found.cluster_spec().as_dict()["worker"]]
    assert hosts == ["node08"] * 2 + ["node09"] * 2 + ["node10"] + ["node11"] * 3
    assert distribute.worker_index(found) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_STEP_NODELIST": "node[1-3"},
        {"SLURM_STEP_NODELIST": "node[a-b]"},
        {"SLURM_STEP_NODELIST": "node[08-09],node08"},
        {"SLURM_STEP_NODELIST": "node[08-99999999999999999999]"},
        {"SLURM_STEP_NODELIST": "node" + "[08-09]" * 5_000},
        {"SLURM_STEP_NODELIST": f"node[08-09]{'x' * 99}"},
        {"SLURM_STEP_NODELIST": ""},
        {"SLURM_LOCALID": "7"},
        {"SLURM_LOCALID": ""},
        {"SLURM_STEP_TASKS_PER_NODE": "many"},
        {"SLURM_STEP_TASKS_PER_NODE": "2(x99999999999999999999)"},
        {"SLURM_STEP_TASKS_PER_NODE": "4"},
        {"SLURM_STEP_TASKS_PER_NODE": "2"},
        {"SLURM_STEP_NUM_TASKS": "many"},
        {"SLURM_JOB_ID": "many"},
    ],
)
def test_a_malformed_slurm_is_refused(resolver, changes):
    with pytest.raises(InputError, match=r"must name the nodes, their tasks and this task.*Received: SLURM_LOCALID="):
        resolver(slurm(**changes))


def workers_of(count, index):
    """What `batch` needs of a strategy."""
    spec = tf.train.ClusterSpec({"worker": [f"w{i}:1" for i in range(count)]})

    class Strategy:
        num_replicas_in_sync = count
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, "", "worker", index)

    return Strategy()


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 7, 8, 15, 21])
def test_the_workers_batches_are_together_the_global_ones(workers, count):
    examples = tf.data.Dataset.range(count)
    own = [
        distribute.batch(examples, 7, lambda x: x * 10, strategy=workers_of(workers, index)) for index in range(workers)
    ]
    steps = [0 if count == 0 else -(-count // 7)] * workers
    assert [int(dataset.cardinality()) for dataset in own] == steps
    together = [sorted(np.concatenate(parts).tolist()) for parts in zip(*(d.as_numpy_iterator() for d in own))]
    assert together == [list(range(10 * first, 10 * min(first + 7, count), 10)) for first in range(0, count, 7)]
    sizes = [[len(part) for part in parts] for parts in zip(*(d.as_numpy_iterator() for d in own))]
    assert all(max(size) - min(size) <= 1 for size in sizes)


@pytest.mark.parametrize("worker", [0, 2])
def test_a_worker_that_goes_on_within_an_epoch_gets_what_it_would_have_got(worker):
    batch = partial(distribute.batch, strategy=workers_of(3, worker))
    digits = data.load("digits", image_size=8, batch_size=323, batch=batch, augmentation=Augmentation(shift=0.1))
    assert digits.sizes["train"] % 323 == 1  # of the last batch one worker alone has something
    expected = list(digits.train_from(0).take(7).as_numpy_iterator())
    for step in (1, 4, 5):
        found = list(digits.train_from(0, step).take(7 - step).as_numpy_iterator())
        assert [len(labels) for _, labels in found] == [len(labels) for _, labels in expected[step:]]
        for pair, same in zip(found, expected[step:], strict=True):
            assert all(np.array_equal(*arrays) for arrays in zip(pair, same, strict=True))


def test_a_batch_smaller_than_the_replicas_is_refused():
    with pytest.raises(ValueError, match=r"at least the number of replicas.*Received: batch_size=2, 3 replicas"):
        distribute.batch(tf.data.Dataset.range(9), 2, strategy=workers_of(3, 0))


@pytest.mark.parametrize("size", [8, 7, 3, 1])
def test_a_batch_is_split_evenly_and_completely(size):
    dataset = tf.data.Dataset.range(size).map(lambda x: (x, -x)).batch(size)
    contexts = [tf.distribute.InputContext(2, worker, 4) for worker in range(2)]  # two workers with two devices each
    parts = [list(batches.split(dataset, context).as_numpy_iterator()) for context in contexts]
    assert [len(own) for own in parts] == [2, 2]
    in_order = [parts[0][0], parts[1][0], parts[0][1], parts[1][1]]  # as Keras puts predictions together
    assert np.concatenate([x for x, _ in in_order]).tolist() == list(range(size))
    assert np.concatenate([y for _, y in in_order]).tolist() == [-x for x in range(size)]
    sizes = [len(x) for x, _ in in_order]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] > 0  # Keras builds the model from the first part
