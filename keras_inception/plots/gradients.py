"""The gradient on its way through the rows of a network: its norm at each row's output, and each row's factor."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_inception.plots.training import head_colour


def gradient_flow(panels: Mapping[str, Mapping[str, Mapping[str, float]]], columns: int) -> Figure:
    """Draws, from each head's loss, the norm of the gradient at each row's output, and below it each row's factor.

    The factor of a row is what its Jacobian multiplies the norm by on the way to the image: the norm at the output of
    the row before it, divided by that at its own.

    Args:
        panels: By title, the norms by head and by row of the trunk, in order; 0 behind the head's tap.
        columns: The number of panels side by side, at least 1.
    """
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 5.4 * lines), layout="constrained")
    grid = figure.subplots(2 * lines, columns, squeeze=False, sharex="col")
    for index, (title, by_head) in enumerate(panels.items()):
        line, column = divmod(index, columns)
        upper, lower = grid[2 * line, column], grid[2 * line + 1, column]
        names: list[str] = []
        for head, norms in by_head.items():
            names = list(norms)
            values = np.array([norm or np.nan for norm in norms.values()])  # nothing reaches the rows behind a tap
            upper.plot(values, marker=".", color=head_colour(head), label=head)
            lower.plot(range(1, len(names)), values[:-1] / values[1:], marker=".", color=head_colour(head), label=head)
        lower.axhline(1, color="#999999", linewidth=1)
        lower.set_xticks(range(len(names)), [name.removeprefix("inception_") for name in names], rotation=90)
        lower.tick_params(labelbottom=True)
        upper.set(yscale="log", title=title)
        lower.set(yscale="log")
        if column == 0:
            upper.set_ylabel("norm of the gradient\nat the row's output")
            lower.set_ylabel("factor of the row's Jacobian")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
        upper.legend(fontsize="small")
    return figure


def of_table(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns what `gradient_flow` draws of `gradients.csv`: its first and its last epoch, heads with a weight above 0.

    Args:
        rows: As `files.read_table` returns them.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for epoch in dict.fromkeys((rows[0]["epoch"], rows[-1]["epoch"])):
        by_head: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["epoch"] == epoch and row.get("output_gradient_norm") and float(row["loss_weight"]):
                norm = float(row["loss_weight"]) * float(row["output_gradient_norm"])
                by_head.setdefault(row["head"], {})[row["row"]] = norm
        title = "before the training" if epoch == "0" else f"after epoch {epoch}"
        found[title] = by_head
    return found
