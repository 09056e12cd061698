"""Plots of a search: its trials as parallel coordinates, and how much each hyperparameter mattered."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from sklearn.ensemble import RandomForestRegressor

LOGARITHMIC = ("learning_rate", "weight_decay")


def parallel(rows: Sequence[Any], names: Sequence[str], objective: str) -> Figure:
    """Draws each trial that completed as a line over the axes of the hyperparameters, coloured by its objective.

    Args:
        rows: `TrialResult`s of a search.
        names: The hyperparameters to draw.
        objective: The name of the objective.
    """
    rows = [row for row in rows if row.score is not None]
    figure = Figure(figsize=(max(6, 1.25 * (len(names) + 1)), 5), layout="constrained")
    axes = figure.subplots()
    columns = [_Axis([row.values.get(name) for row in rows], name in LOGARITHMIC) for name in names]
    columns.append(_Axis([row.score for row in rows]))
    scores = [row.score for row in rows]
    colour = Normalize(min(scores), max(scores))
    for index in np.argsort(scores, kind="stable"):  # the highest on top
        heights = [column.heights[index] for column in columns]
        axes.plot(range(len(columns)), heights, color=colormaps["viridis"](colour(scores[index])), alpha=0.85)
    for x, column in enumerate(columns):
        axes.axvline(x, color="#999999", linewidth=0.8)
        for height, text in column.ticks:
            axes.text(x + 0.03, height, text, fontsize=7, va="center")
    axes.set_xticks(range(len(columns)), [*names, objective], rotation=35, ha="right", fontsize=8)
    axes.set(yticks=[], xlim=(-0.2, len(columns) - 0.5), title=f"{len(rows)} trials")
    return figure


class _Axis:
    """One axis: the height in [0, 1] of each value, None at NaN, and what to write at which height."""

    def __init__(self, values: Sequence[Any], logarithmic: bool = False) -> None:
        known = [value for value in values if value is not None]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known) and known:
            logarithmic = logarithmic and min(known) > 0
            scale = math.log if logarithmic else float
            least, most = scale(min(known)), scale(max(known))
            extent = most - least or 1.0
            self.heights = [math.nan if value is None else (scale(value) - least) / extent for value in values]
            self.ticks = [(0.0, f"{min(known):.4g}"), (1.0, f"{max(known):.4g}")][: 2 if most > least else 1]
        else:
            words = sorted(set(map(str, known)))
            places = {word: index / max(len(words) - 1, 1) for index, word in enumerate(words)}
            self.heights = [math.nan if value is None else places[str(value)] for value in values]
            self.ticks = [(place, word) for word, place in places.items()]


def importances(rows: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    """Returns how much each hyperparameter mattered, as shares that sum to 1 (0 where nothing did).

    They are the impurity importances of a random forest on the trials that completed: with few trials a hint, no more.

    Args:
        rows: `TrialResult`s of a search.
        names: The hyperparameters.

    Returns:
        A dict by name, the largest first.
    """
    rows = [row for row in rows if row.score is not None]
    columns, owners = [], []
    for name in names:
        values = [row.values.get(name) for row in rows]
        if all(isinstance(value, (int, float)) for value in values):
            logarithmic = name in LOGARITHMIC and min(values, default=0) > 0
            columns.append([math.log(value) if logarithmic else float(value) for value in values])
            owners.append(name)
        else:
            for word in sorted(set(map(str, values))):
                columns.append([float(str(value) == word) for value in values])
                owners.append(name)
    shares = dict.fromkeys(names, 0.0)
    if len(rows) > 1:
        forest = RandomForestRegressor(200, random_state=0).fit(np.array(columns).T, [row.score for row in rows])
        for owner, share in zip(owners, forest.feature_importances_):
            shares[owner] += float(share)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def importance(rows: Sequence[Any], names: Sequence[str], objective: str) -> Figure:
    """Draws `importances` as bars.

    Args:
        rows: `TrialResult`s of a search.
        names: The hyperparameters to draw.
        objective: The name of the objective.
    """
    shares = importances(rows, names)
    count = sum(row.score is not None for row in rows)
    figure = Figure(figsize=(7, 1 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), list(shares.values()), color="#1f5fbf")
    axes.invert_yaxis()
    axes.set(xlabel="importance (random forest)", title=f"What {objective} depended on in {count} trials")
    return figure
