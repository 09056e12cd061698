"""Workers wait for each other, say for whom, and end when they are told to or the time is over."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import HERE, cluster_of

from keras_inception.errors import InputError
from keras_inception.training import distribute
from keras_inception.training.distribute import cluster, meeting

pytestmark = pytest.mark.tensorflow


def resolvers(workers):
    """Returns what each of so many workers on this machine knows of the cluster."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for environment in cluster_of(workers):
            patch.setenv("TF_CONFIG", environment["TF_CONFIG"])
            found.append(cluster.resolver_of_environment())
    return found


def test_workers_that_all_come_meet_and_leave_their_ports_free():
    everyone = resolvers(3)
    said = []
    with ThreadPoolExecutor() as pool:
        meetings = [pool.submit(meeting.meet, worker, 60, said.append) for worker in everyone]
        assert [found.result() for found in meetings] == [None, None, None]
    for address in cluster.worker_addresses(everyone[0]):
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            pass


def test_a_worker_says_for_whom_it_waits_and_gives_up_in_time():
    _, worker, _ = resolvers(3)
    own, others = (addresses := cluster.worker_addresses(worker)).pop(1), ", ".join(addresses)
    said = []
    message = f"After 3 s worker 1 ({own}) waited for 2 of the 3 workers: {others}. Start all of them within this time"
    with pytest.raises(distribute.WorkerLostError, match=re.escape(message)):
        meeting.meet(worker, 3, said.append)
    assert said == [f"worker 1 ({own}) waits for 2 of the 3 workers: {others}; it gives up after 3 s"]


def test_a_stranger_at_a_workers_port_is_no_worker():
    worker, _ = resolvers(2)
    port = int(cluster.worker_addresses(worker)[1].rpartition(":")[2])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(distribute.WorkerLostError, match=f"127.0.0.1:{port}"),
    ):
        meeting.meet(worker, 0, lambda message: None)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_refused(workers, monkeypatch):
    environment = cluster_of(workers)[0]
    (address, *_) = json.loads(environment["TF_CONFIG"])["cluster"]["worker"]
    monkeypatch.setenv("TF_CONFIG", environment["TF_CONFIG"])
    with (
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))),
        pytest.raises(InputError, match=f"must be free on its machine.*Received: {address} \\(Address already in use"),
    ):
        distribute.get_strategy("multi-worker")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_the_command_says_for_whom_it_waits_and_ends_on_a_signal(number, code, tmp_path):
    environment = {**os.environ, **cluster_of(2)[1], "PYTHONPATH": str(HERE.parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "keras_inception", "train", "--out", str(tmp_path / "run")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}

    def heed_interrupts():  # which a shell tells what it starts in the background to ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, env=environment, preexec_fn=heed_interrupts, **pipes) as process:
        said = next(line for line in process.stderr if "waits for" in line)
        process.send_signal(number)
        assert process.wait(timeout=60) == code
        rest = process.stderr.read()
    assert re.fullmatch(r"warning: worker 1 \(\S+\) waits for 1 of the 2 workers: \S+; it gives up after 600 s\n", said)
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
