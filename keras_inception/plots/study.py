"""The plots of a study, a panel for each architecture; each takes a `study.Study` and returns a figure."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from keras_inception.plots.training import head_colour


def label(variant: str) -> str:
    """Returns what the heads that learn in a variant are called."""
    return {"none": "no head", "both": "both heads", "all": "all heads"}.get(variant, f"{variant} alone")


def colour(variant: str) -> str:
    """Returns the colour of a variant, which is the head's where a single one learns."""
    return {"none": "#444444", "both": "#7b3fa0", "all": "#7b3fa0"}.get(variant) or head_colour(variant)


def accuracy(study: Any) -> Figure:
    """Draws the main head's validation accuracy over the epochs: every seed thin, the mean of the seeds thick."""
    figure, panels = _panels(study)
    for axes, architecture in zip(panels, study.architectures):
        for variant in study.variants:
            curves = [run.validation_accuracy for run in study.of(architecture, variant)]
            epochs = range(1, len(curves[0]) + 1)
            for curve in curves:
                axes.plot(epochs, curve, color=colour(variant), linewidth=0.8, alpha=0.35)
            axes.plot(epochs, np.mean(curves, axis=0), color=colour(variant), marker=".", label=label(variant))
        axes.set(title=architecture, xlabel="epoch", ylabel="validation accuracy of the main head")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
        seeds = "one seed" if len(study.seeds) == 1 else f"{len(study.seeds)} seeds"
        axes.legend(fontsize="small", title=f"mean of {seeds}", title_fontsize="small")
    return figure


def leaving(study: Any) -> Figure:
    """Draws the main head's loss over the steps, and where it left what a constant answer reaches."""
    figure, panels = _panels(study)
    for axes, architecture in zip(panels, study.architectures):
        shown = 0  # steps: all where a head stays at chance, else some after the last one left
        for variant in study.variants:
            for run, step in zip(study.of(architecture, variant), study.left(architecture, variant)):
                losses = run.smooth_losses
                axes.plot(run.steps["step"], losses, color=colour(variant), linewidth=0.9, alpha=0.7)
                if step:
                    axes.plot(step, losses[step - 1], "o", color=colour(variant), markersize=6)
                shown = max(shown, min(len(losses), 2 * step + 10 if step else len(losses)))
        axes.axhline(study.chance, color="#999999", linestyle="--", linewidth=1)
        axes.axhline(study.threshold, color="#999999", linestyle=":", linewidth=1)
        axes.set(title=architecture, xlabel="step", ylabel="loss of the main head, moving average")
        axes.set(xlim=(0, shown), ylim=(0, 1.35 * study.chance))
        axes.grid(alpha=0.3)
        handles = [Line2D([], [], color=colour(name), label=label(name)) for name in study.variants]
        handles += [
            Line2D([], [], color="#999999", linestyle="--", label=f"a constant answer: {study.chance:.3f}"),
            Line2D([], [], color="#999999", linestyle=":", label=f"{study.threshold / study.chance:.0%} of it"),
            Line2D([], [], color="black", marker="o", linestyle="", label="left for good"),
        ]
        axes.legend(handles=handles, fontsize="small", loc="lower left")
    return figure


def final(study: Any) -> Figure:
    """Draws the main head's accuracy at the end with its spread, and below the paired differences."""
    figure = Figure(figsize=(max(5.0 * len(study.architectures), 6), 6.4), layout="constrained")
    above, below = figure.subplots(2, len(study.architectures), squeeze=False, sharex="col")
    for upper, lower, architecture in zip(above, below, study.architectures):
        for x, variant in enumerate(study.variants):
            accuracies, gain = study.accuracies(architecture, variant), study.gain(architecture, variant)
            spread = np.std(accuracies, ddof=1) if len(accuracies) > 1 else None
            upper.plot([x] * len(accuracies), accuracies, "o", color=colour(variant), alpha=0.4, markersize=5)
            upper.errorbar(x + 0.15, np.mean(accuracies), spread, fmt="s", color=colour(variant), capsize=4)
            if gain is not None:
                reach = None if gain.low is None else 100 * (gain.high - gain.mean)
                lower.errorbar(x, 100 * gain.mean, reach, fmt="s", color=colour(variant), capsize=4)
        upper.set(title=architecture, ylabel=f"{study.images} accuracy\n(squares: mean, standard deviation)")
        upper.yaxis.set_major_formatter(PercentFormatter(1))
        lower.axhline(0, color="#999999", linewidth=1)
        lower.set_xticks(range(len(study.variants)), map(label, study.variants))
        interval = "95% interval" if len(study.seeds) > 1 else "one seed, no interval"
        lower.set_ylabel(f"difference to no head in points,\npaired by seed ({interval})")
        lower.set_xlim(-0.5, len(study.variants) - 0.3)
        for axes in (upper, lower):
            axes.grid(alpha=0.3, axis="y")
    return figure


def gradients(study: Any) -> Figure:
    """Draws the norm of the gradient that reached each row of Table 1 from each head's loss along the training."""
    figure = Figure(figsize=(4.6 * len(study.stages), 4.1 * len(study.architectures) + 0.5), layout="constrained")
    panels = figure.subplots(len(study.architectures), len(study.stages), squeeze=False, sharey="row")
    handles = {}
    for line, architecture in zip(panels, study.architectures):
        for axes, (stage, epoch) in zip(line, study.stages.items()):
            norms = study.norms(architecture, study.richest, epoch)
            lines = [(head, by_row, "-", study.richest) for head, by_row in norms.items()]
            if "none" in study.variants and study.richest != "none":
                without = study.norms(architecture, "none", epoch)
                lines += [(head, by_row, "--", "none") for head, by_row in without.items()]
            rows = list(norms["main"])
            for head, by_row, style, trained in lines:
                text = f"{head}, trained with {label(trained)}"
                values = [by_row[row] or np.nan for row in rows]  # nothing reaches the rows behind a tap
                (handles[text],) = axes.plot(values, style, color=head_colour(head), marker=".", label=text)
            axes.set_xticks(range(len(rows)), [row.removeprefix("inception_") for row in rows], rotation=90)
            axes.set(yscale="log", title=f"{architecture}, {stage} (epoch {epoch})")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("L2 norm of the gradient,\ntimes the weight of the head's loss")
    figure.legend(handles=handles.values(), loc="outside lower center", ncols=2, fontsize="small")
    return figure


PLOTS: dict[str, Callable[[Any], Figure]] = {
    "accuracy.png": accuracy,
    "leaving.png": leaving,
    "final.png": final,
    "gradients.png": gradients,
}


def _panels(study: Any) -> tuple[Figure, Any]:
    count = len(study.architectures)
    figure = Figure(figsize=(5.6 * count, 4.4), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]
