"""The exits of a network in the order of their depth, what an image costs that leaves there, and their thresholds."""

import math
import numbers

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network import cost
from keras_inception.network.blocks import MAIN


def auxiliary_heads(model):
    """Returns the auxiliary heads of a model, as its architecture describes them, the shallowest first.

    Raises:
        ValueError: The model has no main head, or no auxiliary one.
    """
    architecture = architectures.of(model)
    depth = [row.name for row in architecture.rows].index
    heads = [head for head in architecture.auxiliary_heads if head.name in model.output_names]
    if not heads or MAIN not in model.output_names:
        raise InputError(
            "Early exits need the main head and an auxiliary head that images can leave at. Use the model as it was "
            "trained, with `aux_heads=True`, not what `inference_model` returns. "
            f"Received: model {model.name!r} with outputs {list(model.output_names)}"
        )
    return sorted(heads, key=lambda head: depth(head.tap))


def exit_names(model):
    """Returns the names of the heads at which an image can leave, the shallowest first and `"main"` last."""
    return [*(head.name for head in auxiliary_heads(model)), MAIN]


def check_thresholds(thresholds, model):
    """Returns thresholds as a dict by the names of auxiliary heads, the shallowest first.

    Args:
        thresholds: A number for every auxiliary head, a list of one for each, or a dict by their names; at least 0.
        model: The model that has the heads.

    Raises:
        ValueError: A head is unknown, or a threshold is no number of at least 0.
    """
    names = exit_names(model)[:-1]
    if isinstance(thresholds, numbers.Real):
        thresholds = dict.fromkeys(names, thresholds)
    if isinstance(thresholds, (list, tuple)) and len(thresholds) == len(names):
        thresholds = dict(zip(names, thresholds))
    if not isinstance(thresholds, dict) or not set(thresholds) <= set(names):
        raise InputError(
            "`thresholds` must be a number, a list with one for each auxiliary head, a dict by their names, which are "
            f"{names}, or what `calibrate_exits` returns. Received: thresholds={thresholds!r}"
        )
    for name, threshold in thresholds.items():
        if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real) or not threshold >= 0:
            raise InputError(
                "A threshold must be the probability, from 0 (every image leaves) to 1, from which an image leaves; "
                f"above 1 none does. Received: thresholds={{{name!r}: {threshold!r}}}"
            )
    return {name: float(thresholds[name]) for name in names if name in thresholds}


def in_use(thresholds):
    """Returns the thresholds that an image can reach: a probability is never above 1."""
    return {name: threshold for name, threshold in thresholds.items() if threshold <= 1}


def check_temperatures(temperatures, model):
    """Returns temperatures as a dict by the names of all heads that leaves none out; 1 changes nothing.

    Raises:
        ValueError: A head is unknown, or a temperature is not above 0.
    """
    names = exit_names(model)
    temperatures = temperatures or {}
    if not set(temperatures) <= set(names):
        raise InputError(f"`temperatures` must be by heads, {names}. Received: temperatures={temperatures!r}")
    for name, temperature in temperatures.items():
        if not 0 < temperature < math.inf:
            raise InputError(f"A temperature must be above 0. Received: temperatures={{{name!r}: {temperature!r}}}")
    return {name: float(temperatures.get(name, 1.0)) for name in names}


def multiply_adds(model, heads):
    """Returns the multiply-adds of an image that leaves at each exit, by its name.

    Args:
        model: An `InceptionModel` with auxiliary heads and a fixed image size.
        heads: The names of the auxiliary heads that are asked; what the others cost is not spent.
    """
    costs = {row.name: row.multiply_adds for row in cost.rows(model)}
    rows = [row.name for row in architectures.of(model).rows]
    spent, asked = {}, 0
    for head in auxiliary_heads(model):
        if head.name in heads:
            asked += costs[head.name]
            spent[head.name] = asked + sum(costs[name] for name in rows[: rows.index(head.tap) + 1])
    return {**spent, MAIN: asked + costs["linear"] + sum(costs[name] for name in rows)}
