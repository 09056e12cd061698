"""What a finished study holds, for its tables, its page and its plots."""

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_inception.study.comparison import Comparison, compare
from keras_inception.study.trainings import Training
from keras_inception.training.config import TrainConfig
from keras_inception.training.diagnosis import AT_CHANCE


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
    trainings: list[Training]

    @cached_property
    def chance(self) -> float:
        """The loss of the best constant answer: ln(classes) for even classes."""
        # One of those of the trainings: a training that was interrupted counted its labels from there on.
        return statistics.median_low(training.chance for training in self.trainings)

    @property
    def threshold(self) -> float:
        """The loss below which a head has left chance."""
        return AT_CHANCE * self.chance

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """A `Comparison` of each architecture and variant."""
        return compare(self.trainings, self.chance)

    @property
    def images(self) -> str:
        """The images of the final accuracy: "test", or "validation" where there are no others."""
        return "validation" if self.trainings[0].test_accuracy is None else "test"

    @property
    def richest(self) -> str:
        """The variant with the most heads: in it the gradients of all of them are those of a training."""
        return max(self.variants, key=lambda variant: len(self.variants[variant]))

    @cached_property
    def stages(self) -> dict[str, int]:
        """The number of finished epochs at the start, in the middle and at the end, by these words."""
        measured = sorted({int(row["epoch"]) for training in self.trainings for row in training.gradients})
        found = {"at the start": measured[0], "in the middle": measured[len(measured) // 2], "at the end": measured[-1]}
        if len(measured) < 3:
            del found["in the middle"]
        return found

    def of(self, architecture: str, variant: str) -> list[Training]:
        """Returns the trainings of one architecture and variant."""
        return [run for run in self.trainings if (run.architecture, run.variant) == (architecture, variant)]

    def norms(
        self, architecture: str, variant: str, epoch: int, *, weighted: bool = False
    ) -> dict[str, dict[str, float]]:
        """Returns the norm of the gradient from each head's loss, by row, as the geometric mean over the seeds.

        Args:
            architecture: The name of the network.
            variant: The heads that learned.
            epoch: After how many epochs it was measured.
            weighted: Whether to multiply by the weight of the head's loss, as the training does.

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
                norm = float(entry["gradient_norm"]) * (weight if weighted else 1)
                norms.setdefault(entry["head"], {}).setdefault(entry["row"], []).append(norm)
        with np.errstate(divide="ignore"):  # the logarithm of 0
            return {
                head: {row: float(np.exp(np.mean(np.log(values)))) for row, values in rows.items()}
                for head, rows in norms.items()
            }
