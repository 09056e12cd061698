"""How long an image takes with early exits, measured."""

import heapq
import itertools
import statistics
import time
from dataclasses import replace

import numpy as np
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.network.views import inference_model
from keras_inception.serving.exits.stages import early_exit_model


def measure_latency(model, calibration, images, *, batch_sizes=(1, 16), points=4, repeats=3):
    """Measures the time of an image for some points of a calibration's table.

    Every batch runs through all networks, one after the other, before the next batch does, so that a slow moment of the
    machine meets all of them. The first point, without exits, is `inference_model(model)`.

    Args:
        model: The model that was calibrated.
        calibration: An `ExitCalibration`.
        images: `(images, height, width, channels)`, preprocessed, drawn at random from what the network is to see: how
            many of them leave early decides the time. Those that fill no whole batch are left out.
        batch_sizes: How many images to compute at once, each at least 1.
        points: How many points to measure, at least 2, spread over the table; the chosen one is always among them.
        repeats: How often each batch runs, at least 1; its median counts.

    Returns:
        The calibration with `milliseconds` at the measured points of `table` and in `chosen`.

    Raises:
        ValueError: There are fewer images than the largest batch size.
    """
    if len(images) < max(batch_sizes):
        raise InputError(
            f"Measuring batches of {max(batch_sizes)} needs as many images. Received: {len(images)} images"
        )
    table = calibration.table
    positions = {round(index * (len(table) - 1) / (points - 1)) for index in range(points)}
    positions = sorted({0, table.index(calibration.chosen), *positions})
    networks = {
        position: _network(model, replace(calibration, thresholds=table[position].thresholds)) for position in positions
    }
    found = {position: {} for position in positions}
    for size in batch_sizes:
        batches = [tf.constant(images[start : start + size]) for start in range(0, len(images) - size + 1, size)]
        for position, seconds in interleaved_seconds(networks, batches, repeats).items():
            found[position][size] = 1e3 * seconds / (size * len(batches))
    table = [
        replace(point, milliseconds=found[position]) if position in found else point
        for position, point in enumerate(table)
    ]
    return replace(calibration, table=table, chosen=table[calibration.table.index(calibration.chosen)])


def sample(data, count, *, seed=0):
    """Draws images at random from batches, as evenly from the last as from the first.

    Args:
        data: Batches of `(image, label)`.
        count: How many images; all of them where there are fewer.
        seed: Decides which.

    Returns:
        An array `(images, height, width, channels)`.
    """
    random = np.random.default_rng(seed)
    images = ((random.random(), image) for images, *_ in data for image in np.asarray(images))
    return np.stack([image for _, image in heapq.nsmallest(count, images, key=lambda pair: pair[0])])


def _network(model, calibration):
    if calibration.thresholds:
        return early_exit_model(model, calibration)
    classifier = inference_model(model)
    return tf.function(lambda images: {"probabilities": classifier(images, training=False)})


def interleaved_seconds(networks, batches, repeats):
    """Measures networks beside each other.

    Args:
        networks: Dict of functions of a batch that return a dict with `"probabilities"`.
        batches: A list of batches, two of which run once before anything is measured.
        repeats: How often each batch runs through each network; of each batch the median counts.

    Returns:
        A dict with the keys of `networks`: the seconds for all batches.
    """
    for batch, network in itertools.product(batches[:2], networks.values()):
        _seconds(network, batch)  # traces it
    total = dict.fromkeys(networks, 0.0)
    for batch in batches:
        times = [{key: _seconds(network, batch) for key, network in networks.items()} for _ in range(repeats)]
        for key in networks:
            total[key] += statistics.median(measured[key] for measured in times)
    return total


def _seconds(network, batch):
    start = time.perf_counter()
    network(batch)["probabilities"].numpy()
    return time.perf_counter() - start
