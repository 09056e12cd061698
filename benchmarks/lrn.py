"""Times `LocalResponseNormalization` beside `tf.nn.local_response_normalization`, forward and backward.

The shapes are those of GoogLeNet's two normalizations at 224x224. Every repeat runs all functions one after the other
in one process, so that a slow moment of the machine meets all of them; the ratio is taken within each repeat.

    python benchmarks/lrn.py
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from machine import cell, machine, ratios, row, table, versions

from keras_inception.network.layers import LocalResponseNormalization

SHAPES = ((56, 56, 64), (56, 56, 192))
PARAMETERS = {"depth_radius": 2, "bias": 1.0, "alpha": 2e-5, "beta": 0.75}


def forward(normalize):
    return tf.function(normalize)


def forward_and_backward(normalize):
    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(normalize(x)))
        return tape.gradient(loss, x)

    return run


def seconds(function, x, calls):
    start = time.perf_counter()
    for _ in range(calls):
        function(x).numpy()
    return (time.perf_counter() - start) / calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30, help="times that every function is measured")
    parser.add_argument("--calls", type=int, default=3, help="calls of a function in one measurement")
    arguments = parser.parse_args()

    print(machine(len(os.sched_getaffinity(0))))
    print(f"{versions(TensorFlow='tensorflow', Keras='keras')}, float32")
    print(f"batch {arguments.batch_size}, {arguments.repeats} repeats of {arguments.calls} calls, interleaved")
    table(
        "Milliseconds a call: median (quartiles); ratio: ours / TensorFlow's, below 1 is faster.",
        "input", "pass", "ours", "tf.nn", "ratio",
    )  # fmt: skip

    def reference(x):
        return tf.nn.local_response_normalization(x, **PARAMETERS)

    for shape in SHAPES:
        ours = LocalResponseNormalization(**PARAMETERS)
        x = tf.constant(np.random.default_rng(0).normal(size=(arguments.batch_size, *shape)).astype("float32"))
        for name, make in (("forward", forward), ("forward and backward", forward_and_backward)):
            functions = [make(ours), make(reference)]
            # The gradient is 2 y dy/dx; float32 throughout.
            np.testing.assert_allclose(functions[0](x), functions[1](x), rtol=1e-4, atol=1e-5)
            times = [
                [seconds(function, x, arguments.calls) for function in functions] for _ in range(arguments.repeats)
            ]
            columns = list(zip(*times))
            cells = [cell([1e3 * value for value in column], ".1f") for column in columns]
            row("x".join(map(str, (arguments.batch_size, *shape))), name, *cells, cell(ratios(*columns)))


if __name__ == "__main__":
    main()
