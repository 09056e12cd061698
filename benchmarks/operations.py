"""Says where the time of a training step and of an exported forward pass goes, by TensorFlow's operations.

TensorFlow's profiler watches a process that computes on one thread, after two warm steps. A share is that of all time
within operations, summed over the steps that were watched, whatever else the machine did meanwhile. Operations that
take less than a hundredth are summed as "others".

    python benchmarks/operations.py
"""

import argparse
import collections
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from machine import machine, row, table, versions

DTYPES = ("float32", "mixed_bfloat16")
# Not operations: what holds them, and what the profiler writes about memory and regions.
AROUND = {
    "Process",
    "ExecutorDoneCallback",
    "StartRegion",
    "StopRegion",
    "Record",
    "MemoryAllocation",
    "MemoryDeallocation",
}


def seconds_by_operation(run, steps):
    """Returns the seconds of each kind of operation over some calls of `run`, on the threads that compute."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            run()
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                run()
        [file] = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            if not line.name.startswith("tf_Compute"):
                continue
            for event in line.events:
                name = kind(plane.event_metadata[event.metadata_id].name)
                if name not in AROUND:
                    seconds[name] += event.duration_ps / 1e12
    return seconds


def kind(name):
    """Returns "Conv2D" for "googlenet/conv1_7x7_s2/convolution:_MklNativeConv2D"."""
    return re.sub("^_Mkl(Native)?", "", name.split(":")[-1].strip())


def training_step(architecture, dtype, batch_size):
    import measured

    commands, _ = measured.ours(architecture=architecture, dtype=dtype, batch_size=batch_size, size=224, threads=1)
    return commands["step"]


def exported_forward_pass(architecture, dtype, batch_size):
    import engines
    import numpy as np

    import keras_inception as ki

    model = engines.trained_looking(architecture)
    with tempfile.TemporaryDirectory() as folder:
        version = ki.export_saved_model(model, folder, precision=dtype.removeprefix("mixed_"))
        forward = engines.tensorflow_engine(version)
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, *model.input_shape[1:])).astype("float32")
    return lambda: forward(images)


PASSES = {"training step": training_step, "exported forward pass": exported_forward_pass}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=["googlenet", "googlenet_bn"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16])
    parser.add_argument("--steps", type=int, default=4, help="calls that are watched")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        which, architecture, dtype, batch_size = arguments.one
        run = PASSES[which](architecture, dtype, int(batch_size))
        print(json.dumps(seconds_by_operation(run, arguments.steps)))
        return
    print(machine(1))
    print(f"{versions(TensorFlow='tensorflow', Keras='keras')}; seeds 0, 224x224")
    table("Shares of the time within operations", "", "type", "batch", "ms", "operations")
    for which, architecture, dtype, batch_size in itertools.product(
        arguments.passes, arguments.architectures, arguments.dtypes, arguments.batch_sizes
    ):
        one = [which, architecture, dtype, str(batch_size)]
        command = [sys.executable, __file__, "--steps", str(arguments.steps), "--one", *one]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        seconds = json.loads(run.stdout.splitlines()[-1])
        whole = sum(seconds.values())
        shares = {name: value / whole for name, value in sorted(seconds.items(), key=lambda item: -item[1])}
        large = [f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.01]
        others = sum(share for share in shares.values() if share < 0.01)
        milliseconds = f"{1e3 * whole / arguments.steps:.0f}"
        row(f"{which}, {architecture}", dtype, batch_size, milliseconds, ", ".join([*large, f"others {others:.0%}"]))


if __name__ == "__main__":
    main()
