"""Temperatures and thresholds of early exits, found on validation data."""

import itertools
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.evaluation import class_indices
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import gives_logits
from keras_inception.serving.exits import order

COMBINATIONS = 4000  # of thresholds that are tried, over all heads
NEVER = 2.0  # a threshold that no probability reaches


@dataclass(frozen=True)
class ExitPoint:
    """What some thresholds do on some images.

    Attributes:
        thresholds: The probability from which an image leaves, by head; a head that is left out is not computed.
        accuracy: Share of right answers in [0, 1].
        accuracy_loss: Accuracy of the main head on all images, minus that.
        standard_error: The standard error of `accuracy_loss`, from the images on which the two differ.
        highest_loss: The larger one of two estimates of the accuracy that is lost, each plus its standard error: as
            counted, and as the calibrated probabilities of the heads expect it.
        multiply_adds: The mean over the images.
        shares: Share of the images that leave at each head, `"main"` included.
        milliseconds: Measured mean time of an image in milliseconds by batch size; see `measure_latency`.
    """

    thresholds: dict[str, float]
    accuracy: float
    accuracy_loss: float
    standard_error: float
    highest_loss: float
    multiply_adds: float
    shares: dict[str, float]
    milliseconds: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExitCalibration:
    """What `calibrate_exits` found; `early_exit_model` takes it, and it travels as a JSON file.

    Attributes:
        thresholds: The probability from which an image leaves, by auxiliary head; where none may, the head is left out.
        temperatures: What the logits of each head are divided by before the softmax, above 0.
        max_accuracy_loss: What was asked for.
        images: The number of validation images.
        losses: Cross-entropy of each head on them: `[before, after]` the temperature.
        multiply_adds: Of an image that runs through the main head alone, without early exits.
        chosen: What the thresholds do on the validation images.
        table: The same for a sweep of thresholds from "none leaves" to "all leave at the first head"; the chosen ones
            are among them.
    """

    thresholds: dict[str, float]
    temperatures: dict[str, float]
    max_accuracy_loss: float
    images: int
    losses: dict[str, list[float]]
    multiply_adds: int
    chosen: ExitPoint
    table: list[ExitPoint]

    def save(self, path):
        """Writes a JSON file, such as `exits.json` in a run folder."""
        files.write_json(Path(path), asdict(self))

    @classmethod
    def from_file(cls, path):
        """Reads what `save` wrote.

        Raises:
            ValueError: It is no such file.
        """
        values = files.read_json(path)
        try:
            return cls(**{**values, "chosen": _point(values["chosen"]), "table": list(map(_point, values["table"]))})
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no calibration of early exits of this version. Write it with `keras-inception exits`."
            ) from error


def calibrate_exits(model, data, max_accuracy_loss=0.002, *, batch_size=64):
    """Finds the thresholds of early exits on validation data.

    First every head gets a temperature: its logits are divided by the number that makes the cross-entropy on the data
    smallest, so that its probabilities mean what they say. Of the combinations of thresholds at quantiles of these
    probabilities it then takes the one of the fewest mean multiply-adds that keeps the accuracy.

    Thresholds that were chosen because they do well on some images do less well on others, so there is a margin. The
    accuracy that is lost is estimated twice, by counting right answers and by comparing the probabilities that the
    heads give to their answers; each estimate plus its standard error must be at most `max_accuracy_loss`. The more
    validation images, the smaller the margin. With few of them it may be that no image may leave early.

    Args:
        model: A trained `InceptionModel` with auxiliary heads and a fixed image size.
        data: Images that the model was not trained on, with labels: a pair of arrays, or batches of `(image, label)`
            such as a `tf.data.Dataset`. Images are preprocessed; labels are integers or one-hot.
        max_accuracy_loss: How much of the main head's accuracy may be lost, in [0, 1]: 0.002 is 0.2 points.
        batch_size: How many images of arrays to compute at once.

    Returns:
        An `ExitCalibration`.

    Raises:
        ValueError: The model has no auxiliary heads, there is no data, or labels do not fit the model.
    """
    if not 0 <= max_accuracy_loss <= 1:
        raise InputError(
            "`max_accuracy_loss` must be a share of the images from 0 to 1; 0.002 is 0.2 points. "
            f"Received: max_accuracy_loss={max_accuracy_loss}"
        )
    logits, labels = head_logits(model, data, batch_size)
    temperatures = {head: temperature(logits[head], labels) for head in logits}
    answers = Answers(model, logits, labels, temperatures)
    points = [answers.point(thresholds) for thresholds in answers.combinations()]
    never = points[-1]
    safe = [point for point in points if point.highest_loss <= max_accuracy_loss]
    chosen = min([never, *safe], key=lambda point: (point.multiply_adds, point.accuracy_loss))
    return ExitCalibration(
        thresholds=chosen.thresholds,
        temperatures=temperatures,
        max_accuracy_loss=max_accuracy_loss,
        images=len(labels),
        losses={
            head: [cross_entropy(values, labels, 1.0), cross_entropy(values, labels, temperatures[head])]
            for head, values in logits.items()
        },
        multiply_adds=order.multiply_adds(model, [])[MAIN],
        chosen=chosen,
        table=_sweep(points, chosen, never),
    )


def score(model, calibration, data, *, batch_size=64):
    """Returns what the thresholds of a calibration do on other images than those they were chosen on.

    Args:
        model: The model that was calibrated.
        calibration: An `ExitCalibration`.
        data: Images with labels, as `calibrate_exits` takes them.
        batch_size: How many images of arrays to compute at once.

    Returns:
        A list of `ExitPoint`, one for each of `calibration.table`.

    Raises:
        ValueError: As `calibrate_exits`.
    """
    logits, labels = head_logits(model, data, batch_size)
    answers = Answers(model, logits, labels, calibration.temperatures)
    return [answers.point(point.thresholds) for point in calibration.table]


def temperature(logits, labels):
    """Returns the temperature, from 0.05 to 20, that makes the cross-entropy of `softmax(logits / temperature)` least.

    Args:
        logits: `(images, classes)`.
        labels: `(images,)`, integers.
    """
    found = minimize_scalar(
        lambda x: cross_entropy(logits, labels, np.exp(x)), bounds=(np.log(0.05), np.log(20)), method="bounded"
    )
    return float(np.exp(found.x))


def cross_entropy(logits, labels, temperature):
    """Returns the mean cross-entropy, in nats, of `softmax(logits / temperature)`."""
    log_probabilities = log_softmax(logits / temperature, axis=1)
    return float(-np.take_along_axis(log_probabilities, labels[:, None], axis=1).mean())


def head_logits(model, data, batch_size=64):
    """Runs all heads of a model on labelled images.

    Returns:
        A dict by head, the shallowest first, of logits `(images, classes)`, float64 (of a softmax their logarithms,
        which serve alike), and the labels `(images,)`, integers.

    Raises:
        ValueError: The model has no auxiliary heads, there are no images, or labels do not fit the model.
    """
    names = order.exit_names(model)
    forward = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    outputs, labels = {name: [] for name in names}, []
    for images, batch_labels in _batches(data, batch_size):
        for name, output in zip(model.output_names, forward(tf.convert_to_tensor(images))):
            if name in outputs:
                outputs[name].append(output.numpy())
        labels.append(class_indices(np.asarray(batch_labels), model.classes))
    if not labels:
        raise InputError("Early exits are calibrated on labelled images, and there are none. Received: empty `data`")
    logits = {name: np.concatenate(values).astype("float64") for name, values in outputs.items()}
    for name in names:
        if not gives_logits(model, name):
            logits[name] = np.log(np.maximum(logits[name], np.finfo(np.float32).tiny))
    return logits, np.concatenate(labels)


class Answers:
    """What every head says of labelled images, and so what any thresholds do.

    Args:
        model: The model.
        logits: Dict by head of `(images, classes)`, the shallowest head first.
        labels: `(images,)`.
        temperatures: By head.
    """

    def __init__(self, model, logits, labels, temperatures):
        self._model = model
        self._costs = {}
        self._right = {head: values.argmax(axis=1) == labels for head, values in logits.items()}
        self._sureness = {
            head: softmax(values / temperatures[head], axis=1).max(axis=1) for head, values in logits.items()
        }

    def combinations(self):
        """Yields thresholds for the search: each head's quantiles, and none; the last one has no exits."""
        heads = [head for head in self._sureness if head != MAIN]
        count = max(2, int(COMBINATIONS ** (1 / len(heads))))
        # Six digits are fewer than float32 has, and are what a person can read.
        quantiles = [
            [0.0, *np.unique(np.quantile(self._sureness[head], np.linspace(0, 1, count)[1:]).round(6)), NEVER]
            for head in heads
        ]
        for values in itertools.product(*quantiles):
            yield {head: float(value) for head, value in zip(heads, values) if value != NEVER}

    def point(self, thresholds):
        """Returns the `ExitPoint` of some thresholds."""
        costs = self._costs_of(tuple(thresholds))
        right, sureness = self._right[MAIN].astype(float), self._sureness[MAIN].copy()
        stays = np.ones(len(right), bool)
        shares = {}
        for head, threshold in thresholds.items():
            leaves = stays & (self._sureness[head] >= threshold)
            right[leaves] = self._right[head][leaves]
            sureness[leaves] = self._sureness[head][leaves]
            shares[head] = float(leaves.mean())
            stays &= ~leaves
        shares[MAIN] = float(stays.mean())
        counted, counted_error = _mean_and_error(self._right[MAIN] - right)
        expected, expected_error = _mean_and_error(self._sureness[MAIN] - sureness)
        return ExitPoint(
            thresholds=dict(thresholds),
            accuracy=float(right.mean()),
            accuracy_loss=counted,
            standard_error=counted_error,
            highest_loss=max(counted + counted_error, expected + expected_error),
            multiply_adds=sum(costs[head] * share for head, share in shares.items()),
            shares=shares,
        )

    def _costs_of(self, heads):
        if heads not in self._costs:
            self._costs[heads] = order.multiply_adds(self._model, heads)
        return self._costs[heads]


def _sweep(points, chosen, never, count=12):
    """Returns some of the points that no other beats in both accuracy and cost, the costliest first."""
    best, frontier = -1.0, []
    for point in sorted(points, key=lambda point: (point.multiply_adds, -point.accuracy)):
        if point.accuracy > best:
            frontier.append(point)
            best = point.accuracy
    costs = np.linspace(frontier[0].multiply_adds, frontier[-1].multiply_adds, count)
    kept = [min(frontier, key=lambda point: abs(point.multiply_adds - cost)) for cost in costs]
    kept = {tuple(point.thresholds.items()): point for point in [never, chosen, *kept]}
    return sorted(kept.values(), key=lambda point: -point.multiply_adds)


def _batches(data, batch_size):
    """Yields images and labels from a pair of arrays or from batches."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        images, labels = data
        if len(images) != len(labels):
            raise InputError(
                f"`data` must hold one label for each image. Received: {len(images)} images, {len(labels)} labels"
            )
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size], labels[start : start + batch_size]
        return
    try:
        batches = iter(data)
    except TypeError:
        batches = iter([None])
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise InputError(
                "`data` must be a pair of arrays, images and labels, or batches of such pairs. "
                f"Received: data={type(data).__name__} of {type(batch).__name__}"
            )
        yield batch[0], batch[1]


def _mean_and_error(values):
    """Returns the mean and its standard error."""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def _point(values):
    return ExitPoint(**{**values, "milliseconds": {int(size): t for size, t in values["milliseconds"].items()}})
