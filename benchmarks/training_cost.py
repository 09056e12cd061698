"""Measures what a training step costs: time, memory, what `fit` adds, what feeds it, and torchvision's beside it.

Each cell is a process of its own (`measured.py`), which does nothing while another one is measured. Times are medians
(quartiles) of repeats; where two things are compared they take turns, so that a slow moment of the machine meets both,
and the ratio is taken within each repeat. Times on one core are times of the processor, which other programs do not
lengthen by waiting.

    python benchmarks/training_cost.py
    python benchmarks/training_cost.py --tables peers --repeats 30

Torchvision's rows come where it is installed. PyTorch is in the extra `peers` (`pip install torch==2.13.0`, preferably
a build without CUDA); torchvision needs `pip install --no-deps torchvision`, because with its dependencies it brings a
PyTorch for CUDA, which takes gigabytes.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, quartiles, version, versions

TABLES = ("steps", "fit", "peers", "input")
DTYPES = ("float32", "mixed_bfloat16")
FILES = {"images": 100, "height": 375, "width": 500, "quality": 90}
PEERS_BATCH = 16


class Measured:
    """A process that measures one thing when it is asked."""

    def __init__(self, what, *, warm, **options):
        options = json.dumps({"what": what, "warm": warm, **options})
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("measured.py"), options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip

    def ready(self):
        """Waits until it is built, traced and warm, and returns its facts."""
        return self._answer()

    def ask(self, command):
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            sys.exit(f"A measurement failed:\n{self._errors.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def in_turns(measured, repeats, key="processor_seconds"):
    """Asks pairs of a `Measured` and a command in turns; returns the seconds of each by name."""
    seconds = {name: [] for name in measured}
    for _ in range(repeats):
        for name, (process, command) in measured.items():
            seconds[name].append(process.ask(command)[key])
    return seconds


def cell(values, form=".2f"):
    return "{:{form}} ({:{form}} to {:{form}})".format(*quartiles(values), form=form)


def ratios(over, under):
    return [a / b for a, b in zip(over, under)]


def last_core():
    return sorted(os.sched_getaffinity(0))[-1:]


def table(title, *columns):
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells):
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def steps_table(arguments):
    table(
        f"A training step (Adam, three heads, 1000 classes) on all cores, {arguments.step_repeats} steps a row. The "
        "time of all cores together is that of the processor, which other programs do not lengthen by waiting. Peak "
        "memory is that of the whole process: interpreter, TensorFlow, traced graph, weights, Adam's two moments, one "
        "batch, activations; before the model is built, it is the last column's.",
        "architecture", "type", "batch", "image", "ms a step", "of all cores together", "images a second", "peak MiB",
        "of it before the model",
    )  # fmt: skip
    for architecture, (batch_size, size), dtype in itertools.product(
        arguments.architectures, arguments.cells, arguments.dtypes
    ):
        options = {"architecture": architecture, "dtype": dtype, "batch_size": batch_size, "size": size}
        with Measured("ours", warm=["step"], **options) as process:
            before = process.ready()["before"]
            answers = [process.ask("step") for _ in range(arguments.step_repeats)]
        seconds = [answer["seconds"] for answer in answers]
        rate = f"{batch_size / statistics.median(seconds):.1f}"
        milliseconds = cell([1e3 * value for value in seconds], ".0f")
        peak = f"{answers[-1]['peak']:.0f}"
        cores = f"{1e3 * statistics.median(answer['processor_seconds'] for answer in answers):.0f}"
        row(architecture, dtype, batch_size, f"{size}x{size}", milliseconds, cores, rate, peak, f"{before:.0f}")


def fit_table(arguments):
    """What an epoch of `fit` on ready batches takes beside as many bare calls of the train function."""
    options = {"architecture": "googlenet", "batch_size": 32, "size": 224, "threads": 1, "cores": last_core()}
    table(
        f"Share of `fit` outside the step: googlenet, 224x224, batch 32, one epoch of {arguments.fit_steps} ready "
        f"batches on one core and one thread, {arguments.fit_repeats} repeats in turns, times of the processor. "
        "Measured twice: by a clock around the train function inside `fit`, and against as many bare calls of it. "
        "`diagnosis.callbacks()` are those of `keras-inception train`.",
        "type", "seconds a bare step", "`fit`, by the clock inside", "`fit`, against bare calls",
        "`fit` with `diagnosis.callbacks()`, against bare calls",
    )  # fmt: skip
    for dtype in arguments.dtypes:
        with Measured("ours", warm=["train"], dtype=dtype, steps=arguments.fit_steps, **options) as process:
            process.ready()
            answers = [[process.ask(name) for name in ("bare", "fit", "train")] for _ in range(arguments.fit_repeats)]
        bare, fit, train = ([turn[index]["processor_seconds"] for turn in answers] for index in range(3))
        inside = [turn[1]["inside"] for turn in answers]
        row(
            dtype,
            cell([value / arguments.fit_steps for value in bare]),
            *(
                cell([100 * (1 - part) for part in ratios(few, all_of_it)], ".1f") + " %"
                for few, all_of_it in ((inside, fit), (bare, fit), (bare, train))
            ),
        )


def peers_table(arguments):
    """Prints our step beside torchvision's on one core, and returns the seconds of ours by architecture and type."""
    options = {"batch_size": PEERS_BATCH, "size": 224, "threads": 1, "cores": last_core(), "warm": ["step"]}
    theirs = {"torchvision, channels last": {"channels_last": True}, "torchvision": {"channels_last": False}}
    if arguments.compile:
        theirs["torchvision, channels last, torch.compile"] = {"channels_last": True, "compiled": True}
    if version("torchvision") == "not installed":
        theirs = {}
    table(
        f"A training step of {PEERS_BATCH} images of 224x224 on one core and one thread: SGD with momentum, losses 1, "
        f"0.3, 0.3, three heads of 1000 classes, {arguments.repeats} repeats in turns, seconds of the processor. Ours "
        "counts its metrics too; torchvision's is eager, mixed_bfloat16 is its autocast. Ratio: to the torchvision of "
        "the column, below 1 is faster.",
        "network", "type", "seconds", *(f"ratio to {name}" for name in theirs),
    )  # fmt: skip
    found = {}
    for dtype in arguments.dtypes:
        measured = {
            name: Measured("ours", architecture=name, dtype=dtype, optimizer="sgd", **options)
            for name in (*arguments.architectures, "inception_v1_torchvision")
        } | {name: Measured("torchvision", dtype=dtype, **form, **options) for name, form in theirs.items()}
        try:
            for process in measured.values():
                process.ready()
            seconds = in_turns({name: (process, "step") for name, process in measured.items()}, arguments.repeats)
        finally:
            for process in measured.values():
                process.__exit__()
        for name, values in seconds.items():
            row(name, dtype, cell(values), *(cell(ratios(values, seconds[peer])) for peer in theirs))
            found[name, dtype] = statistics.median(values)
    return {key: seconds for key, seconds in found.items() if key[0] in arguments.architectures}


def input_table(arguments, step_seconds):
    """Prints what one core of the input pipeline delivers, beside what one core of the step takes."""
    table(
        f"Images a second of one core: the input pipeline on {FILES['images']} JPEG files of {FILES['width']}x"
        f"{FILES['height']}, quality {FILES['quality']}, to 224x224, and the step of the table above; "
        f"{arguments.repeats} repeats, seconds of the processor.",
        "what", "images a second of one core",
    )  # fmt: skip
    names = {"plain": "input, no augmentation", "paper": "input, all of the paper's augmentation"}
    with Measured("input pipeline", warm=list(names), cores=last_core(), size=224, **FILES) as process:
        process.ready()
        for name, values in in_turns({name: (process, name) for name in names}, arguments.repeats).items():
            row(names[name], cell([FILES["images"] / value for value in values], ".0f"))
        process.ask("end")
    for (architecture, dtype), seconds in step_seconds.items():
        row(f"step, {architecture}, {dtype}", f"{PEERS_BATCH / seconds:.0f}")


def batch_and_size(text):
    """Returns (32, 224) for "32x224"."""
    batch_size, size = map(int, text.split("x"))
    return batch_size, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--architectures", nargs="+", default=["googlenet", "googlenet_bn"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument(
        "--cells",
        nargs="+",
        type=batch_and_size,
        default=[(32, 128), (16, 224), (32, 224)],
        metavar="BATCHxPIXELS",
        help="batch sizes and image sizes of the table of steps, such as 32x224",
    )
    parser.add_argument("--repeats", type=int, default=8, help="times that everything else is measured, at least 2")
    parser.add_argument("--step-repeats", type=int, default=5, help="steps of each row of that table, at least 2")
    parser.add_argument("--fit-steps", type=int, default=4, help="steps in an epoch of `fit`")
    parser.add_argument("--fit-repeats", type=int, default=4, help="epochs of `fit`, at least 2")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    print(machine(len(os.sched_getaffinity(0))))
    packages = {"TensorFlow": "tensorflow", "Keras": "keras", "PyTorch": "torch", "torchvision": "torchvision"}
    print(f"{versions(**packages)}; seeds 0; medians (quartiles)")
    if "steps" in arguments.tables:
        steps_table(arguments)
    if "fit" in arguments.tables:
        fit_table(arguments)
    step_seconds = peers_table(arguments) if "peers" in arguments.tables else {}
    if "input" in arguments.tables:
        input_table(arguments, step_seconds)
    print(f"\n{time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    main()
