"""The cluster: which workers there are, which one this is, and what happens when one is lost."""

import contextlib
import json
import os
import re
from functools import partial

import tensorflow as tf

from keras_inception.errors import InputError

SLURM_FIRST_PORT = 12_000
SLURM_PORTS = 20_000


class WorkerLostError(RuntimeError):
    """Another worker of the cluster ended before the training did."""


def resolver_of_environment(environment=None):
    """Returns the resolver of the cluster that `TF_CONFIG`, or else Slurm, describes; None where neither does.

    Args:
        environment: The variables to read; by default this process's.

    Raises:
        ValueError: `TF_CONFIG` or a Slurm variable is malformed.
    """
    environment = os.environ if environment is None else environment
    if environment.get("TF_CONFIG", "").strip():
        addresses, task_type, task_id = _read_tf_config(environment["TF_CONFIG"])
    elif environment.get("SLURM_NTASKS", "1") not in ("", "1") and "SLURM_PROCID" in environment:
        addresses, task_type, task_id = _read_slurm(environment)
    else:
        return None
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(addresses),
        task_type=task_type,
        task_id=task_id,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )


def _read_tf_config(text):
    """Returns the addresses by job, this worker's job and its number in it."""
    example = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
    rule = f"`TF_CONFIG` must be JSON such as {example}, the same on all workers except for `index`"
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{rule}. It is no JSON ({error}). Received: TF_CONFIG={text!r}") from None
    try:
        addresses, task = config["cluster"], config["task"]
        job, index = task["type"], int(task["index"])
        known = {name: [str(address) for address in addresses[name]] for name in addresses}
        strays = any(isinstance(addresses[name], str) for name in addresses)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{rule}. Received: TF_CONFIG={text!r}") from None
    if strays or not set(known) <= {"chief", "worker"} or len(known.get("chief", ())) > 1:
        raise InputError(f'{rule}; its jobs are "worker" and at most one "chief". Received: TF_CONFIG={text!r}')
    if not 0 <= index < len(known.get(job, ())):
        raise InputError(f"{rule}; `task` must name a member of `cluster`. Received: TF_CONFIG={text!r}")
    return known, job, index


def _read_slurm(environment):
    """Returns the same from the variables that `srun` gives each task; the tasks are dealt out evenly to the nodes."""
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_NODELIST")
    received = ", ".join(f"{name}={environment.get(name)!r}" for name in names)
    try:
        rank, tasks = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
        hosts = _expand_hosts(environment["SLURM_JOB_NODELIST"])
        job = int(environment.get("SLURM_JOB_ID", 0))
        per_node = -(-tasks // len(hosts))
        if not 0 <= rank < tasks:
            raise ValueError
    except (KeyError, ValueError, ZeroDivisionError):
        raise InputError(
            f"Slurm's variables must name the nodes, the number of tasks and this task. Start with `srun`. "
            f"Received: {received}"
        ) from None
    if tasks % len(hosts):
        raise InputError(
            "Each node must run the same number of tasks, for the workers to know each other's addresses. Use "
            f"`--ntasks-per-node`, or set `TF_CONFIG`. Received: {received}"
        )
    # Two jobs on one node must not meet on a port.
    port = SLURM_FIRST_PORT + job % SLURM_PORTS
    return {"worker": [f"{host}:{port + task}" for host in hosts for task in range(per_node)]}, "worker", rank


def _expand_hosts(nodes):
    """Returns the hosts in Slurm's short form, such as `node[01-03,7],login`."""
    name = r"([^,\[\]]*)(?:\[([\d,-]+)\])?([^,\[\]]*)"
    if not re.fullmatch(f"{name}(,{name})*", nodes):
        raise InputError(nodes)
    hosts = []
    for before, numbers, after in re.findall(f"(?:^|,){name}", nodes):
        for span in numbers.split(","):
            first, _, last = span.partition("-")
            if not span:
                hosts.append(f"{before}{after}")
                continue
            hosts += [f"{before}{n:0{len(first)}d}{after}" for n in range(int(first), int(last or first) + 1)]
    return hosts


def _resolver(strategy):
    """Returns the resolver of a strategy, or of the current one; a resolver is returned as it is."""
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    if isinstance(strategy, tf.distribute.cluster_resolver.ClusterResolver):
        return strategy
    return getattr(strategy, "cluster_resolver", None)


def worker_count(strategy=None):
    """Returns the number of workers (processes) that train together: 1 under every strategy of one machine.

    Args:
        strategy: A strategy; by default the current one.
    """
    resolver = _resolver(strategy)
    jobs = resolver.cluster_spec().as_dict() if resolver is not None else {}
    return max(1, sum(len(jobs.get(job, ())) for job in ("chief", "worker")))


def worker_index(strategy=None):
    """Returns which of the workers this is, from 0; the chief is 0.

    Args:
        strategy: A strategy; by default the current one.
    """
    resolver = _resolver(strategy)
    if resolver is None or resolver.task_type is None:
        return 0
    before = len(resolver.cluster_spec().as_dict().get("chief", ())) if resolver.task_type == "worker" else 0
    return before + resolver.task_id


def is_chief(strategy=None):
    """Returns whether this process is the one that writes, and draws the progress bar.

    All workers call `fit`, `evaluate` and `predict`, with the same arguments; the chief alone writes files.

    Args:
        strategy: A strategy; by default the current one.
    """
    return worker_index(strategy) == 0


def agree(values, strategy=None):
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
def lost_workers(strategy=None):
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
        if workers == 1 or (isinstance(error, tf.errors.InternalError) and "ollective" not in error.message):
            raise
        raise WorkerLostError(
            f"Another of the {workers} workers was lost, so worker {worker_index(strategy)} stops: training needs all "
            f"of them. Start all of them again with the same command. Received: {type(error).__name__}"
        ) from error
