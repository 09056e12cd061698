"""The trainings of a study that have come to their end, each as a row of one small file, without its weights.

The file, `trainings.jsonl`, is all that a study needs of them: a folder that holds nothing else goes on from there.
"""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception import files
from keras_inception.data import fingerprint
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.recipes import Recipe
from keras_inception.study.results import StudyRun, left_at, moving_average
from keras_inception.training import runs
from keras_inception.types import Array

ROWS, STEPS = "trainings.jsonl", "steps.csv"
MOST_POINTS = 500  # of the curve of a training's losses
DIGITS = 6


def read(folder: Path) -> dict[str, StudyRun]:
    """Returns the finished trainings of a study by their names.

    Raises:
        InputError: A row is damaged.
    """
    path = folder / ROWS
    if not path.is_file():
        return {}

    def parse(text: str) -> list[StudyRun]:
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found.append(StudyRun.of(**json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"line {number} is no finished training: {str(error)[:200]}; without the line the same command "
                    "trains it again"
                ) from error
        return found

    return {run.name: run for run in files.read_text(path, parse, "JSON lines")}


def write(folder: Path, trainings: Iterable[StudyRun]) -> None:
    """Writes the finished trainings of a study, whole or not at all."""
    with files.written_aside(folder / ROWS) as aside, open(aside, "w", encoding="utf-8") as file:
        for run in trainings:
            values = {**_rounded(asdict(run)), "options": run.options}  # these are compared with a configuration
            file.write(json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n")


def of_folder(folder: Path, network: str, variant: str, seed: int, recipe: Recipe) -> StudyRun:
    """Returns the row of a finished training from its run folder.

    Args:
        folder: The run folder.
        network: The name of its network in the study.
        variant: The heads that learned.
        seed: Its seed.
        recipe: What it was trained with; says how many steps and epochs there are.

    Raises:
        InputError: A file is missing, damaged or cut off.
    """
    try:
        results = _results(folder / runs.RESULTS)
        history = files.read_table(folder / runs.HISTORY, [f"val_{MAIN}_accuracy"])
        steps = _steps(folder / STEPS)
        count = -(-results["sizes"]["train"] // recipe.batch_size) * recipe.epochs
        whole = {
            runs.HISTORY: len(history) == recipe.epochs,
            STEPS: len(steps["step"]) == count and np.array_equal(steps["step"], np.arange(1, count + 1)),
        }
        for name in (name for name, is_whole in whole.items() if not is_whole):
            raise InputError(f"{folder / name} must hold all of a finished training, and does not.")
        losses, chance = steps[f"{MAIN}_loss"], float(np.median(steps["chance"]))
        shown = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
        epochs, gradients = _gradients(folder / runs.GRADIENTS)
        record = runs.data_record(folder)
        return StudyRun.of(
            network=network,
            variant=variant,
            seed=seed,
            options=files.read_json(folder / runs.CONFIG),
            data=None if record is None else fingerprint(record),
            sizes=results["sizes"],
            machine=f"{os.cpu_count()} cores of {platform.machine()}, TensorFlow {tf.__version__}, "
            f"Keras {keras.__version__}, Python {platform.python_version()}",
            steps=count,
            cpu_seconds=float(steps["cpu_seconds"].sum()),
            chance=chance,
            left_chance_at_step=left_at(losses, chance),
            loss_steps=(shown + 1).tolist(),
            losses=moving_average(losses)[shown].tolist(),
            training_accuracy=[float(row[f"{MAIN}_accuracy"]) for row in history if row.get(f"{MAIN}_accuracy")],
            validation_accuracy=[float(row[f"val_{MAIN}_accuracy"]) for row in history],
            test_accuracy=results["test"][MAIN]["accuracy"] if results["test"] else None,
            gradient_epochs=epochs,
            gradients=gradients,
        )
    except ValueError as error:
        raise InputError(f"{error} Remove {folder}, and the same command trains it again.") from error


def _results(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = files.read_json(path)
    try:
        is_sound = isinstance(found["sizes"]["train"], int) and (
            not found["test"] or 0 <= found["test"][MAIN]["accuracy"] <= 1
        )
    except (KeyError, TypeError):
        is_sound = False
    if not is_sound:
        raise InputError(f"{path} must hold the results of a training, and is damaged.")
    return found


def _steps(path: Path) -> dict[str, Array]:
    """Returns the columns of `steps.csv`, each `(steps,)`."""
    numbers = ("step", f"{MAIN}_loss", "chance", "cpu_seconds")
    rows = files.read_table(path, numbers)
    return {name: np.array([float(row[name]) for row in rows]) for name in numbers}


def _gradients(path: Path) -> tuple[list[int], dict[str, Any]]:
    """Returns the epochs of `gradients.csv`, and by head its loss weights and its norms by row, epoch by epoch."""
    rows = files.read_table(path, ("epoch", "loss_weight"))
    epochs = sorted({int(row["epoch"]) for row in rows})
    found: dict[str, Any] = {}
    try:
        heads = {row["head"] for row in rows}
        for row in rows:
            if None in row.values():
                raise ValueError("a row is cut off")
            of_head = found.setdefault(row["head"], {"loss_weights": {}, "weights": {}, "outputs": {}})
            of_head["loss_weights"][row["epoch"]] = float(row["loss_weight"])
            for kind, column in (("weights", "gradient_norm"), ("outputs", "output_gradient_norm")):
                if row["row"] not in heads and row.get(column):  # an earlier version has no norms at outputs
                    of_head[kind].setdefault(row["row"], []).append(float(row[column]))
        for of_head in found.values():
            of_head["loss_weights"] = list(of_head["loss_weights"].values())
        lists = [[of_head["loss_weights"], *of_head["weights"].values(), *of_head["outputs"].values()]
                 for of_head in found.values()]  # fmt: skip
        is_whole = all(of_head["weights"] for of_head in found.values()) and all(
            len(each) == len(epochs) and np.isfinite(each).all() for of_head in lists for each in of_head
        )
    except (KeyError, ValueError, TypeError):
        is_whole = False
    if not is_whole:
        raise InputError(f"{path} must have a number for each epoch, head and row, and is damaged.")
    return epochs, found


def _rounded(value: Any) -> Any:
    """Returns JSON's types with numbers of `DIGITS` digits."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
