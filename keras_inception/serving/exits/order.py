"""The exits of a network in the order of their depth, what an image costs that leaves there, and their thresholds."""

import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network import cost
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel


def exit_names(model: InceptionModel) -> list[str]:
    """Returns the names of the heads at which an image can leave, the shallowest first and `"main"` last.

    Raises:
        InputError: The model has no main head, or no auxiliary one.
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
    return [*(head.name for head in sorted(heads, key=lambda head: depth(head.tap))), MAIN]


def numbers_by_head(values: Any, heads: list[str], argument: str, least: float) -> dict[str, float]:
    """Returns numbers as a dict by the names of heads, in the order of `heads`.

    Args:
        values: A number for all heads, or a dict by names of some.
        heads: The names.
        argument: The name of the argument, for the error.
        least: The least number.

    Raises:
        InputError: A head is unknown, or a value is no such number.
    """
    given = dict.fromkeys(heads, values) if isinstance(values, numbers.Real) else values
    if (
        not isinstance(given, Mapping)
        or not set(given) <= set(heads)
        or not all(
            isinstance(value, numbers.Real) and not isinstance(value, bool) and least <= float(value) < math.inf
            for value in given.values()
        )
    ):
        raise InputError(
            f"`{argument}` must be a number of at least {least}, or a dict of such numbers by the names of heads, "
            f"which are {heads}. Received: {argument}={values!r}"
        )
    return {head: float(given[head]) for head in heads if head in given}


def multiply_adds(model: InceptionModel, heads: Collection[str]) -> dict[str, int]:
    """Returns the multiply-adds of an image that leaves at each exit, by its name.

    Args:
        model: A model with auxiliary heads and a fixed image size.
        heads: The names of the auxiliary heads that are asked; what the others cost is not spent.
    """
    costs = {row.name: row.multiply_adds for row in cost.rows(model)}
    architecture = architectures.of(model)
    rows = [row.name for row in architecture.rows]
    spent, asked = {}, 0
    for head in exit_names(model):
        if head == MAIN:
            spent[MAIN] = asked + costs["linear"] + sum(costs[name] for name in rows)
        elif head in heads:
            asked += costs[head]
            spent[head] = asked + sum(costs[name] for name in rows[: rows.index(architecture.taps[head]) + 1])
    return spent
