"""Measures what early exits save and what they lose on a trained network, on images that did not set their thresholds.

The thresholds come from the validation images of the run (or of `--dataset`). The test images then run through the
network with early exits and through the main head alone: accuracy, multiply-adds, and the time of an image in batches
of 1 and 16. Every batch runs through all networks one after the other, so that a slow moment of the machine meets all.

    python benchmarks/early_exits.py RUN
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from machine import machine, versions

from keras_inception.cli.images import data_of
from keras_inception.serving import exits
from keras_inception.serving.export import early_exit_network, frozen, serving_network
from keras_inception.training import runs

SEED = 0


def answers(network, batches):
    """Runs a network with early exits on all images: the exit of each, and whether its answer is right."""
    left, right = [], []
    for images, labels in batches:
        found = network(images)
        left.append(found["exit"].numpy())
        right.append(np.argmax(found["probabilities"], axis=1) == labels.numpy())
    return np.concatenate(left), np.concatenate(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="RUN", help="run folder of a network with auxiliary heads")
    parser.add_argument("--dataset", help="other images than the run's, with the same classes")
    parser.add_argument("--max-accuracy-loss", type=float, default=0.002)
    parser.add_argument("--timed-images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=5, help="times that each batch is measured")
    parser.add_argument("--batch-size", type=int, default=16, help="images per step where the accuracy is measured")
    arguments = parser.parse_args()
    arguments.skip_bad_images = False

    model = runs.load_model(Path(arguments.model))
    data = data_of(arguments, model)
    calibration = exits.calibrate_exits(model, data.validation, arguments.max_accuracy_loss)
    points = exits.score(model, calibration, data.test)
    chosen = points[calibration.table.index(calibration.chosen)]
    images = exits.sample(data.test, arguments.timed_images, seed=SEED)
    timed = exits.measure_latency(model, calibration, images, points=2, repeats=arguments.repeats)

    size = "x".join(map(str, model.input_shape[1:]))
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    print(
        f"{model.architecture.name} at {size}, {calibration.images:,} validation and {data.sizes['test']:,} test images"
    )
    print(
        f"times: {len(images)} test images drawn with seed {SEED}, median of {arguments.repeats} runs of each batch\n"
    )
    columns = ["thresholds", "leave at", "accuracy, validation", "accuracy, test", "M multiply-adds", "ms, batch 1"]
    print("| " + " | ".join([*columns, "ms, batch 16"]) + " |")
    print("|---|---|---|---|---|---|---|")
    for point, tested in zip(timed.table, points):
        print("| " + " | ".join(row(point, tested)) + (" | chosen" if point == timed.chosen else " |"))

    left, right = answers(exits.early_exit_model(model, calibration), data.test)
    shares = ", ".join(f"{np.mean(left == index):.1%} at {head}" for index, head in enumerate(exits.exit_names(model)))
    alone, fast = timed.table[0].milliseconds, timed.chosen.milliseconds
    print(f"\nthe network itself on all test images: {np.mean(right):.2%} right, leaving {shares}")
    print(
        f"chosen, on test images: {100 * chosen.accuracy_loss:+.2f} points lost (standard error "
        f"{100 * chosen.standard_error:.2f}), {calibration.multiply_adds / chosen.multiply_adds:.2f} times fewer "
        "multiply-adds, " + ", ".join(f"{alone[n] / fast[n]:.2f} times faster at batch {n}" for n in fast)
    )
    for n, (alone, early) in as_served(model, calibration, images, arguments.repeats).items():
        print(
            f"as exported, batch {n}: main head alone {alone:.2f} ms an image, early exits {early:.2f} ms, "
            f"{alone / early:.2f} times faster"
        )


def as_served(model, calibration, images, repeats):
    """Returns by batch size the milliseconds of an image, main head alone and early exits, in the graphs of an export.

    Batch normalization is folded and weights are constants, as in what `keras-inception export` writes.
    """
    main_head = frozen(serving_network(model))
    alone = tf.function(
        lambda images: {"probabilities": main_head(images)["main"]}, [tf.TensorSpec((None, *images.shape[1:]))]
    )
    networks = {"alone": alone, "early": early_exit_network(model, calibration)}
    found = {}
    for size in (1, 16):
        batches = [tf.constant(images[start : start + size]) for start in range(0, len(images) - size + 1, size)]
        seconds = exits.interleaved_seconds(networks, batches, repeats)
        found[size] = [1e3 * seconds[name] / (size * len(batches)) for name in ("alone", "early")]
    return found


def row(point, tested):
    return [
        ", ".join(f"{head} {threshold:.4f}" for head, threshold in point.thresholds.items()) or "none",
        ", ".join(f"{head} {share:.0%}" for head, share in tested.shares.items()),
        f"{point.accuracy:.2%}",
        f"{tested.accuracy:.2%}",
        f"{tested.multiply_adds / 1e6:.1f}",
        *(f"{point.milliseconds[n]:.2f}" if n in point.milliseconds else "" for n in (1, 16)),
    ]


if __name__ == "__main__":
    main()
