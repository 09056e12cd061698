"""Measures what a training step costs: time and memory by batch and image size, and what `fit` adds to it.

Each cell is a process of its own (`measured.py`). Times are medians (quartiles) of repeats; where two things are
compared they take turns, so that a slow moment of the machine meets both, and the ratio is taken within each repeat.
Times on one core are CPU times, which other programs do not lengthen by waiting.

    python benchmarks/training_cost.py
"""

import argparse
import itertools
import os
import statistics
import time

from machine import cell, machine, ratios, row, table, versions
from processes import Measured, last_core

TABLES = ("steps", "fit")
DTYPES = ("float32", "mixed_bfloat16")


def steps_table(arguments):
    table(
        f"A training step (Adam, three heads, 1000 classes) on all cores, {arguments.step_repeats} steps a row. The "
        "time of all cores together is CPU time, which other programs do not lengthen by waiting. Peak "
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
        cores = f"{1e3 * statistics.median(answer['cpu_seconds'] for answer in answers):.0f}"
        row(architecture, dtype, batch_size, f"{size}x{size}", milliseconds, cores, rate, peak, f"{before:.0f}")


def fit_table(arguments):
    """What an epoch of `fit` on ready batches takes beside as many bare calls of the train function."""
    options = {"architecture": "googlenet", "batch_size": 32, "size": 224, "threads": 1, "cores": last_core()}
    table(
        f"Share of `fit` outside the step: googlenet, 224x224, batch 32, one epoch of {arguments.fit_steps} ready "
        f"batches on one core and one thread, {arguments.fit_repeats} repeats in turns, CPU time. "
        "Measured twice: by a clock around the train function inside `fit`, and against as many bare calls of it. "
        "`diagnosis.callbacks()` are those of `keras-inception train`.",
        "type", "seconds a bare step", "`fit`, by the clock inside", "`fit`, against bare calls",
        "`fit` with `diagnosis.callbacks()`, against bare calls",
    )  # fmt: skip
    for dtype in arguments.dtypes:
        with Measured("ours", warm=["train"], dtype=dtype, steps=arguments.fit_steps, **options) as process:
            process.ready()
            answers = [[process.ask(name) for name in ("bare", "fit", "train")] for _ in range(arguments.fit_repeats)]
        bare, fit, train = ([turn[index]["cpu_seconds"] for turn in answers] for index in range(3))
        inside = [turn[1]["inside"] for turn in answers]
        row(
            dtype,
            cell([value / arguments.fit_steps for value in bare]),
            *(
                cell([100 * (1 - part) for part in ratios(few, all_of_it)], ".1f") + " %"
                for few, all_of_it in ((inside, fit), (bare, fit), (bare, train))
            ),
        )


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
    parser.add_argument("--step-repeats", type=int, default=5, help="steps of each row of that table, at least 2")
    parser.add_argument("--fit-steps", type=int, default=4, help="steps in an epoch of `fit`")
    parser.add_argument("--fit-repeats", type=int, default=4, help="epochs of `fit`, at least 2")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    print(machine(len(os.sched_getaffinity(0))))
    print(f"{versions(TensorFlow='tensorflow', Keras='keras')}; seeds 0; medians (quartiles)")
    if "steps" in arguments.tables:
        steps_table(arguments)
    if "fit" in arguments.tables:
        fit_table(arguments)
    print(f"\n{time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    main()
