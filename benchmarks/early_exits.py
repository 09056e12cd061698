"""Measures what early exits save and what they lose on a trained network, on images that did not set their thresholds.

The thresholds come from the validation images of the run (or of `--dataset`), and are measured on the test images.
Where there are none, they come from one half of the validation images, drawn with a seed, and are measured on the
other one, and once more the other way round. Times are of exported networks in batches of 1 and 16: passes over all
images, which the networks take in turns. (Not batch by batch: for a while after PyTorch has answered, its threads keep
the cores busy that the next network needs.) Where `earlyon` is installed (PyPI, on PyTorch) it runs the same weights,
with thresholds at which as many images leave at each head.

    python benchmarks/early_exits.py RUN
"""

import argparse
import itertools
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from earlyon_peer import earlyon_model
from machine import cell, machine, ratios, versions

from keras_inception.cli.dataset import data_of
from keras_inception.network.blocks import MAIN
from keras_inception.serving import exits
from keras_inception.serving.export import early_exit_network, frozen, serving_network
from keras_inception.training import runs

SEED = 0
WARM_BATCHES = 20  # before each pass: the first trace the network, the others outlast other engines' waiting threads
ALONE, EXITS, EARLYON, EARLYON_ALONE = "main head alone", "early exits", "earlyon", "main head alone in PyTorch"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="RUN", help="run folder of a network with auxiliary heads")
    parser.add_argument("--dataset", help="other images than the run's, with the same classes")
    parser.add_argument("--max-accuracy-loss", type=float, default=0.002)
    parser.add_argument("--criterion", choices=("confidence", "entropy", "margin"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--drawings", type=int, help="draw halves so often, and measure only what is lost")
    parser.add_argument("--timed-images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=5, help="times that all images are measured")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step where the accuracy is measured")
    arguments = parser.parse_args()
    arguments.skip_bad_images = False

    model = runs.load_model(Path(arguments.model))
    data = data_of(arguments, model)
    options = {"max_accuracy_loss": arguments.max_accuracy_loss, "criterion": arguments.criterion}
    if arguments.drawings:
        print_drawings(model, arrays(data.validation), arguments.drawings, options)
        return
    parts = parts_of(data)
    calibrations = [exits.calibrate_exits(model, first, **options) for first, _ in parts]
    scored = [exits.score(model, found, second) for found, (_, second) in zip(calibrations, parts)]

    size = "x".join(map(str, model.input_shape[1:]))
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras", PyTorch="torch", earlyon="earlyon"))
    for calibration, points, (first, second) in zip(calibrations, scored, parts):
        print(
            f"\n{model.architecture.name} at {size}: {len(first[1]):,} images set the thresholds, {len(second[1]):,} "
            f"others measured; what tells how sure an answer is: {calibration.criterion}\n"
        )
        print_points(calibration, points)
        chosen = points[calibration.table.index(calibration.chosen)]
        print(
            f"\nchosen, on the other images: {100 * chosen.accuracy_loss:+.2f} points lost (standard error "
            f"{100 * chosen.standard_error:.2f}), {calibration.multiply_adds / chosen.multiply_adds:.2f} times fewer "
            "multiply-adds"
        )
        for head, weights in calibration.mixtures.items():
            print(f"{head} answers with", " + ".join(f"{weight:.2f} {name}" for name, weight in weights.items()))

    calibration, (first, second) = calibrations[0], parts[0]
    images, labels = (values[: arguments.timed_images] for values in second)
    networks = networks_of(model, calibration, first, arguments.precision)
    print(f"\ntimes: {len(images)} of the other images, median (quartiles) of {arguments.repeats} passes over them,")
    print(f"milliseconds an image, in {arguments.precision}; times as fast as the main head alone on the same engine\n")
    print("| network | right | batch 1 | times as fast | batch 16 | times as fast |\n|---|---|---|---|---|---|")
    cells = {name: [f"{np.mean(answers(network, images) == labels):.2%}"] for name, network in networks.items()}
    for size in (1, 16):
        seconds = passes(networks, images, size, arguments.repeats)
        for name, values in seconds.items():
            alone = seconds[EARLYON_ALONE if name in (EARLYON, EARLYON_ALONE) else ALONE]
            cells[name] += [cell([1e3 * value / len(images) for value in values]), cell(ratios(alone, values))]
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(row) + " |")


def parts_of(data):
    """Returns pairs of labelled images: those that set thresholds, and those that are measured."""
    validation = arrays(data.validation)
    if data.test is not None:
        return [(validation, arrays(data.test))]
    return halves(validation, SEED)


def halves(images_and_labels, seed):
    """Returns two halves that are drawn with a seed, and the same two the other way round."""
    order = np.random.default_rng(seed).permutation(len(images_and_labels[1]))
    first, second = (tuple(values[half] for values in images_and_labels) for half in np.array_split(order, 2))
    return [(first, second), (second, first)]


def print_drawings(model, validation, count, options):
    """Prints what the chosen thresholds lose on images that did not set them, over halves that are drawn anew."""
    lost, left = [], []
    for seed in range(count):
        for first, second in halves(validation, seed):
            calibration = exits.calibrate_exits(model, first, **options)
            chosen = exits.score(model, calibration, second)[calibration.table.index(calibration.chosen)]
            lost.append(100 * chosen.accuracy_loss)
            left.append(chosen.multiply_adds / 1e6)
            print(f"seed {seed}: {lost[-1]:+.2f} points lost, {left[-1]:.1f}M multiply-adds", flush=True)
    print(
        f"{len(lost)} halves: {np.mean(lost):+.2f} points lost on average (standard deviation "
        f"{np.std(lost, ddof=1):.2f}, at most {max(lost):+.2f}), {np.mean(left):.1f}M multiply-adds"
    )


def arrays(batches):
    images, labels = zip(*batches.as_numpy_iterator())
    return np.concatenate(images), np.concatenate(labels)


def print_points(calibration, points):
    columns = ["thresholds", "leave at", "accuracy, first", "accuracy, others", "M multiply-adds"]
    print("| " + " | ".join(columns) + " | |\n|---|---|---|---|---|---|")
    for point, other in zip(calibration.table, points):
        cells = [
            ", ".join(f"{head} {threshold:.4f}" for head, threshold in point.thresholds.items()) or "none",
            ", ".join(f"{head} {share:.0%}" for head, share in other.shares.items()),
            f"{point.accuracy:.2%}",
            f"{other.accuracy:.2%}",
            f"{other.multiply_adds / 1e6:.1f}",
            "chosen" if point == calibration.chosen else "",
        ]
        print("| " + " | ".join(cells) + " |")


def networks_of(model, calibration, first, precision):
    """Returns by name functions from images, as NumPy has them, to probabilities."""
    main_head = frozen(serving_network(model, precision=precision))
    early = early_exit_network(model, calibration, precision)
    signature = [tf.TensorSpec((None, *model.input_shape[1:]))]
    alone = tf.function(lambda images: main_head(images)[MAIN], signature, autograph=False)
    networks = {
        ALONE: lambda images: alone(tf.constant(images)).numpy(),
        EXITS: lambda images: early(tf.constant(images))["probabilities"].numpy(),
    }
    try:
        return networks | of_earlyon(model, calibration, first)
    except ImportError as error:
        print(f"\nwithout earlyon: {error}")
        return networks


def of_earlyon(model, calibration, first):
    """Returns earlyon's network, each of whose heads answers alone, and its main head without exits."""
    import torch

    heads = list(calibration.thresholds)
    outputs = dict(zip(model.output_names, model.predict(first[0], verbose=0)))
    logits = {head: np.log(np.maximum(outputs[head].astype("float64"), 1e-30)) for head in (*heads, MAIN)}
    weights = {head: exits.calibration.mixture([rows], first[1])[0] for head, rows in logits.items()}
    thresholds, stays = {}, np.ones(len(first[1]), bool)
    for head in heads:  # as many leave there as with our thresholds
        rows = np.exp(weights[head] * logits[head])
        confidence = (rows / rows.sum(axis=1, keepdims=True)).max(axis=1)
        share = calibration.chosen.shares[head] * len(stays) / max(1, stays.sum())
        thresholds[head] = float(np.quantile(confidence[stays], max(0, 1 - share)))
        stays &= confidence < thresholds[head]
    wrapper = earlyon_model(serving_network(model, (MAIN, *heads)), heads, thresholds, weights)

    def tensor(images):
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def early(images):
        if len(images) == 1:
            return wrapper(tensor(images), mode="inference").prediction.numpy()
        return wrapper.forward_inference_batched(tensor(images)).predictions.numpy()

    def alone(images):
        with torch.inference_mode():
            return wrapper.backbone(tensor(images)).numpy()

    return {EARLYON_ALONE: alone, EARLYON: early}


def answers(network, images):
    return np.concatenate([network(images[index : index + 1]).argmax(-1) for index in range(len(images))])


def passes(networks, images, size, repeats):
    """Returns by network the seconds of each pass over all images; the networks pass in turns."""
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    seconds = {name: [] for name in networks}
    for _, (name, network) in itertools.product(range(repeats), networks.items()):
        for batch in itertools.islice(itertools.cycle(batches), WARM_BATCHES):
            network(batch)
        start = time.perf_counter()
        for batch in batches:
            network(batch)
        seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
