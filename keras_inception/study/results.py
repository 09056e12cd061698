"""What a finished study holds: its trainings, compared seed by seed."""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from scipy import stats

from keras_inception.network.blocks import MAIN
from keras_inception.rules import is_number, is_whole
from keras_inception.training.config import TrainConfig
from keras_inception.training.diagnosis import AT_CHANCE
from keras_inception.types import Array

BASELINE = "none"
CONFIDENCE = 0.95
WINDOW = 10  # steps; ours: the loss of 32 images varies by a few percent of ln(classes), the mean of ten by one


def moving_average(losses: Sequence[float] | Array) -> Array:
    """Returns the mean of the losses, `(steps,)`, at each step over it and those before it, `WINDOW` or fewer.

    Returns:
        `(steps,)`.
    """
    sums = np.cumsum([0.0, *losses])
    ends = np.arange(1, len(losses) + 1)
    begins = np.maximum(ends - WINDOW, 0)
    return (sums[ends] - sums[begins]) / (ends - begins)


def left_at(losses: Sequence[float] | Array, chance: float) -> int | None:
    """Returns the step at which a head left the loss of a constant answer.

    Args:
        losses: Its loss in each step.
        chance: The loss of the best constant answer: ln(classes) for even classes.

    Returns:
        The first step, from 1, from which on the moving average stays below 95% (`AT_CHANCE`) of `chance` until the
        end of the training; None where it does not.
    """
    at_chance = np.flatnonzero(~(moving_average(losses) < AT_CHANCE * chance))  # NaN is at chance
    step = at_chance[-1] + 2 if at_chance.size else 1
    return int(step) if step <= len(losses) else None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with Student's interval.

    Attributes:
        mean: The mean.
        low: The lower end of the interval; None for one pair, which has no spread.
        high: The upper end; None likewise.
    """

    mean: float
    low: float | None
    high: float | None

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

    Args:
        values: One number for each seed.
        baseline: The same seeds' numbers to compare with.
    """
    differences = [value - other for value, other in zip(values, baseline, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) == 1:
        return Difference(mean, None, None)
    error = stats.sem(differences)
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, mean, error) if error else (mean, mean)
    return Difference(mean, float(low), float(high))


@dataclass(frozen=True)
class StudyRun:
    """A training of a study that has come to its end: a row of `trainings.jsonl`.

    Attributes:
        network: The name of the network in the study: an architecture's, and an initialisation's behind it where the
            study compares them, such as "googlenet-glorot".
        variant: The heads that learned: "none", the name of a head, "both" or "all", or "falling".
        seed: Its seed.
        options: Its configuration, as `TrainConfig.of` takes it.
        data: The fingerprint of its images; None of a run that did not note them.
        sizes: The number of images by split.
        machine: What it ran on, with the versions.
        steps: The number of its steps.
        cpu_seconds: What it took until its last step, validation after the earlier epochs included.
        chance: The loss of the best constant answer, in nats.
        left_chance_at_step: See `left_at`; None where the main head did not.
        loss_steps: Some of its steps, from 1.
        losses: The moving average of the main head's loss at these steps.
        training_accuracy: The main head's accuracy on the training images in each epoch, while it trained; empty where
            it was not noted.
        validation_accuracy: The same on the validation images after each epoch.
        test_accuracy: The main head's accuracy on the test images at the end; None without any.
        gradient_epochs: After how many epochs the gradient was measured.
        gradients: By head its "loss_weights" at these epochs, and by row of the network the norms of the gradient at
            the row's "weights" and at its "outputs", unweighted.
    """

    network: str
    variant: str
    seed: int
    options: dict[str, Any]
    data: str | None
    sizes: dict[str, int]
    machine: str
    steps: int
    cpu_seconds: float
    chance: float
    left_chance_at_step: int | None
    loss_steps: list[int]
    losses: list[float]
    training_accuracy: list[float]
    validation_accuracy: list[float]
    test_accuracy: float | None
    gradient_epochs: list[int]
    gradients: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return named(self.network, self.variant, self.seed)

    @property
    def final_accuracy(self) -> float:
        """The accuracy at the end, on the test images, or on the validation images where there are no others."""
        return self.validation_accuracy[-1] if self.test_accuracy is None else self.test_accuracy

    @classmethod
    def of(cls, **values: Any) -> "StudyRun":
        """Returns the training of a row.

        Raises:
            ValueError: The row is not whole, or of other types.
        """
        run = cls(**values)
        epochs = len(run.validation_accuracy)
        numbers = [run.cpu_seconds, run.chance, *run.losses, *run.training_accuracy, *run.validation_accuracy]
        of_epochs = [
            each
            for head in run.gradients.values()
            for each in (head["loss_weights"], *head["weights"].values(), *head["outputs"].values())
        ]
        texts = (run.network, run.variant, run.machine)
        is_sound = (
            all(isinstance(text, str) for text in texts)
            and isinstance(run.options, dict)
            and isinstance(run.data, (str, NoneType))
            and is_whole(run.seed, 0)
            and is_whole(run.sizes["train"], 1)
            and all(is_whole(size, 0) for size in run.sizes.values())
            and epochs > 0
            and len(run.training_accuracy) in (0, epochs)
            and len(run.loss_steps) == len(run.losses) > 0
            and all(is_whole(step, 1, run.steps) for step in run.loss_steps)
            and (run.left_chance_at_step is None or is_whole(run.left_chance_at_step, 1))
            and (run.test_accuracy is None or is_number(run.test_accuracy, 0, 1))
            and all(map(is_number, numbers))
            and MAIN in run.gradients
            and all(len(each) == len(run.gradient_epochs) and all(map(is_number, each)) for each in of_epochs)
        )
        if not is_sound:
            raise ValueError("A value is missing or of another type.")
        return run


def named(network: str, variant: str, seed: int) -> str:
    """Returns what a training is called in messages."""
    return f"{network}, {variant}, seed {seed}"


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        folder: Where it was written.
        config: What the trainings share.
        networks: The names of the networks, see `StudyRun`.
        variants: By name, the auxiliary heads that learned.
        seeds: The seeds.
        trainings: One for each combination of network, variant and seed, in this order.
    """

    folder: Path
    config: TrainConfig
    networks: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    trainings: list[StudyRun]

    @functools.cached_property
    def chance(self) -> float:
        """The loss of the best constant answer: ln(classes) for even classes."""
        return statistics.median_low(training.chance for training in self.trainings)

    @property
    def threshold(self) -> float:
        """The loss below which a head has left chance."""
        return AT_CHANCE * self.chance

    @property
    def images(self) -> str:
        """The images of the final accuracy: "test", or "validation" where there are no others."""
        return "validation" if self.trainings[0].test_accuracy is None else "test"

    @property
    def richest(self) -> str:
        """The variant with the most heads: in it the gradients of all of them are those of a training."""
        return max(self.variants, key=lambda variant: len(self.variants[variant]))

    @functools.cached_property
    def stages(self) -> dict[str, int]:
        """The number of finished epochs at the start, in the middle and at the end, by these words."""
        measured = self.trainings[0].gradient_epochs
        found = {"at the start": measured[0], "in the middle": measured[len(measured) // 2], "at the end": measured[-1]}
        if len(measured) < 3:
            del found["in the middle"]
        return found

    def of(self, network: str, variant: str) -> list[StudyRun]:
        """Returns the trainings of one network and variant, seed by seed.

        Args:
            network: The name of the network.
            variant: The heads that learned.
        """
        return [run for run in self.trainings if (run.network, run.variant) == (network, variant)]

    def accuracies(self, network: str, variant: str) -> list[float]:
        """Returns the main head's final accuracies in [0, 1], seed by seed.

        Args:
            network: The name of the network.
            variant: The heads that learned.
        """
        return [run.final_accuracy for run in self.of(network, variant)]

    def left(self, network: str, variant: str) -> list[int | None]:
        """Returns the steps at which the main head left chance, seed by seed; None where it did not.

        Args:
            network: The name of the network.
            variant: The heads that learned.
        """
        return [run.left_chance_at_step for run in self.of(network, variant)]

    def gain(self, network: str, variant: str) -> Difference | None:
        """Returns the `Difference` of the accuracies to those without heads; None for that variant, or without it.

        Args:
            network: The name of the network.
            variant: The heads that learned.
        """
        if variant == BASELINE or BASELINE not in self.variants:
            return None
        return paired(self.accuracies(network, variant), self.accuracies(network, BASELINE))

    def gains_by_epoch(self, network: str, variant: str) -> list[Difference]:
        """Returns the same of the accuracies on the validation images after each epoch; empty where there is none.

        Args:
            network: The name of the network.
            variant: The heads that learned.
        """
        if self.gain(network, variant) is None:
            return []
        ours, theirs = ([run.validation_accuracy for run in self.of(network, each)] for each in (variant, BASELINE))
        return [paired(values, baseline) for values, baseline in zip(zip(*ours), zip(*theirs))]

    def norms(self, network: str, variant: str, epoch: int, at: str = "weights") -> dict[str, dict[str, float]]:
        """Returns the norm of the gradient from each head's loss times its weight, the geometric mean over the seeds.

        Args:
            network: The name of the network.
            variant: The heads that learned.
            epoch: After how many epochs it was measured.
            at: "weights" for the norm over the weights of each row that has some, "outputs" for that at the output of
                each row of the trunk.

        Returns:
            A dict by head of dicts by row, the rows of Table 1 in order. A head whose loss weight is 0 is left out: it
            does not learn. A row behind a head's tap has 0.
        """
        norms: dict[str, dict[str, list[float]]] = {}
        for run in self.of(network, variant):
            index = run.gradient_epochs.index(epoch)
            for head, found in run.gradients.items():
                if weight := found["loss_weights"][index]:
                    for row, values in found[at].items():
                        norms.setdefault(head, {}).setdefault(row, []).append(weight * values[index])
        return {head: {row: float(stats.gmean(v)) for row, v in rows.items()} for head, rows in norms.items()}
