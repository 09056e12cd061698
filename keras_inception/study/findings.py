"""What a study found: as tables, in words, and as the files of its folder."""

import os
import platform
from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_inception import files
from keras_inception.network.blocks import MAIN
from keras_inception.plots.study import PLOTS, label
from keras_inception.study.comparison import Difference
from keras_inception.study.results import Study
from keras_inception.study.step_losses import WINDOW
from keras_inception.training.diagnosis import AT_CHANCE

TABLE, GRADIENTS, PAGE = "study.csv", "gradients.csv", "study.md"


def write(study: Study) -> None:
    """Writes the tables, the plots and the page of a study into its folder."""
    trainings, gradients = [], []
    for run in study.trainings:
        its = {"architecture": run.architecture, "variant": run.variant, "seed": run.seed}
        trainings.append(
            {
                **its,
                "epochs": len(run.validation_accuracy),
                "steps": len(run.steps["step"]),
                "validation_accuracy": run.validation_accuracy[-1],
                "test_accuracy": run.test_accuracy,
                "left_chance_at_step": run.left_at(study.chance),
                "cpu_seconds": round(run.cpu_seconds, 1),
            }
        )
        gradients += [its | row for row in run.gradients]
    files.write_table(study.folder / TABLE, trainings)
    files.write_table(study.folder / GRADIENTS, gradients)
    for name, draw in PLOTS.items():
        with files.written_aside(study.folder / name) as aside:
            draw(study).savefig(aside, dpi=120)
    with files.written_aside(study.folder / PAGE) as aside:
        aside.write_text(_page(study), encoding="utf-8")


def summary(study: Study, architecture: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns the columns of the summary of an architecture, and its rows as texts."""
    columns = (
        "heads that learn", f"{study.images} accuracy", "difference to none", "left chance at step",
        "sooner (-) or later",
    )  # fmt: skip
    rows = [
        (
            row.variant,
            f"{row.mean:.2%}" + ("" if row.spread is None else f" ± {100 * row.spread:.2f}"),
            _difference(row.gain, 100, ".2f", " points"),
            ", ".join("never" if step is None else str(step) for step in row.left),
            _difference(row.delay, 1, ".1f", " steps"),
        )
        for row in study.comparisons
        if row.architecture == architecture
    ]
    return columns, rows


def gradient_table(study: Study, architecture: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns the columns of the gradients of an architecture, and its rows as texts."""
    found = {
        stage: study.norms(architecture, study.richest, epoch)
        for stage, epoch in study.stages.items()
        if stage != "in the middle"  # it is in the plot
    }
    columns = [(stage, head) for stage, heads in found.items() for head in heads]
    rows = next(iter(found.values()))[MAIN]
    texts = [(row, *(_norm(found[stage][head][row]) for stage, head in columns)) for row in rows]
    return ["row", *(f"{head} {stage}" for stage, head in columns)], texts


def sentences(study: Study, architecture: str) -> list[str]:
    """Returns what was found of an architecture, a sentence for each variant with heads."""
    found = []
    for row in study.comparisons:
        if row.architecture != architecture or row.gain is None:
            continue
        sentence = f"{label(row.variant)}: {_difference(row.gain, 100, '.2f', ' points')} of accuracy"
        sentence += _verdict(row.gain, "a gain", "a loss")
        if row.delay is not None:
            sentence += f"; main left chance {_difference(row.delay, 1, '.1f', ' steps')}"
            sentence += _verdict(row.delay, "later", "sooner")
            if row.delay.pairs < len(row.seeds):
                sentence += f" (in the {row.delay.pairs} of {len(row.seeds)} seeds in which both left)"
        found.append(f"{sentence}.")
    return found


def budget(study: Study) -> str:
    """Returns what the study was spent on, as one line."""
    first, seconds = study.trainings[0], sum(training.cpu_seconds for training in study.trainings)
    splits = ", ".join(f"{count:,} {split}" for split, count in first.results["sizes"].items() if count)
    return (
        f"{len(study.trainings)} trainings ({len(study.architectures)} x {len(study.variants)} x {len(study.seeds)} "
        f"architectures, variants and seeds) of {len(first.validation_accuracy)} epochs, {len(first.steps['step'])} "
        f"steps of {study.config.recipe.batch_size} images; {splits} images; {seconds:,.0f} seconds of CPU time"
    )


def _verdict(difference: Difference, above: str, below: str) -> str:
    words = {1: above, 0: "no difference is shown", -1: below}
    return "" if difference.low is None else f", {words[difference.sign]}"


def _norm(value: float) -> str:
    return f"{value:.1e}" if value else "0"  # exactly: the row is behind the head's tap


def _difference(difference: Difference | None, scale: float, form: str, unit: str) -> str:
    if difference is None:
        return "-"
    text = f"{scale * difference.mean:+{form}}{unit}"
    if difference.low is None or difference.high is None:
        return f"{text} (one seed: no interval)"
    return f"{text} ({scale * difference.low:+{form}} to {scale * difference.high:+{form}})"


def _page(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    parts = [
        f"# What the auxiliary heads do: {study.config.dataset}",
        f"{budget(study)}. Recipe `{study.config.recipe.name}`, seeds {seeds}, precision {study.config.precision}. "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"{os.cpu_count()} cores of {platform.machine()}.",
        "Every training has all heads. One that does not learn has a loss weight of 0: nothing comes from it, and the "
        "trainings of a seed begin with the same weights, see the same batches and draw the same dropout. The time of "
        "`none` includes its idle heads.",
        f"Accuracies are the main head's at the end, on the {study.images} images, with their standard deviation over "
        "the seeds. Differences are paired by seed, with Student's 95% interval: where it holds 0, no difference is "
        f"shown. The main head has left chance at the first step from which on the mean loss of {WINDOW} steps stays "
        f"below {AT_CHANCE:.0%} of {study.chance:.4f}, the loss of the best constant answer (ln(classes) where classes "
        "are even).",
    ]
    for architecture in study.architectures:
        parts += [
            f"## {architecture}",
            _markdown(*summary(study, architecture)),
            "\n".join(f"- {finding}" for finding in sentences(study, architecture)),
            f"The norm of the gradient that reaches each row from each head's loss, not multiplied by its weight, with "
            f"{label(study.richest)} (geometric mean over the seeds, one batch of validation images):",
            _markdown(*gradient_table(study, architecture)),
        ]
    parts.append("\n".join(f"![{name.removesuffix('.png')}]({name})" for name in PLOTS))
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
