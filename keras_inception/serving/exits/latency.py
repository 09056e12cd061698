"""How long an image takes with early exits, measured."""

import heapq
import itertools
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.network.model import InceptionModel
from keras_inception.network.views import inference_model
from keras_inception.serving.exits.calibration import ExitCalibration
from keras_inception.serving.exits.stages import EarlyExitModel
from keras_inception.types import Array, Tensor

Key = TypeVar("Key", bound=Hashable)
Network = Callable[[Tensor], Mapping[str, Tensor]]


def measure_latency(
    model: InceptionModel,
    calibration: ExitCalibration,
    images: Array,
    *,
    batch_sizes: Sequence[int] = (1, 16),
    points: int = 4,
    repeats: int = 3,
) -> ExitCalibration:
    """Measures the time of an image for some points of a calibration's table.

    Every batch runs through all networks, one after the other, before the next batch does, so that a slow moment of the
    machine meets all of them. The first point, without exits, is `inference_model(model)`.

    Args:
        model: The model that was calibrated.
        calibration: What `calibrate_exits` returned.
        images: `(images, height, width, channels)`, preprocessed, drawn at random from what the network is to see: how
            many of them leave early decides the time. Those that fill no whole batch are left out.
        batch_sizes: How many images to compute at once, each at least 1; those above the number of images are left out.
        points: How many points to measure, at least 2, spread over the table; the chosen one is always among them.
        repeats: How often each batch runs, at least 1; its median counts.

    Returns:
        The calibration with `milliseconds` at the measured points of `table` and in `chosen`.

    Raises:
        InputError: There are no images.
    """
    if len(images) == 0:
        raise InputError("The time of an image is measured on images, and there are none. Received: 0 images")
    table = calibration.table
    chosen = table.index(calibration.chosen)
    positions = {round(index * (len(table) - 1) / (points - 1)) for index in range(points)}
    networks: dict[int, Network] = {
        position: EarlyExitModel(model, table[position].thresholds, calibration.temperatures)
        if table[position].thresholds
        else _main_head(model)
        for position in sorted({0, chosen, *positions})
    }
    found: dict[int, dict[int, float]] = {position: {} for position in networks}
    for size in batch_sizes:
        if size > len(images):
            continue
        batches = [tf.constant(images[start : start + size]) for start in range(0, len(images) - size + 1, size)]
        for position, seconds in interleaved_seconds(networks, batches, repeats).items():
            found[position][size] = 1e3 * seconds / (size * len(batches))
    table = [replace(point, milliseconds=found.get(index, {})) for index, point in enumerate(table)]
    return replace(calibration, table=table, chosen=table[chosen])


def sample(data: Iterable[Any], count: int, *, seed: int = 0) -> Array:
    """Draws images at random from batches, as evenly from the last as from the first.

    Args:
        data: Batches of `(image, label)`.
        count: How many images; all of them where there are fewer.
        seed: Decides which.

    Returns:
        `(images, height, width, channels)`.
    """
    random = np.random.default_rng(seed)
    images = ((random.random(), image) for images, *_ in data for image in np.asarray(images))
    return np.stack([image for _, image in heapq.nsmallest(count, images, key=lambda pair: pair[0])])


def interleaved_seconds(networks: Mapping[Key, Network], batches: Sequence[Tensor], repeats: int) -> dict[Key, float]:
    """Measures networks beside each other.

    Args:
        networks: Functions of a batch that return a dict with `"probabilities"`.
        batches: The batches, two of which run once before anything is measured.
        repeats: How often each batch runs through each network; of each batch the median counts.

    Returns:
        The seconds for all batches, by the keys of `networks`.
    """
    for batch, network in itertools.product(batches[:2], networks.values()):
        _seconds(network, batch)  # traces it
    total = dict.fromkeys(networks, 0.0)
    for batch in batches:
        times = [{key: _seconds(network, batch) for key, network in networks.items()} for _ in range(repeats)]
        for key in networks:
            total[key] += statistics.median(measured[key] for measured in times)
    return total


def _main_head(model: InceptionModel) -> Network:
    classifier = inference_model(model)
    return tf.function(lambda images: {"probabilities": classifier(images, training=False)})


def _seconds(network: Network, batch: Tensor) -> float:
    start = time.perf_counter()
    network(batch)["probabilities"].numpy()
    return time.perf_counter() - start
