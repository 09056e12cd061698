"""Measures how time grows with multiply-adds, over image size, batch and width, and what a second worker brings.

Each cell is a process of its own on one core and one thread, and takes turns with the reference: the paper's network,
224x224, 16 images. Multiply-adds and times are an image's, as multiples of the reference's; the time is the
processor's. Two workers, on loopback and one core each, take turns with one process on one core at the same number of
images a core, with two that exchange nothing, and with PyTorch's DistributedDataParallel over gloo; there it is the
wall-clock time of a step within a call of `fit`, which needs a machine that does nothing else.

    python benchmarks/scaling.py
"""

import argparse
import json
import os
import socket
import statistics
import time
from contextlib import ExitStack

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from machine import cell, machine, ratios, row, table, versions
from processes import Measured, in_turns, last_core

REFERENCE = {"architecture": "googlenet", "width": 1, "size": 224, "batch_size": 16}
CELLS = (
    *({"size": size} for size in (96, 128, 160, 288)),
    *({"batch_size": batch_size} for batch_size in (1, 4, 32)),
    *({"width": width} for width in (0.25, 0.5, 1.5)),
)


def costs_table(arguments):
    commands = {"step": "training step", "forward": "forward pass"}
    table(
        f"Beside googlenet at 224x224 and batch 16, {arguments.dtype}, one core; an image each; {arguments.repeats} "
        "repeats in turns. A training step is that of all heads with Adam, a forward pass the main head's.",
        "width", "pixels", "batch", "multiply-adds, training", *(f"time of a {what}" for what in commands.values()),
    )  # fmt: skip
    options = {"dtype": arguments.dtype, "threads": 1, "cores": last_core(), "warm": list(commands)}
    with Measured("ours", **REFERENCE, **options) as reference:
        base = reference.ready()
        for change in CELLS[: arguments.cells]:
            what = REFERENCE | change
            with Measured("ours", **what, **options) as process:
                facts = process.ready()
                share = REFERENCE["batch_size"] / what["batch_size"]  # of an image, not of a batch
                times = []
                for command in commands:
                    turns = {"this": (process, command), "reference": (reference, command)}
                    seconds = in_turns(turns, arguments.repeats)
                    times.append(cell([share * ratio for ratio in ratios(seconds["this"], seconds["reference"])]))
            multiply_adds = f"{facts['multiply_adds'] / base['multiply_adds']:.2f}"
            row(what["width"], what["size"], what["batch_size"], multiply_adds, *times)


def workers_table(arguments):
    cores = sorted(os.sched_getaffinity(0))[-2:]
    if len(cores) < 2:
        raise SystemExit("Two workers need two cores.")
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    [port] = free_ports(1)
    options = {"size": arguments.size, "steps": arguments.steps, "batch_size": arguments.per_core}
    with ExitStack() as stack:
        ours, theirs = [], []
        for rank, (core, task) in enumerate(zip(cores, tasks)):
            environment = {"TF_CONFIG": json.dumps(task)}
            process = Measured(
                "worker", cores=[core], environment=environment, architecture=arguments.architecture,
                warm=["alone", "together", "exchange", "exchange in one pack"], **options,
            )  # fmt: skip
            ours.append(stack.enter_context(process))
            warm = ["alone", "together", "exchange"]
            process = Measured("data parallel", cores=[core], rank=rank, port=port, warm=warm, **options)
            theirs.append(stack.enter_context(process))
        turns = {
            "one process": (ours[:1], "alone"),
            "two processes that exchange nothing": (ours, "alone"),
            "two workers": (ours, "together"),
            "PyTorch, one process": (theirs[:1], "alone"),
            "PyTorch, two processes that exchange nothing": (theirs, "alone"),
            "PyTorch, DistributedDataParallel over gloo": (theirs, "together"),
            "exchange": (ours, "exchange"),
            "exchange in one pack": (ours, "exchange in one pack"),
            "PyTorch, exchange": (theirs, "exchange"),
        }
        gradients = [each.ready() for each in (*theirs, *ours)][-1]["gradients"]
        answers = {name: [] for name in turns}
        for _ in range(arguments.repeats):
            for name, (processes, command) in turns.items():
                for each in processes:
                    each.send(command)
                answers[name].append([each.answer() for each in processes])

    def slowest(name, key="seconds"):
        return [max(answer[key] for answer in repeat) for repeat in answers[name]]

    table(
        f"Training of {arguments.architecture} at {arguments.size}x{arguments.size}, float32, one core and "
        f"{arguments.per_core} images a process, {arguments.repeats} repeats in turns of {arguments.steps} steps after "
        "a warm one, wall-clock time.",
        "", "seconds a step", "of it CPU time", "images a second", "times one",
    )  # fmt: skip
    for name, (processes, command) in turns.items():
        if "exchange" in command:
            continue
        seconds, images = slowest(name), len(processes) * arguments.per_core
        one = slowest("PyTorch, one process" if name.startswith("PyTorch") else "one process")
        times = [len(processes) * ratio for ratio in ratios(one, seconds)]
        rate = f"{images / statistics.median(seconds):.1f}"
        row(name, cell(seconds), cell(slowest(name, "cpu_seconds")), rate, cell(times))
    alone, nothing, together = (
        statistics.median(slowest(name))
        for name in ("one process", "two processes that exchange nothing", "two workers")
    )
    table(
        "Computed from these medians, not measured: a step is one without an exchange, and what two workers take "
        "beside that, times the share of the gradients that each of N sends around a ring, 2 (N - 1) / N. It holds "
        "where the network is as fast as this one.",
        "workers", "seconds a step", "times one",
    )  # fmt: skip
    for count in (4, 8):
        seconds = nothing + (together - nothing) * 2 * (count - 1) / count
        row(count, f"{seconds:.2f}", f"{count * alone / seconds:.1f}")
    table(f"Beside the steps: seconds; the gradients are {gradients:,} numbers.", "", "seconds", "of it CPU time")
    for name in ("exchange", "exchange in one pack", "PyTorch, exchange"):
        row(f"{name}, alone", *(cell(slowest(name, key)) for key in ("seconds", "cpu_seconds")))
    for name in ("one process", "two workers"):
        row(f"start and end of a call of `fit`, {name}", cell(slowest(name, "start")), "-")


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=["costs", "workers"], default=["costs", "workers"])
    parser.add_argument("--dtype", choices=["float32", "mixed_bfloat16"], default="float32", help="of the costs")
    parser.add_argument("--cells", type=int, default=len(CELLS), help="how many of the costs' rows")
    parser.add_argument("--repeats", type=int, default=8, help="times that each thing is measured, at least 2")
    parser.add_argument("--architecture", default="googlenet", help="of the workers")
    parser.add_argument("--size", type=int, default=224, help="height and width of the workers' images")
    parser.add_argument("--per-core", type=int, default=16, help="images of a worker's step")
    parser.add_argument("--steps", type=int, default=6, help="of a worker that are measured together")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    print(machine(len(os.sched_getaffinity(0))))
    print(f"{versions(TensorFlow='tensorflow', Keras='keras')}; seeds 0; medians (quartiles)")
    if "costs" in arguments.tables:
        costs_table(arguments)
    if "workers" in arguments.tables:
        workers_table(arguments)
    print(f"\n{time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    main()
