"""Measures what early exits save and what they lose on a trained network, on images that did not set their thresholds.

The thresholds come from the validation images of the run (or of `--dataset`). The test images then run through the
network with early exits and through the main head alone: accuracy, multiply-adds, and the time of an image in batches
of 1 and 16. Every batch runs through all networks one after the other, so that a slow moment of the machine meets all.

    python benchmarks/early_exits.py RUN
"""

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from machine import machine, versions

from keras_inception.cli.dataset import data_of
from keras_inception.network.views import inference_model
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
    images = np.concatenate([images for images, _ in data.test])
    images = np.random.default_rng(SEED).permutation(images)[: arguments.timed_images]

    size = "x".join(map(str, model.input_shape[1:]))
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    print(
        f"{model.architecture.name} at {size}, {calibration.images:,} validation and {data.sizes['test']:,} test images"
    )
    print(
        f"times: {len(images)} test images drawn with seed {SEED}, median of {arguments.repeats} runs of each batch\n"
    )
    columns = ["thresholds", "leave at", "accuracy, validation", "accuracy, test", "M multiply-adds"]
    print("| " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|")
    for point, tested in zip(calibration.table, points):
        print("| " + " | ".join(row(point, tested)) + (" | chosen" if point == calibration.chosen else " |"))

    exiting = exits.early_exit_model(model, calibration)
    left, right = answers(exiting, data.test)
    shares = ", ".join(f"{np.mean(left == index):.1%} at {head}" for index, head in enumerate(exits.exit_names(model)))
    print(f"\nthe network itself on all test images: {np.mean(right):.2%} right, leaving {shares}")
    print(
        f"chosen, on test images: {100 * chosen.accuracy_loss:+.2f} points lost (standard error "
        f"{100 * chosen.standard_error:.2f}), {calibration.multiply_adds / chosen.multiply_adds:.2f} times fewer "
        "multiply-adds"
    )
    # As exported, batch normalization is folded and weights are constants; in Python they are variables.
    main_head, classifier = frozen(serving_network(model)), inference_model(model)
    networks = {
        "in Python, main head alone": tf.function(lambda images: {"probabilities": classifier(images, training=False)}),
        "in Python, early exits": exiting,
        "as exported, main head alone": tf.function(lambda images: {"probabilities": main_head(images)["main"]}),
        "as exported, early exits": early_exit_network(model, calibration),
    }
    for size in (1, 16):
        batches = [tf.constant(images[start : start + size]) for start in range(0, len(images) - size + 1, size)]
        for name, seconds in interleaved_seconds(networks, batches, arguments.repeats).items():
            print(f"batch {size}, {name}: {1e3 * seconds / (size * len(batches)):.2f} ms an image")


def interleaved_seconds(networks, batches, repeats):
    """Returns by network the seconds for all batches: of each batch the median, all networks one after the other."""
    for batch, network in itertools.product(batches[:2], networks.values()):
        once(network, batch)  # traces it
    total = dict.fromkeys(networks, 0.0)
    for batch in batches:
        times = [{name: once(network, batch) for name, network in networks.items()} for _ in range(repeats)]
        for name in networks:
            total[name] += statistics.median(measured[name] for measured in times)
    return total


def once(network, batch):
    start = time.perf_counter()
    network(batch)["probabilities"].numpy()
    return time.perf_counter() - start


def row(point, tested):
    return [
        ", ".join(f"{head} {threshold:.4f}" for head, threshold in point.thresholds.items()) or "none",
        ", ".join(f"{head} {share:.0%}" for head, share in tested.shares.items()),
        f"{point.accuracy:.2%}",
        f"{tested.accuracy:.2%}",
        f"{tested.multiply_adds / 1e6:.1f}",
    ]


if __name__ == "__main__":
    main()
