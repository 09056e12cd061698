"""The plots of evaluations: where each head looks, and those of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inception.plots.training import head_colour
from keras_inception.types import Array

MOST_NAMES, MOST_NUMBERS = 40, 20  # of classes, up to which a confusion matrix shows names and numbers
COLUMNS: int = 5  # of mistakes


def explanation(pixels: Array, explanations: Sequence[Any]) -> Figure:
    """Draws an image and, side by side for the heads, its Grad-CAM map and the likeliest classes.

    Args:
        pixels: `(height, width, channels)` with 1 or 3 channels, red, green, blue in [0, 255].
        explanations: What `explain` returned for it.
    """
    top = max(len(found.top) for found in explanations)
    figure = Figure(figsize=(3.2 * (1 + len(explanations)), 3.4 + 0.28 * top), layout="constrained")
    upper, lower = figure.subplots(2, 1 + len(explanations), squeeze=False, height_ratios=(3, 0.3 * top))
    grey = pixels.mean(axis=-1) / 255  # a map in colours shows on it, and no colour of the image is taken for the map
    upper[0].imshow(grey if pixels.shape[-1] == 1 else pixels.clip(0, 255) / 255, cmap="gray", vmin=0, vmax=1)
    upper[0].set_title("image")
    lower[0].axis("off")
    for axes, bars, found in zip(upper[1:], lower[1:], explanations):
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
        heat = axes.imshow(found.heatmap, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
        title = f"{found.head}: {short(found.class_name)}, {found.probability:.1%}"
        axes.set_title(title, parse_math=False)
        if not found.heatmap.any():
            axes.set_xlabel("nothing here speaks for it")
        _bars(bars, found.top, head_colour(found.head))
    for axes in upper:
        axes.set(xticks=[], yticks=[])
    figure.colorbar(heat, ax=upper, fraction=0.03, label="Grad-CAM")
    return figure


def depth(heads: Mapping[str, Mapping[str, float]], images: int) -> Figure:
    """Draws the `"accuracy"` of each head, with its standard error over the images, against its `"multiply_adds"`."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    order = sorted(heads, key=lambda head: heads[head]["multiply_adds"])
    x = [heads[head]["multiply_adds"] / 1e6 for head in order]
    y = [heads[head]["accuracy"] for head in order]
    axes.plot(x, [100 * share for share in y], color="#999999", zorder=1)
    for head, cost, share in zip(order, x, y):
        error = (share * (1 - share) / images) ** 0.5
        label = f"{head}: {share:.2%}, {cost:,.1f} million"
        axes.errorbar(cost, 100 * share, 100 * error, fmt="o", capsize=4, color=head_colour(head), label=label)
    axes.set(xlabel="multiply-adds of an image, millions", ylabel="accuracy, %", title="What depth buys")
    axes.set_xlim(0, 1.05 * x[-1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", title="bars: one standard error", title_fontsize="small")
    return figure


def confusion_matrix(counts: Array, class_names: Sequence[str]) -> Figure:
    """Draws how many images of each class, by row, are called each class, by column; a row is shaded by its shares.

    Args:
        counts: `(classes, classes)`, whole numbers.
        class_names: Names, in the order of the rows and columns.
    """
    classes = len(class_names)
    side = 4 + 0.25 * classes if classes <= MOST_NAMES else 8
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="answer", ylabel="class", title="What each class is called")
    if classes <= MOST_NAMES:
        names = [short(name) for name in class_names]
        axes.set_xticks(range(classes), names, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), names, parse_math=False)
    if classes <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="share of the images of a class")
    return figure


def reliability(calibrations: Mapping[str, Any]) -> Figure:
    """Draws for each head what `evaluation.calibration` found: accuracy against confidence, and how many images."""
    figure = Figure(figsize=(3.7 * len(calibrations), 5), layout="constrained")
    rows = figure.subplots(2, len(calibrations), sharex=True, squeeze=False, height_ratios=(3, 1))
    for (head, found), axes, histogram in zip(calibrations.items(), *rows):
        colour = head_colour(head)
        left, width = found.edges[:-1], np.diff(found.edges)
        axes.bar(left, found.accuracy, width, align="edge", color=colour, alpha=0.35, edgecolor="white")
        axes.plot(found.confidence, found.accuracy, "o-", color=colour, markersize=4, label="mean of a bin")
        axes.plot([0, 1], [0, 1], "--", color="#777777", label="calibrated")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), title=f"{head}: calibration error {found.error:.2%}", ylabel="accuracy")
        axes.legend(fontsize="small", loc="upper left")  # a calibrated head has no bar there
        histogram.bar(left, found.images, width, align="edge", color=colour, edgecolor="white")
        histogram.set(xlabel="confidence of the answer", ylabel="images")
    return figure


def mistakes(images: Sequence[Any], captions: Sequence[tuple[str, str, float]]) -> Figure:
    """Draws Pillow images, each under the name of its class, that of the answer, and its probability in [0, 1]."""
    return sheet(images, [answer_title(*caption) for caption in captions])


def sheet(images: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Draws Pillow images, or arrays `(height, width, channels)` of 8 bits, each under its title."""
    rows = -(-len(images) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 2.6 * rows), layout="constrained")
    for axes in figure.subplots(rows, COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, image, title in zip(figure.axes, images, titles):
        draw_image(axes, image, title)
    return figure


def draw_image(axes: Axes, image: Any, title: str) -> None:
    """Draws a Pillow image or an array of 8 bits under its title."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8, parse_math=False)


def answer_title(name: str, answer: str, confidence: float) -> str:
    """Returns what stands above an image: its class, the answer where it is another one, and its probability."""
    called = "" if answer == name else f"\ncalled {short(answer)}"
    return f"{short(name)}{called}\nconfidence {confidence:.1%}"


def short(name: str, length: int = 22) -> str:
    """Returns the name of a class, without its end where it is too long for its place."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _bars(axes: Axes, top: Sequence[tuple[str, float]], colour: str) -> None:
    """Draws the probabilities of the likeliest classes, from top to bottom."""
    bars = axes.barh(range(len(top)), [probability for _, probability in top], color=colour)
    axes.bar_label(bars, [f"{probability:.1%}" for _, probability in top], padding=3, fontsize="small")
    axes.set_yticks(range(len(top)), [short(name) for name, _ in top], fontsize="small", parse_math=False)
    axes.set(xlim=(0, 1.3), xticks=[])  # room for a label beside a bar of 100%
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
