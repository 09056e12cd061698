"""The answers to an image, and where each head looks."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_inception.plots.training import head_colour
from keras_inception.types import Array


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
        axes.set_title(f"{found.head}: {found.class_name}, {found.probability:.1%}")
        _bars(bars, found.top, head_colour(found.head))
    for axes in upper:
        axes.set(xticks=[], yticks=[])
    figure.colorbar(heat, ax=upper, fraction=0.03, label="Grad-CAM")
    return figure


def _bars(axes: Axes, top: Sequence[tuple[str, float]], colour: str) -> None:
    """Draws the probabilities of the likeliest classes, from top to bottom."""
    bars = axes.barh(range(len(top)), [probability for _, probability in top], color=colour)
    axes.bar_label(bars, [f"{probability:.1%}" for _, probability in top], padding=3, fontsize="small")
    axes.set_yticks(range(len(top)), [textwrap.shorten(name, 24) for name, _ in top], fontsize="small")
    axes.set(xlim=(0, 1.3), xticks=[])  # room for a label beside a bar of 100%
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
