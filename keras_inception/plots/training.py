"""The curves of a training."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from keras_inception.network.logs import logs_by_head

_COLOURS = {"main": "#1f5fbf", "aux1": "#d9822b", "aux2": "#3d9970"}
_OTHERS = ("#b03060", "#8c6d31", "#17a2b8", "#6b7a1f", "#5c5c8a")


def head_colour(name: str) -> str:
    """Returns the colour of a head, the same in every plot."""
    return _COLOURS.get(name) or _OTHERS[sum(name.encode()) % len(_OTHERS)]  # of aux3, aux4, ... one after the other


def curves(history: Mapping[str, Sequence[float]], heads: Sequence[str]) -> Figure:
    """Draws loss and accuracy of each head over the epochs: training solid with dots, validation dashed with rings.

    Args:
        history: One value an epoch by the names of Keras's logs.
        heads: The names of the outputs.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    epochs = range(1, max(map(len, history.values()), default=0) + 1)
    kinds = (("", "-", True, "training"), ("val_", "--", False, "validation"))
    for axes, metric, limit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (None, 1.0)):
        for prefix, style, is_dot, label in kinds:
            for head, logs in logs_by_head(history, heads, prefix).items():
                if metric in logs:
                    colour, label_of_head = head_colour(head), f"{head}, {label}"
                    (line,) = axes.plot(epochs, logs[metric], style, color=colour, marker="o", label=label_of_head)
                    # A ring stands around a dot of the same value and hides nothing.
                    line.set(markersize=3.5 if is_dot else 6, markerfacecolor=colour if is_dot else "none")
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric.capitalize()} of each head")
        axes.set_ylim(bottom=0, top=limit and limit * 1.02)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(epochs) == 1:  # the axis would show fractions of an epoch
            axes.set_xlim(0.5, 1.5)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure
