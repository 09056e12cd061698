"""The trainings of a study: each is a run folder of `train`, with the losses of its steps beside."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inception import architectures, files
from keras_inception.network.blocks import MAIN
from keras_inception.study.step_losses import left_at
from keras_inception.training import runs

STEPS = "steps.csv"
HEADS = tuple(head.name for head in architectures.AUXILIARY_HEADS)
# The auxiliary heads that learn in each variant.
VARIANTS = {"none": (), **{head: (head,) for head in HEADS}, "both": HEADS}


def loss_weights(weights, variant):
    """Returns the loss weights of main, aux1 and aux2 in a variant: 0 for a head that does not learn in it."""
    learning = (MAIN, *VARIANTS[variant])
    return tuple(weight if head in learning else 0.0 for head, weight in zip((MAIN, *HEADS), weights))


@dataclass(frozen=True)
class Training:
    """A finished training of a study.

    Attributes:
        architecture: The network.
        variant: The heads that learned: "none", "aux1", "aux2" or "both".
        seed: Its seed.
        folder: Its run folder.
    """

    architecture: str
    variant: str
    seed: int
    folder: Path

    @property
    def name(self):
        """What it is called in messages."""
        return f"{self.architecture}, {self.variant}, seed {self.seed}"

    @functools.cached_property
    def results(self):
        """What the run's `results.json` holds."""
        return files.read_json(self.folder / runs.RESULTS)

    @functools.cached_property
    def validation_accuracy(self):
        """The main head's accuracy on the validation images after each epoch, `(epochs,)`."""
        return np.array([float(row["val_main_accuracy"]) for row in read_table(self.folder / runs.HISTORY)])

    @property
    def test_accuracy(self):
        """The main head's accuracy on the test images at the end; None without any."""
        return self.results["test"][MAIN]["accuracy"] if self.results["test"] else None

    @property
    def final_accuracy(self):
        """The accuracy at the end, on the test images, or on the validation images where there are no others."""
        return float(self.validation_accuracy[-1]) if self.test_accuracy is None else self.test_accuracy

    @functools.cached_property
    def steps(self):
        """The columns of `steps.csv`, each `(steps,)`."""
        rows = read_table(self.folder / STEPS)
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}

    @property
    def chance(self):
        """The loss of the best constant answer, counted from the training's labels."""
        return float(self.steps["chance"][-1])

    @property
    def processor_seconds(self):
        """What the training took until its last step, validation after the earlier epochs included."""
        return float(self.steps["processor_seconds"].sum())

    def left_at(self, chance):
        """Returns the step at which the main head left `chance`; None where it did not."""
        return left_at(self.steps[f"{MAIN}_loss"], chance)

    @functools.cached_property
    def gradients(self):
        """The rows of `gradients.csv`, see `diagnosis.GradientFlow`."""
        return read_table(self.folder / runs.GRADIENTS)


def read_table(path):
    """Returns the rows of a CSV file as dicts of strings."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
