"""What a finished study holds, read from the run folders of its trainings and compared seed by seed."""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.recipes import Recipe
from keras_inception.training import runs
from keras_inception.training.config import TrainConfig
from keras_inception.training.diagnosis import AT_CHANCE
from keras_inception.types import Array

STEPS = "steps.csv"
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
    """A training of a study: a run folder of `train`, with the losses of its steps beside.

    Its properties read the folder.

    Raises:
        InputError: A property's file is missing or damaged.

    Attributes:
        architecture: The name of the network.
        variant: The heads that learned: "none", the name of a head, "both" or "all".
        seed: Its seed.
        folder: Its run folder.
    """

    architecture: str
    variant: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.architecture}, {self.variant}, seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether it has come to its end; what follows can then be read."""
        return (self.folder / runs.RESULTS).is_file()

    def check(self, recipe: Recipe) -> None:
        """Refuses what a finished training left where some of it is missing.

        Args:
            recipe: What it was trained with; says how many steps and epochs there are.

        Raises:
            InputError: A file is missing, damaged or cut off.
        """
        try:
            steps = -(-self.results["sizes"]["train"] // recipe.batch_size) * recipe.epochs
            whole = {
                runs.HISTORY: len(self.validation_accuracy) == recipe.epochs,
                STEPS: np.array_equal(self.steps["step"], np.arange(1, steps + 1)),
                runs.GRADIENTS: bool(self.gradients),
            }
            for name in (name for name, is_whole in whole.items() if not is_whole):
                raise InputError(f"{self.folder / name} must hold all of a finished training, and does not.")
        except InputError as error:
            raise InputError(f"{error} Remove {self.folder}, and the same command trains it again.") from error

    @functools.cached_property
    def results(self) -> dict[str, Any]:
        """What the run's `results.json` holds.

        Raises:
            InputError: It is missing or damaged.
        """
        path = self.folder / runs.RESULTS
        found = files.read_json(path)
        try:
            is_sound = isinstance(found["sizes"]["train"], int) and (
                not found["test"] or 0 <= found["test"][MAIN]["accuracy"] <= 1
            )
        except (KeyError, TypeError):
            is_sound = False
        if not is_sound:
            raise InputError(f"{path} must hold the results of a training, and is damaged.")
        return found

    @functools.cached_property
    def validation_accuracy(self) -> list[float]:
        """The main head's accuracy on the validation images after each epoch."""
        name = f"val_{MAIN}_accuracy"
        return [float(row[name]) for row in files.read_table(self.folder / runs.HISTORY, [name])]

    @property
    def test_accuracy(self) -> float | None:
        """The main head's accuracy on the test images at the end; None without any."""
        return self.results["test"][MAIN]["accuracy"] if self.results["test"] else None

    @property
    def final_accuracy(self) -> float:
        """The accuracy at the end, on the test images, or on the validation images where there are no others."""
        return self.validation_accuracy[-1] if self.test_accuracy is None else self.test_accuracy

    @functools.cached_property
    def steps(self) -> dict[str, Array]:
        """The columns of `steps.csv`, each `(steps,)`."""
        numbers = ("step", f"{MAIN}_loss", "chance", "cpu_seconds")
        rows = files.read_table(self.folder / STEPS, numbers)
        return {name: np.array([float(row[name]) for row in rows]) for name in numbers}

    @property
    def losses(self) -> Array:
        """The main head's loss at each step, `(steps,)`."""
        return self.steps[f"{MAIN}_loss"]

    @property
    def smooth_losses(self) -> Array:
        """The moving average of the same, `(steps,)`."""
        return moving_average(self.losses)

    @property
    def cpu_seconds(self) -> float:
        """What the training took until its last step, validation after the earlier epochs included."""
        return float(self.steps["cpu_seconds"].sum())

    @functools.cached_property
    def gradients(self) -> list[dict[str, str]]:
        """The rows of `gradients.csv`, see `diagnosis.GradientFlow`."""
        return files.read_table(self.folder / runs.GRADIENTS, ("epoch", "loss_weight", "gradient_norm"))


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        folder: Where it was written.
        config: What the trainings share.
        architectures: The names of the networks.
        variants: By name, the auxiliary heads that learned.
        seeds: The seeds.
        trainings: One for each combination of architecture, variant and seed, in this order.
    """

    folder: Path
    config: TrainConfig
    architectures: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    trainings: list[StudyRun]

    @functools.cached_property
    def chance(self) -> float:
        """The loss of the best constant answer: ln(classes) for even classes."""
        # One of those of the trainings: a training that was interrupted counted its labels from there on.
        return statistics.median_low(float(training.steps["chance"][-1]) for training in self.trainings)

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
        measured = sorted({int(row["epoch"]) for training in self.trainings for row in training.gradients})
        found = {"at the start": measured[0], "in the middle": measured[len(measured) // 2], "at the end": measured[-1]}
        if len(measured) < 3:
            del found["in the middle"]
        return found

    def of(self, architecture: str, variant: str) -> list[StudyRun]:
        """Returns the trainings of one architecture and variant, seed by seed.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
        """
        return [run for run in self.trainings if (run.architecture, run.variant) == (architecture, variant)]

    def accuracies(self, architecture: str, variant: str) -> list[float]:
        """Returns the main head's final accuracies in [0, 1], seed by seed.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
        """
        return [run.final_accuracy for run in self.of(architecture, variant)]

    def left(self, architecture: str, variant: str) -> list[int | None]:
        """Returns the steps at which the main head left chance, seed by seed; None where it did not.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
        """
        return [left_at(run.losses, self.chance) for run in self.of(architecture, variant)]

    def gain(self, architecture: str, variant: str) -> Difference | None:
        """Returns the `Difference` of the accuracies to those without heads; None for that variant, or without it.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
        """
        if variant == BASELINE or BASELINE not in self.variants:
            return None
        return paired(self.accuracies(architecture, variant), self.accuracies(architecture, BASELINE))

    def norms(self, architecture: str, variant: str, epoch: int) -> dict[str, dict[str, float]]:
        """Returns the norm of the gradient from each head's loss times its weight, the geometric mean over the seeds.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
            epoch: After how many epochs it was measured.

        Returns:
            A dict by head of dicts by row, the rows of Table 1 in order. A head whose loss weight is 0 is left out: it
            does not learn. A row behind a head's tap has 0.
        """
        norms: dict[str, dict[str, list[float]]] = {}
        entries = [entry for training in self.of(architecture, variant) for entry in training.gradients]
        heads = {entry["head"] for entry in entries}
        for entry in entries:
            weight = float(entry["loss_weight"])
            if int(entry["epoch"]) == epoch and weight and entry["row"] not in heads:
                norm = weight * float(entry["gradient_norm"])
                norms.setdefault(entry["head"], {}).setdefault(entry["row"], []).append(norm)
        return {head: {row: float(stats.gmean(v)) for row, v in rows.items()} for head, rows in norms.items()}
