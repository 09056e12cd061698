"""Measures what early exits save and what they lose on a trained network, on images that did not set their thresholds.

The validation images of the run (or of `--dataset`) are divided into five parts, drawn with a seed. Each part is
measured with thresholds that the other four set. Where there are test images, all validation images set the
thresholds that are measured on them.

Times are of exported networks in batches of 1 and 16, for the thresholds that all validation images choose and for
others of their sweep: passes over all images, which the networks take in turns. (Not batch by batch: for a while after
PyTorch has answered, its threads keep the cores busy that the next network needs.) Where `earlyon` is installed (PyPI,
on PyTorch) it runs the same weights, with thresholds at which as many images leave at each head as are chosen.

    python benchmarks/early_exits.py RUN
"""

import argparse
import itertools
import os
import time
from dataclasses import replace
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

WARM_BATCHES = 20  # before each pass: the first trace the network, the others outlast other engines' waiting threads
MOST_LOST = 0.01
ALONE, EARLYON, EARLYON_ALONE = "main head alone", "earlyon", "main head alone in PyTorch"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="RUN", help="run folder of a network with auxiliary heads")
    parser.add_argument("--dataset", help="other images than the run's, with the same classes")
    parser.add_argument("--max-accuracy-loss", type=float, default=0.002)
    parser.add_argument("--criterion", choices=("confidence", "entropy", "margin"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--drawings", type=int, default=1, help="how often the five parts are drawn")
    parser.add_argument("--timed-images", type=int, default=320, help="0 for no times")
    parser.add_argument("--repeats", type=int, default=5, help="times that all images are measured")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step where the accuracy is measured")
    arguments = parser.parse_args()
    arguments.skip_bad_images = False

    model = runs.load_model(Path(arguments.model))
    data = data_of(arguments, model)
    options = {"max_accuracy_loss": arguments.max_accuracy_loss, "criterion": arguments.criterion}
    validation = arrays(data.validation)
    test = None if data.test is None else arrays(data.test)

    size = "x".join(map(str, model.input_shape[1:]))
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras", PyTorch="torch", earlyon="earlyon"))
    print(
        f"\n{model.architecture.name} at {size}, points of accuracy that are lost on images that set no thresholds:\n"
    )
    print("| set by | measured on | leave at | M multiply-adds | points lost |\n|---|---|---|---|---|")
    parts = [part for seed in range(arguments.drawings) for part in folds(validation, seed)]
    lost = [print_lost(model, *part, options) for part in ([(validation, test)] if test else parts)]
    error = f", standard deviation {np.std(lost, ddof=1):.2f}" if len(lost) > 1 else ""
    print(f"\nlost on average: {np.mean(lost):+.2f} points{error}")

    calibration = exits.calibrate_exits(model, validation, **options)
    print(f"\nthresholds by all {len(validation[1]):,} validation images, of which the rows give the accuracy too")
    if not arguments.timed_images:
        return
    images, labels = (values[: arguments.timed_images] for values in (test or validation))
    networks = networks_of(model, calibration, validation, arguments.precision)
    print(f"times: {len(images)} images, median (quartiles) of {arguments.repeats} passes over them, milliseconds an")
    print(f"image, in {arguments.precision}; times as fast as the main head alone on the same engine\n")
    print("| network | right | batch 1 | times as fast | batch 16 | times as fast |\n|---|---|---|---|---|---|")
    cells = {name: [f"{np.mean(answers(network, images) == labels):.2%}"] for name, network in networks.items()}
    for size in (1, 16):
        seconds = passes(networks, images, size, arguments.repeats)
        for name, values in seconds.items():
            alone = seconds[EARLYON_ALONE if name in (EARLYON, EARLYON_ALONE) else ALONE]
            cells[name] += [cell([1e3 * value / len(images) for value in values]), cell(ratios(alone, values))]
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(row) + " |")


def folds(images_and_labels, seed, count=5):
    """Returns pairs of labelled images, all but one part and that part, of parts that are drawn with a seed."""
    parts = np.array_split(np.random.default_rng(seed).permutation(len(images_and_labels[1])), count)
    return [
        tuple(
            tuple(values[np.sort(chosen)] for values in images_and_labels)
            for chosen in (np.concatenate(parts[:index] + parts[index + 1 :]), parts[index])
        )
        for index in range(count)
    ]


def print_lost(model, first, second, options):
    """Prints and returns how many points of accuracy the thresholds that some images choose lose on others."""
    calibration = exits.calibrate_exits(model, first, **options)
    chosen = exits.score(model, calibration, second)[calibration.table.index(calibration.chosen)]
    lost, cost = 100 * chosen.accuracy_loss, f"{chosen.multiply_adds / 1e6:.1f}"
    print(f"| {len(first[1]):,} | {len(second[1]):,} | {leaving(chosen)} | {cost} | {lost:+.2f} |", flush=True)
    return lost


def leaving(point):
    return ", ".join(f"{head} {share:.0%}" for head, share in point.shares.items())


def arrays(batches):
    images, labels = zip(*batches.as_numpy_iterator())
    return np.concatenate(images), np.concatenate(labels)


def networks_of(model, calibration, first, precision):
    """Returns by name functions from images, as NumPy has them, to probabilities.

    Beside the chosen thresholds they have those of the sweep by which at most a point of accuracy is lost.
    """
    main_head = frozen(serving_network(model, precision=precision))
    signature = [tf.TensorSpec((None, *model.input_shape[1:]))]
    alone = tf.function(lambda images: main_head(images)[MAIN], signature, autograph=False)
    networks = {ALONE: lambda images: alone(tf.constant(images)).numpy()}
    for point in calibration.table:
        if point.thresholds and point.accuracy_loss <= MOST_LOST:
            of_point = replace(calibration, thresholds=point.thresholds, mixtures=point.mixtures)
            name = f"{point.multiply_adds / 1e6:.1f}M: {leaving(point)}; {point.accuracy:.2%} of all"
            networks[f"{name}, chosen" if point == calibration.chosen else name] = early_exits(
                early_exit_network(model, of_point, precision)
            )
    try:
        return networks | of_earlyon(model, calibration, first)
    except ImportError as error:
        print(f"\nwithout earlyon: {error}")
        return networks


def early_exits(network):
    return lambda images: network(tf.constant(images))["probabilities"].numpy()


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
