"""Temperatures and thresholds of early exits, found on validation data."""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from keras_inception import architectures, evaluation, files
from keras_inception.errors import InputError, shown
from keras_inception.network import cost
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel
from keras_inception.rules import is_number
from keras_inception.types import Array, PathLike

COMBINATIONS: int = 4000  # of thresholds that are tried, over all heads
NEVER: float = 2.0  # a threshold that no probability reaches


@dataclass(frozen=True)
class ExitPoint:
    """What some thresholds do on some images.

    Attributes:
        thresholds: The probability from which an image leaves, by head; a head that is left out is not computed.
        accuracy: Share of right answers in [0, 1].
        accuracy_loss: Accuracy of the main head on all images, minus that.
        standard_error: The standard error of `accuracy_loss`.
        highest_loss: The larger one of two estimates of `accuracy_loss`, as counted and as the calibrated probabilities
            expect it, each plus its standard error.
        multiply_adds: The mean over the images.
        shares: Share of the images that leave at each head, `"main"` included.
    """

    thresholds: dict[str, float]
    accuracy: float
    accuracy_loss: float
    standard_error: float
    highest_loss: float
    multiply_adds: float
    shares: dict[str, float]


@dataclass(frozen=True)
class ExitCalibration:
    """What `calibrate_exits` found; `early_exit_model` takes it, and it travels as a JSON file.

    Attributes:
        thresholds: The probability from which an image leaves, by auxiliary head; where none may, the head is left out.
        temperatures: What the logits of each head are divided by before the softmax, above 0.
        max_accuracy_loss: What was asked for.
        images: The number of validation images.
        multiply_adds: Of an image that runs through the main head alone, without early exits.
        chosen: What the thresholds do on the validation images.
        table: The same for a sweep of thresholds from "none leaves" to "all leave at the first head"; the chosen ones
            are among them.
    """

    thresholds: dict[str, float]
    temperatures: dict[str, float]
    max_accuracy_loss: float
    images: int
    multiply_adds: int
    chosen: ExitPoint
    table: list[ExitPoint]

    def save(self, path: PathLike) -> None:
        """Writes a JSON file, such as `exits.json` in a run folder.

        Raises:
            OSError: The file cannot be written.
        """
        files.write_json(path, asdict(self))

    @classmethod
    def from_file(cls, path: PathLike) -> "ExitCalibration":
        """Reads what `save` wrote, in this version or an earlier one.

        Raises:
            InputError: It is no such file.
        """
        values = files.read_json(path)
        try:
            points = {"chosen": _of(ExitPoint, values["chosen"]), "table": [_of(ExitPoint, v) for v in values["table"]]}
            return _of(cls, values | points)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is no calibration of early exits of this version. Write it with `keras-inception exits`."
            ) from error

    def rows(self, points: list[ExitPoint] | None = None) -> list[dict[str, Any]]:
        """Returns the table as rows of numbers, None where a head is not used.

        The columns are `HEAD_threshold` and `HEAD_share` for each auxiliary head, `validation_accuracy`,
        `multiply_adds`, `test_accuracy` and `test_multiply_adds` where there are points, and `chosen`.

        Args:
            points: What `score` returned for test images.
        """
        heads = [head for head in self.temperatures if head != MAIN]
        rows = []
        for index, point in enumerate(self.table):
            row: dict[str, Any] = {f"{head}_threshold": point.thresholds.get(head) for head in heads}
            row |= {f"{head}_share": point.shares.get(head, 0.0) for head in heads}
            row |= {"validation_accuracy": point.accuracy, "multiply_adds": point.multiply_adds}
            if points is not None:
                row |= {"test_accuracy": points[index].accuracy, "test_multiply_adds": points[index].multiply_adds}
            rows.append({**row, "chosen": point == self.chosen})
        return rows


def exit_names(model: InceptionModel) -> list[str]:
    """Returns the names of the heads at which an image can leave, the shallowest first and `"main"` last.

    Raises:
        InputError: The model has no main head, or no auxiliary one.
    """
    architecture = architectures.of(model)
    depth = [row.name for row in architecture.rows].index
    heads = [head for head in architecture.auxiliary_heads if head.name in model.output_names]
    if not heads or MAIN not in model.output_names:
        raise InputError(
            "Early exits need the main head and an auxiliary head that images can leave at. Use the model as it was "
            "trained, with `aux_heads=True`, not what `inference_model` returns. "
            f"Received: model {model.name!r} with outputs {list(model.output_names)}"
        )
    return [*(head.name for head in sorted(heads, key=lambda head: depth(head.tap))), MAIN]


def calibrate_exits(
    model: InceptionModel, data: Any, max_accuracy_loss: float = 0.002, *, batch_size: int = 64
) -> ExitCalibration:
    """Finds the thresholds of early exits on validation data.

    Every head gets the temperature that makes the cross-entropy of its logits on the data smallest. Of the combinations
    of thresholds at quantiles of the resulting probabilities it then takes the one of the fewest mean multiply-adds
    that keeps the accuracy.

    Thresholds that were chosen because they do well on some images do less well on others, so there is a margin: the
    accuracy that is lost is estimated by counting right answers and by comparing the probabilities that the heads give
    to their answers, and each estimate plus its standard error must be at most `max_accuracy_loss`. With few validation
    images it may be that none may leave early.

    Args:
        model: A trained model with auxiliary heads and a fixed image size.
        data: Images that the model was not trained on, with labels, as `evaluation.predict` takes them: batches of
            `(image, label)`, such as a `tf.data.Dataset`, or a pair of arrays. Images are preprocessed; labels are
            integers or one-hot.
        max_accuracy_loss: How much of the main head's accuracy may be lost, in [0, 1]: 0.002 is 0.2 points.
        batch_size: The most images to compute at once.

    Raises:
        InputError: `max_accuracy_loss` is out of range, the model has no auxiliary heads, there is no data, or labels
            do not fit the model.
    """
    if not is_number(max_accuracy_loss, 0, 1):
        raise InputError(
            "`max_accuracy_loss` must be a share of the images from 0 to 1; 0.002 is 0.2 points. "
            f"Received: max_accuracy_loss={shown(max_accuracy_loss)}"
        )
    logits, labels = _head_logits(model, data, batch_size)
    temperatures = {head: temperature(values, labels) for head, values in logits.items()}
    answers = _Answers(model, logits, labels, temperatures)
    points = [answers.point(thresholds) for thresholds in answers.combinations()]
    never = points[-1]
    safe = [point for point in points if point.highest_loss <= max_accuracy_loss]
    chosen = min([never, *safe], key=lambda point: (point.multiply_adds, point.accuracy_loss))
    return ExitCalibration(
        thresholds=chosen.thresholds,
        temperatures=temperatures,
        max_accuracy_loss=max_accuracy_loss,
        images=len(labels),
        multiply_adds=_exit_costs(model, [])[MAIN],
        chosen=chosen,
        table=_sweep(points, chosen, never),
    )


def score(model: InceptionModel, calibration: ExitCalibration, data: Any, *, batch_size: int = 64) -> list[ExitPoint]:
    """Returns what each point of `calibration.table` does on other images than those they were chosen on.

    Args:
        model: The model that was calibrated.
        calibration: What `calibrate_exits` returned.
        data: As `calibrate_exits` takes them.
        batch_size: The most images to compute at once.

    Raises:
        InputError: The model has no auxiliary heads, there is no data, or labels do not fit the model.
    """
    answers = _Answers(model, *_head_logits(model, data, batch_size), calibration.temperatures)
    return [answers.point(point.thresholds) for point in calibration.table]


def temperature(logits: Array, labels: Array) -> float:
    """Returns the temperature, from 0.05 to 20, that makes the cross-entropy of `softmax(logits / temperature)` least.

    Args:
        logits: `(images, classes)`.
        labels: `(images,)`, integers.
    """

    def cross_entropy(logarithm: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(logarithm), axis=1)
        return -np.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def _head_logits(model: InceptionModel, data: Any, batch_size: int) -> tuple[dict[str, Array], Array]:
    """Returns the logits `(images, classes)` by head, the shallowest first, and the labels `(images,)`.

    They are the logarithms of the softmaxes, which serve alike.
    """
    names = exit_names(model)  # refuses a model without auxiliary heads before its images are read
    found = evaluation.predict(model, data, batch_size=batch_size)
    tiny = np.finfo(np.float32).tiny
    return {name: np.log(np.maximum(found.probabilities[name].astype("float64"), tiny)) for name in names}, found.labels


class _Answers:
    """What every head says of labelled images, `logits` of them by head, and so what any thresholds do."""

    def __init__(
        self, model: InceptionModel, logits: dict[str, Array], labels: Array, temperatures: dict[str, float]
    ) -> None:
        self._model = model
        self._costs: dict[tuple[str, ...], dict[str, int]] = {}
        self._right = {head: values.argmax(axis=1) == labels for head, values in logits.items()}
        self._confidence = {
            head: softmax(values / temperatures[head], axis=1).max(axis=1) for head, values in logits.items()
        }

    def combinations(self) -> Iterator[dict[str, float]]:
        """Yields thresholds for the search: each head's quantiles, and none; the last one has no exits."""
        heads = [head for head in self._confidence if head != MAIN]
        count = max(2, int(COMBINATIONS ** (1 / len(heads))))
        # Six digits are fewer than float32 has, and are what a person can read.
        quantiles = [
            [0.0, *np.unique(np.quantile(self._confidence[head], np.linspace(0, 1, count)[1:]).round(6)), NEVER]
            for head in heads
        ]
        for values in itertools.product(*quantiles):
            yield {head: float(value) for head, value in zip(heads, values) if value != NEVER}

    def point(self, thresholds: dict[str, float]) -> ExitPoint:
        """Returns what some thresholds do."""
        heads = tuple(thresholds)
        if heads not in self._costs:  # thousands of points have few costs
            self._costs[heads] = _exit_costs(self._model, heads)
        right, confidence = self._right[MAIN].astype(float), self._confidence[MAIN].copy()
        stays = np.ones(len(right), bool)
        shares = {}
        for head, threshold in thresholds.items():
            leaves = stays & (self._confidence[head] >= threshold)
            right[leaves] = self._right[head][leaves]
            confidence[leaves] = self._confidence[head][leaves]
            shares[head] = float(leaves.mean())
            stays &= ~leaves
        shares[MAIN] = float(stays.mean())
        counted, counted_error = _mean_and_error(self._right[MAIN] - right)
        expected, expected_error = _mean_and_error(self._confidence[MAIN] - confidence)
        return ExitPoint(
            thresholds=dict(thresholds),
            accuracy=float(right.mean()),
            accuracy_loss=counted,
            standard_error=counted_error,
            highest_loss=max(counted + counted_error, expected + expected_error),
            multiply_adds=sum(self._costs[heads][head] * share for head, share in shares.items()),
            shares=shares,
        )


def _sweep(points: list[ExitPoint], chosen: ExitPoint, never: ExitPoint, count: int = 12) -> list[ExitPoint]:
    """Returns some of the points that no other beats in both accuracy and cost, from the one without exits down."""
    best, frontier = -1.0, []
    for point in sorted(points, key=lambda point: (point.multiply_adds, -point.accuracy)):
        if point.accuracy > best and point.multiply_adds <= never.multiply_adds:
            frontier.append(point)
            best = point.accuracy
    costs = np.linspace(frontier[0].multiply_adds, frontier[-1].multiply_adds, count)
    kept = [min(frontier, key=lambda point: abs(point.multiply_adds - cost)) for cost in costs]
    by_thresholds = {tuple(point.thresholds.items()): point for point in [never, chosen, *kept]}
    return sorted(by_thresholds.values(), key=lambda point: -point.multiply_adds)


def _mean_and_error(values: Array) -> tuple[float, float]:
    """Returns the mean and its standard error."""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def _exit_costs(model: InceptionModel, heads: Collection[str]) -> dict[str, int]:
    """Returns the multiply-adds of an image by the exit at which it leaves, where `heads` alone are computed."""
    costs = {row.name: row.multiply_adds for row in cost.rows(model)}
    architecture = architectures.of(model)
    rows = [row.name for row in architecture.rows]
    spent, asked = {}, 0
    for head in exit_names(model):
        if head == MAIN:
            spent[MAIN] = asked + costs["linear"] + sum(costs[name] for name in rows)
        elif head in heads:
            asked += costs[head]
            spent[head] = asked + sum(costs[name] for name in rows[: rows.index(architecture.taps[head]) + 1])
    return spent


def _of(cls: Any, values: dict[str, Any]) -> Any:
    """Returns a record of the values that it has; an earlier version may have written more."""
    return cls(**{entry.name: values[entry.name] for entry in fields(cls)})
