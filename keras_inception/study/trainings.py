"""The trainings of a study: each is a run folder of `train`, with the losses of its steps beside."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.architectures import Architecture
from keras_inception.network.blocks import MAIN
from keras_inception.study.step_losses import left_at, moving_average
from keras_inception.training import runs
from keras_inception.types import Array

STEPS = "steps.csv"
BASELINE = "none"


def variants_of(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """Returns the auxiliary heads that learn, by the names of the variants: none, each alone, and both or all."""
    heads = architecture.heads[1:]
    together = {"both" if len(heads) == 2 else "all": heads} if len(heads) > 1 else {}
    return {BASELINE: (), **{head: (head,) for head in heads}, **together}


@dataclass(frozen=True)
class Training:
    """A finished training of a study.

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
        """Whether it is there."""
        return (self.folder / runs.RESULTS).is_file()

    @functools.cached_property
    def results(self) -> dict[str, Any]:
        """What the run's `results.json` holds."""
        return files.read_json(self.folder / runs.RESULTS)

    @functools.cached_property
    def validation_accuracy(self) -> list[float]:
        """The main head's accuracy on the validation images after each epoch."""
        return [float(row["val_main_accuracy"]) for row in files.read_table(self.folder / runs.HISTORY)]

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
        rows = files.read_table(self.folder / STEPS)
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}

    @property
    def smooth_losses(self) -> Array:
        """The moving average of the main head's loss at each step, `(steps,)`."""
        return moving_average(self.steps[f"{MAIN}_loss"])

    @property
    def chance(self) -> float:
        """The loss of the best constant answer, counted from the training's labels."""
        return float(self.steps["chance"][-1])

    @property
    def cpu_seconds(self) -> float:
        """What the training took until its last step, validation after the earlier epochs included."""
        return float(self.steps["cpu_seconds"].sum())

    def left_at(self, chance: float) -> int | None:
        """Returns the step at which the main head left `chance`; None where it did not."""
        return left_at(self.steps[f"{MAIN}_loss"], chance)

    @functools.cached_property
    def gradients(self) -> list[dict[str, str]]:
        """The rows of `gradients.csv`, see `diagnosis.GradientFlow`."""
        return files.read_table(self.folder / runs.GRADIENTS)
