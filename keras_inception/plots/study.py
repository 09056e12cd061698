"""The plots of a study, a panel for each network; each takes a `study.Study` and returns a figure."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from keras_inception.plots.gradients import gradient_flow
from keras_inception.plots.training import head_colour


def label(variant: str) -> str:
    """Returns what the heads that learn in a variant are called."""
    known = {"none": "no head", "both": "both heads", "all": "all heads", "falling": "all heads, falling weights"}
    return known.get(variant, f"{variant} alone")


def colour(variant: str) -> str:
    """Returns the colour of a variant, which is the head's where a single one learns."""
    known = {"none": "#444444", "both": "#7b3fa0", "all": "#7b3fa0", "falling": "#b03060"}
    return known.get(variant) or head_colour(variant)


def accuracy(study: Any) -> Figure:
    """Draws the main head's accuracy over the epochs, and below it the paired differences in validation.

    Above, the mean of the seeds: validation solid, training dashed, with a band of one standard deviation. Below, the
    mean difference to no head with a band of its 95% interval.
    """
    figure = Figure(figsize=(5.6 * len(study.networks), 7.4), layout="constrained")
    above, below = figure.subplots(2, len(study.networks), squeeze=False, sharex="col")
    for upper, lower, network in zip(above, below, study.networks):
        for variant in study.variants:
            runs, its = study.of(network, variant), colour(variant)
            for kind, style in (("validation_accuracy", "-"), ("training_accuracy", "--")):
                curves = np.array([getattr(run, kind) for run in runs])
                if curves.size:
                    name = label(variant) if style == "-" else None
                    _band(upper, curves.mean(axis=0), curves.std(axis=0, ddof=min(len(runs) - 1, 1)), its, style, name)
            gains = study.gains_by_epoch(network, variant)
            if gains:
                means = np.array([100 * gain.mean for gain in gains])
                reach = [0.0 if gain.high is None else 100 * (gain.high - gain.mean) for gain in gains]
                _band(lower, means, np.array(reach), its, "-", label(variant))
        upper.set(title=network, ylabel="accuracy of the main head")
        upper.yaxis.set_major_formatter(PercentFormatter(1))
        seeds = "one seed" if len(study.seeds) == 1 else f"{len(study.seeds)} seeds"
        upper.legend(fontsize="small", title=f"mean of {seeds}; dashed: training", title_fontsize="small")
        lower.axhline(0, color="#999999", linewidth=1)
        lower.set(xlabel="epoch", ylabel="validation accuracy less that of no head,\npoints, paired by seed")
        lower.xaxis.get_major_locator().set_params(integer=True)
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
    return figure


def _band(axes: Any, middle: Any, reach: Any, its: str, style: str, name: str | None) -> None:
    """Draws a curve over the epochs with a band to both sides."""
    epochs = range(1, len(middle) + 1)
    axes.plot(epochs, middle, style, color=its, marker=".", markersize=4, label=name)
    axes.fill_between(epochs, middle - reach, middle + reach, color=its, alpha=0.15, linewidth=0)


def leaving(study: Any) -> Figure:
    """Draws the main head's loss over the steps, and where it left what a constant answer reaches."""
    figure, panels = _panels(study)
    for axes, network in zip(panels, study.networks):
        shown = 0  # steps: all where a head stays at chance, else some after the last one left
        for variant in study.variants:
            for run, step in zip(study.of(network, variant), study.left(network, variant)):
                axes.plot(run.loss_steps, run.losses, color=colour(variant), linewidth=0.9, alpha=0.7)
                if step:
                    loss = np.interp(step, run.loss_steps, run.losses)
                    axes.plot(step, loss, "o", color=colour(variant), markersize=6)
                shown = max(shown, min(run.steps, 2 * step + 10 if step else run.steps))
        axes.axhline(study.chance, color="#999999", linestyle="--", linewidth=1)
        axes.axhline(study.threshold, color="#999999", linestyle=":", linewidth=1)
        axes.set(title=network, xlabel="step", ylabel="loss of the main head, moving average")
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
    figure = Figure(figsize=(max(5.0 * len(study.networks), 6), 6.4), layout="constrained")
    above, below = figure.subplots(2, len(study.networks), squeeze=False, sharex="col")
    for upper, lower, network in zip(above, below, study.networks):
        for x, variant in enumerate(study.variants):
            accuracies, gain = study.accuracies(network, variant), study.gain(network, variant)
            spread = np.std(accuracies, ddof=1) if len(accuracies) > 1 else None
            upper.plot([x] * len(accuracies), accuracies, "o", color=colour(variant), alpha=0.4, markersize=5)
            upper.errorbar(x + 0.15, np.mean(accuracies), spread, fmt="s", color=colour(variant), capsize=4)
            if gain is not None:
                reach = None if gain.low is None else 100 * (gain.high - gain.mean)
                lower.errorbar(x, 100 * gain.mean, reach, fmt="s", color=colour(variant), capsize=4)
        upper.set(title=network, ylabel=f"{study.images} accuracy\n(squares: mean, standard deviation)")
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
    figure = Figure(figsize=(4.6 * len(study.stages), 4.1 * len(study.networks) + 0.5), layout="constrained")
    panels = figure.subplots(len(study.networks), len(study.stages), squeeze=False, sharey="row")
    handles = {}
    for line, network in zip(panels, study.networks):
        for axes, (stage, epoch) in zip(line, study.stages.items()):
            norms = study.norms(network, study.richest, epoch)
            lines = [(head, by_row, "-", study.richest) for head, by_row in norms.items()]
            if "none" in study.variants and study.richest != "none":
                without = study.norms(network, "none", epoch)
                lines += [(head, by_row, "--", "none") for head, by_row in without.items()]
            rows = list(norms["main"])
            for head, by_row, style, trained in lines:
                text = f"{head}, trained with {label(trained)}"
                values = [by_row[row] or np.nan for row in rows]  # nothing reaches the rows behind a tap
                (handles[text],) = axes.plot(values, style, color=head_colour(head), marker=".", label=text)
            axes.set_xticks(range(len(rows)), [row.removeprefix("inception_") for row in rows], rotation=90)
            axes.set(yscale="log", title=f"{network}, {stage} (epoch {epoch})")
            axes.grid(alpha=0.3)
        line[0].set_ylabel("L2 norm of the gradient,\ntimes the weight of the head's loss")
    figure.legend(handles=handles.values(), loc="outside lower center", ncols=2, fontsize="small")
    return figure


def gradients_by_epoch(study: Any) -> Figure:
    """Draws the norm of the gradient at the weights of each row over the epochs, a panel for each head that learns.

    The last panel is the main head's where no other head learns. Rows are dark near the image and light near the end.
    """
    epochs = study.trainings[0].gradient_epochs
    panels: list[tuple[str, str, str]] = []
    for network in study.networks:
        panels += [(network, study.richest, head) for head in study.norms(network, study.richest, epochs[0])]
        panels += [(network, "none", "main")] if "none" in study.variants and study.richest != "none" else []
    columns = len(panels) // len(study.networks)
    figure = Figure(figsize=(4.2 * columns, 3.8 * len(study.networks) + 0.6), layout="constrained")
    grid = figure.subplots(len(study.networks), columns, squeeze=False, sharey="row", sharex=True)
    for axes, (network, variant, head) in zip(grid.flat, panels):
        measured = [study.norms(network, variant, epoch).get(head, {}) for epoch in epochs]
        rows = [row for row, norm in measured[0].items() if norm]  # nothing reaches the rows behind a tap
        for index, row in enumerate(rows):
            values = [norms.get(row) or np.nan for norms in measured]
            shade = colormaps["viridis"](index / max(len(rows) - 1, 1))
            axes.plot(epochs, values, marker=".", color=shade, label=row.removeprefix("inception_"))
        axes.set(yscale="log", title=f"{network}: {head}, {label(variant)}", xlabel="epochs")
        axes.grid(alpha=0.3)
        if head == "main" and variant == study.richest:
            axes.set_ylabel("L2 norm of the gradient,\ntimes the weight of the loss")
            handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=8, fontsize="small")
    return figure


def jacobians(study: Any) -> Figure:
    """Draws the gradient at each row's output, and the factors of the rows' Jacobians; see `plots.gradient_flow`."""
    panels = {
        f"{network}, {stage} (epoch {epoch})": study.norms(network, study.richest, epoch, "outputs")
        for network in study.networks
        for stage, epoch in study.stages.items()
    }
    return gradient_flow(panels, len(study.stages))


PLOTS: dict[str, Callable[[Any], Figure]] = {
    "accuracy.png": accuracy,
    "leaving.png": leaving,
    "final.png": final,
    "gradients.png": gradients,
    "gradients-by-epoch.png": gradients_by_epoch,
    "jacobians.png": jacobians,
}


def _panels(study: Any) -> tuple[Figure, Any]:
    count = len(study.networks)
    figure = Figure(figsize=(5.6 * count, 4.4), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]
