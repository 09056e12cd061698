"""The graph of a network."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from keras_inception import architectures
from keras_inception.network.model import InceptionModel
from keras_inception.plots.training import head_colour
from keras_inception.types import Shape

MODULE_COLOURS: tuple[str, ...] = ("#cfe2f3", "#9fc5e8", "#6fa8dc", "#d9ead3")


def graph(model: InceptionModel) -> Figure:
    """Draws a network row by row: the branches of each module, the size of its map, the heads at their taps."""
    layers = architectures.layers_by_owner(model)
    architecture = architectures.of(model)
    rows = [row for row in architecture.rows if row.name in layers]
    figure = Figure(figsize=(11, 0.62 * (len(rows) + 3)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-1, 10.1), ylim=(-len(rows) - 1.6, 1.2))
    axes.axis("off")

    _box(axes, 4, 0.5, 2.4, f"image {_size(model.inputs[0].shape)}", "#eeeeee")
    for index, row in enumerate(rows, start=1):
        _arrow(axes, (4, 1.26 - index), (4, 0.76 - index))
        branches = _branches(row, architecture)
        for x, width, text, colour in branches:
            _box(axes, x, 0.5 - index, width, text, colour)
        axes.text(-0.9, 0.62 - index, row.name, va="center", fontsize=8, family="monospace")
        size = _size(layers[row.name][-1].output.shape)
        axes.text(-0.9, 0.36 - index, size, va="center", fontsize=8, color="#555555")
        tapped = [head for head, tap in architecture.taps.items() if tap == row.name and head in layers]
        if tapped:
            right = max(x + width / 2 for x, width, _, _ in branches)
            _arrow(axes, (right + 0.03, 0.5 - index), (8, 0.5 - index))
            colour = head_colour(tapped[0])
            _box(axes, 9, 0.5 - index, 1.9, f"{', '.join(tapped)}: softmax", colour, "white")
    if "linear" in layers:
        _arrow(axes, (4, 0.26 - len(rows)), (4, -0.24 - len(rows)))
        text, colour = "global average pool, dropout, linear, softmax: main", head_colour("main")
        _box(axes, 4, -0.5 - len(rows), 5, text, colour, "white")
    axes.set_title(f"{model.name}: {model.count_params():,} parameters")
    return figure


def _branches(row: architectures.Row, architecture: architectures.Architecture) -> list[tuple[float, float, str, str]]:
    """Returns the boxes of a row: centre, width, text and colour of each."""
    match row:
        case architectures.Conv():
            reduce = f"1x1 {row.reduce}, " if row.reduce else ""
            text = f"{reduce}{row.kernel_size}x{row.kernel_size}/{row.strides} {row.filters}"
            return [(4, 2.4, text, MODULE_COLOURS[1])]
        case architectures.MaxPool():
            return [(4, 2.4, f"max pool {row.pool_size}x{row.pool_size}/{row.strides}", "#f4cccc")]
        case architectures.LRN():
            return [(4, 2.4, "LRN", "#fff2cc")]
    kernel = architecture.conv5x5_kernel_size
    texts = (
        f"1x1 {row.conv1x1}",
        f"1x1 {row.conv3x3_reduce}, 3x3 {row.conv3x3}",
        f"1x1 {row.conv5x5_reduce}, {kernel}x{kernel} {row.conv5x5}",
        f"pool, 1x1 {row.pool_proj}",
    )
    return [(1.75 + 1.5 * i, 1.42, text, colour) for i, (text, colour) in enumerate(zip(texts, MODULE_COLOURS))]


def _size(shape: Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in shape[1:])


def _box(axes: Axes, x: float, y: float, width: float, text: str, colour: str, text_colour: str = "black") -> None:
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - 0.22), width, 0.44, "round,pad=0.02", facecolor=colour, edgecolor="#666666")
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=text_colour)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="#666666", shrinkA=0, shrinkB=0)
    )
