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
    """Draws loss and accuracy of each head over the epochs, training solid and validation dashed.

    Args:
        history: One value an epoch by the names of Keras's logs.
        heads: The names of the outputs.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    epochs = range(1, max(map(len, history.values()), default=0) + 1)
    for axes, metric, limit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (None, 1.0)):
        for prefix, style, label in (("", "-", "training"), ("val_", "--", "validation")):
            for head, logs in logs_by_head(history, heads, prefix).items():
                if metric in logs:
                    axes.plot(
                        epochs, logs[metric], style, color=head_colour(head), marker=".", label=f"{head}, {label}"
                    )
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric.capitalize()} of each head")
        axes.set_ylim(bottom=0, top=limit and limit * 1.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure
