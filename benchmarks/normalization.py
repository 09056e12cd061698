"""Times the two normalizing layers of this package beside what they stand for, forward and backward.

`LocalResponseNormalization` beside `tf.nn.local_response_normalization`, and `BatchNormalization` in training beside
Keras's layer. The shapes are those of GoogLeNet's first rows at 224x224, and one of 4b's narrow branch. Every repeat
runs all functions one after the other in one process, so that a slow moment of the machine meets all of them; the ratio
is taken within each repeat. Times are CPU times of all threads, which other programs do not lengthen by waiting.

    python benchmarks/normalization.py
"""

import argparse
import functools
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from machine import cell, machine, ratios, row, table, versions

from keras_inception.network.layers import BatchNormalization, LocalResponseNormalization

SHAPES = ((56, 56, 64), (56, 56, 192), (14, 14, 24))
PARAMETERS = {"depth_radius": 2, "bias": 1.0, "alpha": 2e-5, "beta": 0.75}


def forward(normalize):
    return tf.function(normalize)


def forward_and_backward(normalize):
    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(normalize(x), "float32")
            loss = tf.reduce_mean(y * y * y)  # that of the squares would not change with what was normalized
        return tape.gradient(loss, x)

    return run


def seconds(function, x, calls):
    start = time.process_time()
    for _ in range(calls):
        function(x).numpy()
    return (time.process_time() - start) / calls


def local_response(dtype):
    return LocalResponseNormalization(**PARAMETERS), lambda x: tf.nn.local_response_normalization(x, **PARAMETERS)


def batch(dtype):
    """Both layers in training; Keras's computes in float32 whatever the images are."""
    layers = [
        kind(momentum=0.9, dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype)
        for kind in (BatchNormalization, keras.layers.BatchNormalization)
    ]
    return [functools.partial(layer, training=True) for layer in layers]


ROWS = ((local_response, "float32"), (batch, "float32"), (batch, "bfloat16"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30, help="times that every function is measured")
    parser.add_argument("--calls", type=int, default=3, help="calls of a function in one measurement")
    arguments = parser.parse_args()

    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    print(f"batch {arguments.batch_size}, {arguments.repeats} repeats of {arguments.calls} calls, interleaved")
    table(
        "Milliseconds of CPU time a call: median (quartiles); ratio: ours / theirs, below 1 is faster.",
        "layer", "type", "input", "pass", "ours", "theirs", "ratio",
    )  # fmt: skip
    for make_pair, dtype in ROWS:
        for shape in SHAPES:
            x = np.random.default_rng(0).normal(size=(arguments.batch_size, *shape)).astype("float32")
            x = tf.cast(x, dtype)
            for name, make in (("forward", forward), ("forward and backward", forward_and_backward)):
                functions = [make(normalize) for normalize in make_pair(dtype)]
                agree(*(function(x) for function in functions))
                times = [
                    [seconds(function, x, arguments.calls) for function in functions] for _ in range(arguments.repeats)
                ]
                columns = list(zip(*times))
                cells = [cell([1e3 * value for value in column], ".1f") for column in columns]
                size = "x".join(map(str, (arguments.batch_size, *shape)))
                row(make_pair.__name__.replace("_", " "), dtype, size, name, *cells, cell(ratios(*columns)))


def agree(ours, theirs):
    """Raises unless both are equal to the rounding of their type."""
    tolerance = 1e-4 if ours.dtype == tf.float32 else 2**-6
    ours, theirs = (tf.cast(x, "float32").numpy() for x in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


if __name__ == "__main__":
    main()
