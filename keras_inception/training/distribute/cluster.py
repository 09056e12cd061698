"""The cluster: which workers there are, which one this is, and what happens when one is lost."""

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from keras_inception import undocumented
from keras_inception.errors import InputError, shown
from keras_inception.training.interruption import WorkerLostError

SLURM_FIRST_PORT: int = 12_000
SLURM_PORTS: int = 20_000


def resolver_of_environment() -> Any:
    """Returns the resolver of the cluster that `TF_CONFIG`, or else Slurm, describes; None where neither does.

    Of Slurm, the tasks of one node share its GPUs evenly, unless Slurm gave each its own (`--gpus-per-task`).

    Raises:
        InputError: `TF_CONFIG` or a variable of Slurm is malformed.
    """
    if os.environ.get("TF_CONFIG", "").strip():
        addresses, task_type, task_id = _read_tf_config(os.environ["TF_CONFIG"])
        gpus = len(tf.config.list_physical_devices("GPU"))
    elif os.environ.get("SLURM_STEP_NUM_TASKS", "1") not in ("", "1"):
        addresses, task_type, task_id = _read_slurm()
        gpus = _share_gpus(addresses["worker"], task_id)
    else:
        return None
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(addresses),
        task_type=task_type,
        task_id=task_id,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )


def _read_tf_config(text: str) -> tuple[dict[str, list[str]], str, int]:
    """Returns the addresses by job, this worker's job and its number in it."""
    example = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
    rule = f"`TF_CONFIG` must be JSON such as {example}, the same on all workers except for `index`"
    received = f"Received: TF_CONFIG={shown(text)}"
    try:
        config = json.loads(text)
        addresses, task = config["cluster"], config["task"]
        known = {str(name): list(addresses[name]) for name in addresses}
        job, index = str(task["type"]), int(task["index"])
        strays = not all(isinstance(addresses[name], list) for name in addresses)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = f" It is no JSON ({error})." if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{rule}.{reason} {received}") from None
    if strays or not set(known) <= {"chief", "worker"} or len(known.get("chief", ())) > 1:
        raise InputError(f'{rule}; its jobs are "worker" and at most one "chief". {received}')
    if not 0 <= index < len(known.get(job, ())) or str(index) != str(task["index"]):  # 1.9, true
        raise InputError(f"{rule}; `task` must name a member of `cluster`. {received}")
    everyone = [address for addresses in known.values() for address in addresses]
    for address in everyone:
        if not _is_address(address):
            raise InputError(
                f"{rule}; each address is a host, `:` and a port, and {shown(address)} is none. {received}"
            )
        if everyone.count(address) > 1:
            raise InputError(
                f"{rule}; each worker has an address of its own, and {address!r} is there twice. {received}"
            )
    return known, job, index


def _is_address(address: Any) -> bool:
    """Returns whether this is a name of a host that can be looked up, `:` and a port."""
    if not isinstance(address, str) or not re.fullmatch(r"[!-~]+:[0-9]{1,5}", address):
        return False
    host, _, port = address.rpartition(":")
    with contextlib.suppress(UnicodeError):  # a part of the name is empty or too long
        return bool(host.encode("idna")) and 0 < int(port) < 65536
    return False


def _read_slurm() -> tuple[dict[str, list[str]], str, int]:
    """Returns the same from the variables that `srun` gives each task.

    TensorFlow's `SlurmClusterResolver` refuses lists of nodes with two brackets in a name or letters behind one, and
    sorts the nodes by name ("n10" before "n9") while it takes the number of a task for its place among them.
    """
    names = ("SLURM_LOCALID", "SLURMD_NODENAME", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST",
             "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")  # fmt: skip
    received = ", ".join(f"{name}={shown(os.environ.get(name))}" for name in names)
    try:
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
        # Two jobs on one node must not meet on a port.
        port = SLURM_FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % SLURM_PORTS
        nodes = list(itertools.islice(_nodes(os.environ["SLURM_STEP_NODELIST"]), tasks + 1))
        counts = list(itertools.islice(_tasks_per_node(os.environ["SLURM_STEP_TASKS_PER_NODE"]), tasks + 1))
        if sum(counts) != tasks:
            raise ValueError(f"{tasks} tasks")
        addresses = [f"{node}:{port + i}" for node, count in zip(nodes, counts, strict=True) for i in range(count)]
        own = addresses.index(f"{os.environ['SLURMD_NODENAME']}:{port + int(os.environ['SLURM_LOCALID'])}")
        if len(set(addresses)) < tasks or not all(map(_is_address, addresses)):
            raise ValueError(addresses)
    except (KeyError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            "Slurm's variables must name the nodes, their tasks and this task. Start with `srun`, or set `TF_CONFIG`. "
            f"Received: {received}"
        ) from error
    return {"worker": addresses}, "worker", own


def _nodes(text: str) -> Iterator[str]:
    """Yields the nodes that Slurm writes as `login,r[1-2]n[09-11,13]-ib`."""
    for name in re.split(r",(?![^\[]*\])", text):  # at commas outside of brackets
        before, bracket, rest = name.partition("[")
        if not bracket:
            yield name
            continue
        ranges, after = rest.split("]", 1)
        for each in ranges.split(","):
            first, _, last = each.partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield from _nodes(f"{before}{number:0{len(first)}}{after}")


def _tasks_per_node(text: str) -> Iterator[int]:
    """Yields the numbers that Slurm writes as `2(x3),1`."""
    for each in text.split(","):
        count, _, times = each.removesuffix(")").partition("(x")
        yield from itertools.repeat(int(count), int(times or 1))


def _share_gpus(addresses: Sequence[str], index: int) -> int:
    """Leaves to this process its own part of the GPUs of its node, and returns how many that are."""
    gpus = tf.config.list_physical_devices("GPU")
    host = addresses[index].rsplit(":", 1)[0]
    on_this_node = [number for number, address in enumerate(addresses) if address.rsplit(":", 1)[0] == host]
    each = len(gpus) // len(on_this_node)
    if each == 0 or len(on_this_node) == 1 or "SLURM_GPUS_PER_TASK" in os.environ:
        return len(gpus)
    first = each * on_this_node.index(index)
    tf.config.set_visible_devices(gpus[first : first + each], "GPU")
    return each


def _resolver(strategy: Any) -> Any:
    """Returns the resolver of a strategy, by default the current one, or None; a resolver is returned as it is."""
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    resolver = getattr(strategy, "cluster_resolver", strategy)
    return resolver if isinstance(resolver, tf.distribute.cluster_resolver.ClusterResolver) else None


def worker_addresses(strategy: Any = None) -> list[str]:
    """Returns the addresses of the workers in the order of their numbers; none where there is no cluster."""
    resolver = _resolver(strategy)
    jobs = {} if resolver is None else resolver.cluster_spec().as_dict()
    return [*jobs.get("chief", ()), *jobs.get("worker", ())]


def worker_count(strategy: Any = None) -> int:
    """Returns the number of workers (processes) that train together: 1 under every strategy of one machine.

    Args:
        strategy: A strategy; by default the current one.
    """
    return max(1, len(worker_addresses(strategy)))


def worker_index(strategy: Any = None) -> int:
    """Returns which of the workers this is, from 0; the chief is 0.

    Args:
        strategy: A strategy; by default the current one.
    """
    resolver = _resolver(strategy)
    if resolver is None or resolver.task_type is None:
        return 0
    return resolver.task_id + (
        len(resolver.cluster_spec().as_dict().get("chief", ())) if resolver.task_type == "worker" else 0
    )


def is_chief(strategy: Any = None) -> bool:
    """Returns whether this process is the one that writes, and draws the progress bar.

    All workers call `fit`, `evaluate` and `predict`, with the same arguments; the chief alone writes files.

    Args:
        strategy: A strategy; by default the current one.
    """
    return worker_index(strategy) == 0


def agree(values: Sequence[int], strategy: Any = None) -> bool:
    """Waits for all workers, and returns whether they have the same values; on one worker they do.

    Args:
        values: Integers.
        strategy: A strategy; by default the current one.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    if worker_count(strategy) == 1:
        return True
    replicas = strategy.num_replicas_in_sync
    sums = [strategy.reduce("SUM", strategy.run(partial(tf.constant, value, tf.int64)), axis=None) for value in values]
    return [int(total) for total in sums] == [value * replicas for value in values]


@contextlib.contextmanager
def lost_workers(strategy: Any = None) -> Iterator[None]:
    """Turns TensorFlow's errors about a peer that ended into one `WorkerLostError` with one line.

    Put it around all of the training. Where there is one worker it changes nothing.

    Args:
        strategy: A strategy; by default the one that is current when an error comes.

    Raises:
        WorkerLostError: Another worker ended.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        workers = worker_count(strategy)
        if workers == 1 or (isinstance(error, tf.errors.InternalError) and not undocumented.is_of_collective(error)):
            raise
        raise WorkerLostError(
            f"Another of the {workers} workers was lost, so worker {worker_index(strategy)} stops: training needs all "
            f"of them. Start all of them again with the same command. Received: {type(error).__name__}"
        ) from error
