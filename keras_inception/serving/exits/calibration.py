"""What answers at early exits, and from where on: mixtures, criterion and thresholds, found on validation data."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from keras_inception import architectures, evaluation, files
from keras_inception.errors import InputError, shown
from keras_inception.network import cost
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel
from keras_inception.rules import argument, is_number, maybe, one_of
from keras_inception.types import Array, PathLike

COMBINATIONS: int = 4000  # of thresholds that are tried, over all heads
MARGIN: float = 2.0  # standard errors of the accuracy that is lost
LEAST_MARGIN: float = 3.0  # images; see `_highest`
NEVER: float = 2.0  # a threshold that no answer reaches
HIGHEST: float = 0.999999  # of the thresholds that are tried
STEPS: int = 50  # thresholds of a head that are tried around the best combination
LEAST_WEIGHT, LARGEST_WEIGHT = 0.05, 20.0  # of a head in its own mixture

Mixtures = Mapping[str, Mapping[str, float]]

# How sure an answer is, from 0 to 1, of probabilities (images, classes): the highest one, the entropy (0 where all
# classes are alike, BranchyNet's), and the distance between the two highest.
CRITERIA: dict[str, Callable[[Array], Array]] = {
    "confidence": lambda p: p.max(axis=1),
    "entropy": lambda p: 1 + (p * np.log(np.maximum(p, np.finfo(np.float32).tiny))).sum(axis=1) / np.log(p.shape[1]),
    "margin": lambda p: np.diff(np.partition(p, -2, axis=1)[:, -2:], axis=1)[:, 0],
}
MAYBE_CRITERION = maybe(*one_of(tuple(CRITERIA))["rule"])


@dataclass(frozen=True)
class ExitPoint:
    """What some thresholds do on some images.

    Attributes:
        thresholds: How sure a head must be for an image to leave, by head; a head that is left out is not computed.
        mixtures: What each head that is computed answers: the softmax of the logarithms of probabilities, its own and
            those of the heads before it, times these weights.
        accuracy: Share of right answers in [0, 1].
        accuracy_loss: Accuracy of the main head on all images, minus that.
        standard_error: The standard error of `accuracy_loss`.
        highest_loss: The larger one of two estimates of `accuracy_loss`, as counted and as the calibrated probabilities
            expect it, each plus two standard errors or, where that is more, three images.
        multiply_adds: The mean over the images.
        shares: Share of the images that leave at each head, `"main"` included.
    """

    thresholds: dict[str, float]
    mixtures: dict[str, dict[str, float]]
    accuracy: float
    accuracy_loss: float
    standard_error: float
    highest_loss: float
    multiply_adds: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Leave:
    """How an image leaves.

    Attributes:
        head: Where.
        label: Its class, as an index.
        answer: The class that the head answers.
        confidence: The probability of that answer.
        sure: What the criterion says of it, which is compared with the threshold.
    """

    head: str
    label: int
    answer: int
    confidence: float
    sure: float


@dataclass(frozen=True)
class ExitCalibration:
    """What `calibrate_exits` found; `early_exit_model` takes it, and it travels as a JSON file.

    Attributes:
        thresholds: How sure a head must be for an image to leave, by auxiliary head; where none may, it is left out.
        mixtures: What the heads answer, see `ExitPoint`.
        criterion: What tells how sure an answer is: `"confidence"`, `"entropy"` or `"margin"`.
        exit_names: All heads, the shallowest first and `"main"` last.
        max_accuracy_loss: What was asked for.
        images: The number of validation images.
        multiply_adds: Of an image that runs through the main head alone, without early exits.
        chosen: What the thresholds do on the validation images.
        table: The same for a sweep of thresholds from "none leaves" to "all leave at the first head"; the chosen ones
            are among them.
    """

    thresholds: dict[str, float]
    mixtures: dict[str, dict[str, float]]
    criterion: str
    exit_names: list[str]
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
            values = _of_today(values)
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
        rows = []
        for index, point in enumerate(self.table):
            row: dict[str, Any] = {f"{head}_threshold": point.thresholds.get(head) for head in self.exit_names[:-1]}
            row |= {f"{head}_share": point.shares.get(head, 0.0) for head in self.exit_names[:-1]}
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
    model: InceptionModel,
    data: Any,
    max_accuracy_loss: float = 0.002,
    *,
    criterion: str | None = None,
    batch_size: int = 64,
) -> ExitCalibration:
    """Finds on validation data what heads answer, and how sure they must be for an image to leave.

    A head answers with what the heads before it found as well, which is there already: with the weighted geometric mean
    of their probabilities, whose weights make the cross-entropy on the data smallest. Of the combinations of thresholds
    at quantiles of how sure the answers are it then takes the one of the fewest mean multiply-adds that keeps the
    accuracy, and of the criteria the one with the cheapest.

    Thresholds that were chosen because they do well on some images do less well on others, so there is a margin: the
    accuracy that is lost is estimated by counting right answers and by comparing the probabilities that the heads give
    to their answers, and each estimate plus two standard errors must be at most `max_accuracy_loss`. Where no image of
    n is lost, up to 3 / n of others may be, the rule of three: that is the least margin. So 0.002 needs 1,500
    validation images; with fewer, images leave early only where that answers better.

    Args:
        model: A trained model with auxiliary heads and a fixed image size.
        data: Images that the model was not trained on, with labels, as `evaluation.predict` takes them: batches of
            `(image, label)`, such as a `tf.data.Dataset`, or a pair of arrays. Images are preprocessed; labels are
            integers or one-hot.
        max_accuracy_loss: How much of the main head's accuracy may be lost, in [0, 1]: 0.002 is 0.2 points.
        criterion: What tells how sure an answer is: `"confidence"`, its highest probability; `"entropy"`; `"margin"`
            between its two highest probabilities; None for the best of them.
        batch_size: The most images to compute at once.

    Raises:
        InputError: An argument is out of range, the model has no auxiliary heads, there is no data, or labels do not
            fit the model.

    Reference: Wołczyk et al., Zero Time Waste: Recycling Predictions in Early Exit Neural Networks, arXiv:2106.05409,
    section 3.2, for the mean of the answers; Hanley and Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right?,
    JAMA 249, 1983, for the rule of three.
    """
    if not is_number(max_accuracy_loss, 0, 1):
        raise InputError(
            "`max_accuracy_loss` must be a share of the images from 0 to 1; 0.002 is 0.2 points. "
            f"Received: max_accuracy_loss={shown(max_accuracy_loss)}"
        )
    criterion = argument("criterion", criterion, MAYBE_CRITERION)
    logits, labels = _head_logits(model, data, batch_size)
    found = []
    for name in CRITERIA if criterion is None else (criterion,):
        answers = _Answers(model, logits, labels, name)
        points = [answers.point(thresholds) for thresholds in answers.combinations()]
        chosen = answers.refined(_cheapest(points, max_accuracy_loss), max_accuracy_loss)
        found.append((name, points, chosen))
    name, points, chosen = min(found, key=lambda each: each[2].multiply_adds)
    return ExitCalibration(
        thresholds=chosen.thresholds,
        mixtures=chosen.mixtures,
        criterion=name,
        exit_names=exit_names(model),
        max_accuracy_loss=max_accuracy_loss,
        images=len(labels),
        multiply_adds=_exit_costs(model, [])[MAIN],
        chosen=chosen,
        table=_sweep(points, chosen, points[-1]),
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
    answers = _Answers(model, *_head_logits(model, data, batch_size), calibration.criterion)
    return [answers.point(point.thresholds, point.mixtures) for point in calibration.table]


def leaves(model: InceptionModel, calibration: ExitCalibration, data: Any, *, batch_size: int = 64) -> list[Leave]:
    """Returns where each image leaves, in the order of the images.

    Args:
        model: The model that was calibrated.
        calibration: What `calibrate_exits` returned.
        data: As `calibrate_exits` takes them, in an order that does not change.
        batch_size: The most images to compute at once.

    Raises:
        InputError: The model has no auxiliary heads, there is no data, or labels do not fit the model.
    """
    logits, labels = _head_logits(model, data, batch_size)
    answers = _Answers(model, logits, labels, calibration.criterion)
    heads = (*calibration.thresholds, MAIN)
    at, *found = answers.left(calibration.thresholds, calibration.mixtures)
    rows = zip(at, labels, *found)
    return [Leave(heads[i], int(label), int(answer), float(c), float(s)) for i, label, answer, c, s in rows]


def mixture(logits: Sequence[Array], labels: Array) -> list[float]:
    """Returns the weights of some heads' logits that make the cross-entropy of their sum's softmax least.

    They are from 0 to 20, the last one from 0.05. Of a single head that is temperature scaling: the weight is 1 divided
    by the temperature. Of n images, each label counts for (n + 1) / (n + 2), and the other classes for the rest, so
    that a few images that are all answered rightly do not make a head certain.

    Args:
        logits: Of each head, `(images, classes)`, that of the one that answers last.
        labels: `(images,)`, integers.

    Reference: Platt, Probabilistic Outputs for Support Vector Machines, 1999, section 2.2, for these targets.
    """
    images, classes = logits[0].shape
    other = 1 / (images + 2) / max(classes - 1, 1)
    label = (images + 1) / (images + 2) - other  # what the label counts for more

    def of_targets(values: Array) -> Array:
        return label * np.take_along_axis(values, labels[:, None], axis=1)[:, 0] + other * values.sum(axis=1)

    wanted = np.stack(list(map(of_targets, logits)))

    def cross_entropy(weights: Array) -> tuple[float, Array]:
        log_probabilities = log_softmax(sum(w * values for w, values in zip(weights, logits)), axis=1)
        expected = np.stack([(np.exp(log_probabilities) * values).sum(axis=1) for values in logits])
        return float(-of_targets(log_probabilities).mean()), (expected - wanted).mean(axis=1)

    bounds = [*[(0.0, LARGEST_WEIGHT)] * (len(logits) - 1), (LEAST_WEIGHT, LARGEST_WEIGHT)]
    return minimize(cross_entropy, np.full(len(logits), 1 / len(logits)), jac=True, bounds=bounds).x.tolist()


def _head_logits(model: InceptionModel, data: Any, batch_size: int) -> tuple[dict[str, Array], Array]:
    """Returns the logits `(images, classes)` by head, the shallowest first, and the labels `(images,)`.

    They are the logarithms of the softmaxes, which serve alike.
    """
    names = exit_names(model)  # refuses a model without auxiliary heads before its images are read
    found = evaluation.predict(model, data, batch_size=batch_size)
    tiny = np.finfo(np.float32).tiny
    return {name: np.log(np.maximum(found.probabilities[name].astype("float64"), tiny)) for name in names}, found.labels


class _Answers:
    """What the heads say of labelled images, `logits` of them by head, and so what any thresholds do."""

    def __init__(self, model: InceptionModel, logits: dict[str, Array], labels: Array, criterion: str) -> None:
        self._model, self._logits, self._labels, self._criterion = model, logits, labels, criterion
        self._costs: dict[tuple[str, ...], dict[str, int]] = {}
        self._mixtures: dict[tuple[str, ...], dict[str, float]] = {}
        self._found: dict[tuple[tuple[str, float], ...], tuple[Array, Array, Array]] = {}
        self._main = self._answer(self._mixture((MAIN,)))
        heads = [head for head in logits if head != MAIN]
        # All heads that a threshold may be found for are computed, so that the search starts with their mixtures.
        self._sure = {head: self._answer(self._mixture(tuple(heads[: i + 1])))[2] for i, head in enumerate(heads)}

    def combinations(self) -> Iterator[dict[str, float]]:
        """Yields thresholds for the search: each head's quantiles, and none; the last one has no exits."""
        count = max(2, int(COMBINATIONS ** (1 / len(self._sure))))
        for values in itertools.product(*(self._quantiles(head, count) for head in self._sure)):
            yield {head: value for head, value in zip(self._sure, values) if value != NEVER}

    def refined(self, point: ExitPoint, max_accuracy_loss: float) -> ExitPoint:
        """Returns the cheapest point that is reached by changing one threshold after the other."""
        while True:
            changed = [
                {name: value for name, value in {**thresholds, head: value}.items() if value != NEVER}
                for thresholds in [{name: point.thresholds.get(name, NEVER) for name in self._sure}]
                for head in self._sure
                for value in self._quantiles(head, STEPS)
            ]
            best = _cheapest([*map(self.point, changed), point], max_accuracy_loss)
            if best.multiply_adds >= point.multiply_adds:
                return point
            point = best

    def point(self, thresholds: dict[str, float], mixtures: Mixtures | None = None) -> ExitPoint:
        """Returns what some thresholds do, with some mixtures or, by default, the best ones."""
        heads = tuple(thresholds)
        if heads not in self._costs:  # thousands of points have few costs
            self._costs[heads] = _exit_costs(self._model, heads)
        if mixtures is None:
            mixtures = {head: self._mixture((*heads, MAIN)[: i + 1]) for i, head in enumerate((*heads, MAIN))}
        at, answers, confidence, _ = self.left(thresholds, mixtures)
        right = answers == self._labels
        shares = {head: float((at == place).mean()) for place, head in enumerate((*heads, MAIN))}
        counted, counted_error = _mean_and_error((self._main[0] == self._labels) - right.astype(float))
        expected, expected_error = _mean_and_error(self._main[1] - confidence)
        return ExitPoint(
            thresholds=dict(thresholds),
            mixtures={head: dict(weights) for head, weights in mixtures.items()},
            accuracy=float(right.mean()),
            accuracy_loss=counted,
            standard_error=counted_error,
            highest_loss=max(_highest(counted, counted_error, len(at)), _highest(expected, expected_error, len(at))),
            multiply_adds=sum(self._costs[heads][head] * share for head, share in shares.items()),
            shares=shares,
        )

    def left(self, thresholds: Mapping[str, float], mixtures: Mixtures) -> tuple[Array, ...]:
        """Returns of each image the index of the head where it leaves, and what `_answer` returns of that head."""
        found = [self._answer(mixtures[head]) for head in (*thresholds, MAIN)]
        leaves = [sure >= threshold for (_, _, sure), threshold in zip(found, thresholds.values())]
        at = np.argmax([*leaves, np.ones(len(self._labels), bool)], axis=0)
        return at, *(np.stack(values)[at, np.arange(len(at))] for values in zip(*found))

    def _quantiles(self, head: str, count: int) -> list[float]:
        # Six digits are fewer than float32 has, and are what a person can read. They stay below 1, which the network,
        # in float32, gives to answers that are less sure here, in float64.
        values = np.quantile(self._sure[head], np.linspace(0, 1, count)[1:]).round(6)
        values = np.unique(np.minimum(values, HIGHEST))
        return [0.0, *map(float, values), NEVER]

    def _mixture(self, heads: tuple[str, ...]) -> dict[str, float]:
        if heads not in self._mixtures:
            weights = mixture([self._logits[head] for head in heads], self._labels)
            self._mixtures[heads] = dict(zip(heads, (round(weight, 6) for weight in weights)))
        return self._mixtures[heads]

    def _answer(self, weights: Mapping[str, float]) -> tuple[Array, Array, Array]:
        """Returns of each image the class that a mixture answers, its probability, and how sure the criterion is."""
        key = tuple(weights.items())
        if key not in self._found:
            rows = softmax(sum(weight * self._logits[head] for head, weight in key), axis=1)
            self._found[key] = rows.argmax(axis=1), rows.max(axis=1), CRITERIA[self._criterion](rows)
        return self._found[key]


def _cheapest(points: list[ExitPoint], max_accuracy_loss: float) -> ExitPoint:
    """Returns the cheapest point that keeps the accuracy, or the last one."""
    safe = [point for point in points if point.highest_loss <= max_accuracy_loss]
    return min([points[-1], *safe], key=lambda point: (point.multiply_adds, point.accuracy_loss))


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


def _highest(loss: float, standard_error: float, images: int) -> float:
    """Returns a loss of accuracy plus its margin, which is not 0 where no answer of these images differs."""
    return min(1.0, loss + max(MARGIN * standard_error, LEAST_MARGIN / images))


def _exit_costs(model: InceptionModel, heads: Collection[str]) -> dict[str, int]:
    """Returns the multiply-adds of an image by the exit at which it leaves, where `heads` alone are computed."""
    asked = [head for head in exit_names(model) if head in heads or head == MAIN]
    return {head: cost.of_heads(model, asked[: i + 1]) for i, head in enumerate(asked)}


def _of_today(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of a file, where heads of earlier versions answered alone, at a temperature."""
    if "mixtures" in values:
        return values
    alone = {head: {head: 1 / temperature} for head, temperature in values["temperatures"].items()}

    def point(value: dict[str, Any]) -> dict[str, Any]:
        return value | {"mixtures": {head: alone[head] for head in (*value["thresholds"], MAIN)}}

    return values | {
        "mixtures": point(values)["mixtures"],
        "criterion": "confidence",
        "exit_names": list(alone),
        "chosen": point(values["chosen"]),
        "table": list(map(point, values["table"])),
    }


def _of(cls: Any, values: dict[str, Any]) -> Any:
    """Returns a record of the values that it has; an earlier version may have written more."""
    return cls(**{entry.name: values[entry.name] for entry in fields(cls)})
