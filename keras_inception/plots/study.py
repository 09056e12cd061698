"""The pictures of a study, a panel for each architecture."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from keras_inception.network.blocks import MAIN
from keras_inception.plots.training import HEAD_COLOURS
from keras_inception.study.comparison import BASELINE
from keras_inception.study.gradient_norms import norms, of_variant, richest, stages
from keras_inception.study.step_losses import WINDOW, moving_average
from keras_inception.training.diagnosis import AT_CHANCE

VARIANT_COLOURS = {"none": "#444444", "aux1": HEAD_COLOURS["aux1"], "aux2": HEAD_COLOURS["aux2"], "both": "#7b3fa0"}
LABELS = {"none": "no head", "aux1": "aux1 alone", "aux2": "aux2 alone", "both": "both heads"}


def accuracy(study):
    """Draws the main head's validation accuracy over the epochs: every seed thin, the mean of the seeds thick."""
    figure, panels = _panels(study, width=5.6, height=4.4)
    for axes, architecture in zip(panels, study.architectures):
        for variant in study.variants:
            curves = [run.validation_accuracy for run in of_variant(study.trainings, architecture, variant)]
            epochs, colour = range(1, len(curves[0]) + 1), VARIANT_COLOURS[variant]
            for curve in curves:
                axes.plot(epochs, curve, color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(epochs, np.mean(curves, axis=0), color=colour, marker=".", label=LABELS[variant])
        axes.set(title=architecture, xlabel="epoch", ylabel="validation accuracy of the main head")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", title=f"mean of {_seeds(study)}", title_fontsize="small")
    return figure


def leaving(study):
    """Draws the main head's loss over the steps, and where it left what a constant answer reaches."""
    figure, panels = _panels(study, width=5.6, height=4.4)
    for axes, architecture in zip(panels, study.architectures):
        for variant in study.variants:
            for run in of_variant(study.trainings, architecture, variant):
                losses, left = moving_average(run.steps[f"{MAIN}_loss"]), run.left_at(study.chance)
                axes.plot(run.steps["step"], losses, color=VARIANT_COLOURS[variant], linewidth=0.9, alpha=0.7)
                if left:
                    axes.plot(left, losses[left - 1], "o", color=VARIANT_COLOURS[variant], markersize=6)
        axes.axhline(study.chance, color="#999999", linestyle="--", linewidth=1)
        axes.axhline(AT_CHANCE * study.chance, color="#999999", linestyle=":", linewidth=1)
        axes.set(title=architecture, xlabel="step", ylabel=f"loss of the main head, mean of {WINDOW} steps")
        axes.set_xlim(0, _end_of_leaving(study, architecture))
        axes.set_ylim(0, 1.35 * study.chance)
        axes.grid(alpha=0.3)
        handles = [Line2D([], [], color=VARIANT_COLOURS[name], label=LABELS[name]) for name in study.variants]
        handles += [
            Line2D([], [], color="#999999", linestyle="--", label=f"a constant answer: {study.chance:.3f}"),
            Line2D([], [], color="#999999", linestyle=":", label=f"{AT_CHANCE:.0%} of it"),
            Line2D([], [], color="black", marker="o", linestyle="", label="left for good"),
        ]
        axes.legend(handles=handles, fontsize="small", loc="lower left")
    return figure


def final(study):
    """Draws the main head's accuracy at the end with its spread, and below the paired differences."""
    figure = Figure(figsize=(max(5.0 * len(study.architectures), 6), 6.4), layout="constrained")
    above, below = figure.subplots(2, len(study.architectures), squeeze=False, sharex="col")
    for upper, lower, architecture in zip(above, below, study.architectures):
        rows = [row for row in study.comparisons if row.architecture == architecture]
        for x, row in enumerate(rows):
            colour = VARIANT_COLOURS[row.variant]
            upper.plot([x] * len(row.seeds), row.accuracies, "o", color=colour, alpha=0.4, markersize=5)
            upper.errorbar(x + 0.15, row.mean, row.spread, fmt="s", color=colour, capsize=4)
            if row.gain is not None:
                reach = None if row.gain.low is None else 100 * (row.gain.high - row.gain.mean)
                lower.errorbar(x, 100 * row.gain.mean, reach, fmt="s", color=colour, capsize=4)
        upper.set(title=architecture, ylabel=f"{study.images} accuracy\n(squares: mean, standard deviation)")
        upper.yaxis.set_major_formatter(PercentFormatter(1))
        lower.axhline(0, color="#999999", linewidth=1)
        lower.set_xticks(range(len(rows)), [LABELS[row.variant] for row in rows])
        interval = "95% interval" if len(study.seeds) > 1 else "one seed, no interval"
        lower.set_ylabel(f"difference to no head in points,\npaired by seed ({interval})")
        lower.set_xlim(-0.5, len(rows) - 0.3)
        for axes in (upper, lower):
            axes.grid(alpha=0.3, axis="y")
    return figure


def gradients(study):
    """Draws the norm of the gradient that reached each row of Table 1 from each head's loss along the training."""
    columns = stages(study.trainings)
    figure = Figure(figsize=(4.6 * len(columns), 4.1 * len(study.architectures) + 0.5), layout="constrained")
    panels = figure.subplots(len(study.architectures), len(columns), squeeze=False, sharey="row")
    variant, handles = richest(study.trainings), {}
    for line, architecture in zip(panels, study.architectures):
        for axes, (stage, epoch) in zip(line, columns.items()):
            with_heads = norms(of_variant(study.trainings, architecture, variant), epoch, weighted=True)
            without = norms(of_variant(study.trainings, architecture, BASELINE), epoch, weighted=True)
            rows = list(with_heads[MAIN])
            lines = [(head, by_row, "-", variant) for head, by_row in with_heads.items()]
            if without and variant != BASELINE:
                lines.append((MAIN, without[MAIN], "--", BASELINE))
            for head, by_row, style, trained in lines:
                label = f"{head}, trained with {LABELS[trained]}"
                values = [by_row[row] or np.nan for row in rows]  # nothing reaches the rows behind a tap
                (handles[label],) = axes.plot(values, style, color=HEAD_COLOURS[head], marker=".", label=label)
            axes.set_xticks(range(len(rows)), [row.removeprefix("inception_") for row in rows], rotation=90)
            axes.set(yscale="log", title=f"{architecture}, {stage} (epoch {epoch})")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("L2 norm of the gradient,\ntimes the weight of the head's loss")
    figure.legend(handles=handles.values(), loc="outside lower center", ncols=2, fontsize="small")
    return figure


PICTURES = {"accuracy.png": accuracy, "leaving.png": leaving, "final.png": final, "gradients.png": gradients}


def _panels(study, width, height):
    count = len(study.architectures)
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _seeds(study):
    return "one seed" if len(study.seeds) == 1 else f"{len(study.seeds)} seeds"


def _end_of_leaving(study, architecture):
    """Returns the last step to draw: all of them where a head stays at chance, else some after the last one left."""
    rows = [row for row in study.comparisons if row.architecture == architecture]
    steps = max(len(run.steps["step"]) for run in study.trainings)
    left = [step for row in rows for step in row.left]
    return steps if None in left else min(steps, 2 * max(left) + WINDOW)
