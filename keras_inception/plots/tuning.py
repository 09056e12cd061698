"""Plots of a search: its trials as parallel coordinates, and how much each hyperparameter mattered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from sklearn.ensemble import RandomForestRegressor

from keras_inception.types import Array

LOGARITHMIC = ("learning_rate", "weight_decay")


def parallel(rows: Sequence[Any], names: Sequence[str], objective: str) -> Figure:
    """Draws each `TrialResult` that completed as a line over the hyperparameters, coloured by its objective."""
    rows = [row for row in rows if row.score is not None]
    scores = [row.score for row in rows]
    columns = {**{name: [row.values[name] for row in rows] for name in names}, objective: scores}
    figure = Figure(figsize=(max(6, 1.25 * len(columns)), 5), layout="constrained")
    axes = figure.subplots()
    heights = np.empty((len(columns), len(rows)))
    for x, (name, values) in enumerate(columns.items()):
        numbers = _numbers(name, values)
        heights[x] = (numbers - numbers.min()) / (np.ptp(numbers) or 1)
        axes.axvline(x, color="#999999", linewidth=0.8)
        for height, value in dict(zip(heights[x], values)).items():
            if not _are_numbers(values) or height in (0, 1):
                text = f"{value:.4g}" if _are_numbers(values) else str(value)
                axes.text(x + 0.03, height, text, fontsize=7, va="center")
    colour = Normalize(min(scores), max(scores))
    for index in np.argsort(scores, kind="stable"):  # the highest on top
        axes.plot(heights[:, index], color=colormaps["viridis"](colour(scores[index])), alpha=0.85)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=8)
    axes.set(yticks=[], xlim=(-0.2, len(columns) - 0.5), title=f"{len(rows)} trials")
    return figure


def importance(rows: Sequence[Any], names: Sequence[str], objective: str) -> Figure:
    """Draws `importances` as bars."""
    shares = importances(rows, names)
    count = sum(row.score is not None for row in rows)
    figure = Figure(figsize=(7, 1 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), list(shares.values()), color="#1f5fbf")
    axes.invert_yaxis()
    axes.set(xlabel="importance (random forest)", title=f"What {objective} depended on in {count} trials")
    return figure


def importances(rows: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    """Returns how much each hyperparameter mattered by name, the largest first, as shares that sum to 1.

    They are the impurity importances of a random forest on the trials that completed: with few trials a hint, no more,
    and 0 where nothing mattered.
    """
    rows = [row for row in rows if row.score is not None]
    table = np.transpose([_numbers(name, [row.values[name] for row in rows]) for name in names])
    forest = RandomForestRegressor(200, random_state=0).fit(table, [row.score for row in rows])
    shares = zip(names, map(float, forest.feature_importances_))
    return dict(sorted(shares, key=lambda item: -item[1]))


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _numbers(name: str, values: Sequence[Any]) -> Array:
    """Returns values as numbers: logarithms where the name says so, and the places of words in their order."""
    if not _are_numbers(values):
        return np.unique([str(value) for value in values], return_inverse=True)[1].astype(float)
    return np.log(values) if name in LOGARITHMIC and min(values) > 0 else np.array(values, float)
