"""What the trainings of a study say: each variant beside the one without heads, seed by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from keras_inception.study.trainings import BASELINE, Training

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with Student's interval.

    Attributes:
        mean: Their mean.
        low: Where the interval begins; None for a single pair, which has no spread.
        high: Where it ends; None for a single pair.
        pairs: How many there are.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0; 0 where it holds 0, or there is none."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.low > 0 else -1


def paired(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Returns the `Difference` between two lists of the same seeds: `values` less `baseline`.

    The interval is that of Student's t for paired observations, with 95% confidence: it holds for differences that
    are spread normally, and is wide for few seeds (12.7 standard errors to either side for two, 4.3 for three).
    """
    differences = [value - other for value, other in zip(values, baseline, strict=True)]
    mean, pairs = statistics.fmean(differences), len(differences)
    if pairs == 1:
        return Difference(mean, None, None, 1)
    error = stats.sem(differences)
    low, high = stats.t.interval(CONFIDENCE, pairs - 1, mean, error) if error else (mean, mean)
    return Difference(mean, float(low), float(high), pairs)


@dataclass(frozen=True)
class Comparison:
    """One variant of one architecture.

    Attributes:
        architecture: The name of the network.
        variant: The heads that learned.
        seeds: The seeds.
        accuracies: The main head's final accuracy of each seed.
        left: The step at which the main head left chance, of each seed; None where it did not.
        gain: The `Difference` of the accuracies to those of the variant without heads; None for that one.
        delay: The same of the steps, over the seeds in which both left; None without any.
    """

    architecture: str
    variant: str
    seeds: list[int]
    accuracies: list[float]
    left: list[int | None]
    gain: Difference | None
    delay: Difference | None

    @property
    def mean(self) -> float:
        """The mean of the accuracies."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the accuracies over the seeds; None for a single one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def compare(trainings: Sequence[Training], chance: float) -> list[Comparison]:
    """Returns a `Comparison` of each architecture and variant, in the order of the trainings.

    Args:
        trainings: With the same seeds in the same order for each architecture and variant.
        chance: The loss of the best constant answer.
    """
    groups: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        groups.setdefault((training.architecture, training.variant), []).append(training)
    found = []
    for (architecture, variant), group in groups.items():
        accuracies, left = [run.final_accuracy for run in group], [run.left_at(chance) for run in group]
        gain = delay = None
        if variant != BASELINE and (without := groups.get((architecture, BASELINE))):
            gain = paired(accuracies, [run.final_accuracy for run in without])
            both = [(a, b) for a, b in zip(left, (run.left_at(chance) for run in without)) if a and b]
            delay = paired(*zip(*both)) if both else None
        found.append(Comparison(architecture, variant, [run.seed for run in group], accuracies, left, gain, delay))
    return found
