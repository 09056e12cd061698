"""Pictures: the curves of a training, the answers to an image, and the graph of a network."""

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from keras_inception import architectures
from keras_inception.evaluation import per_head

HEAD_COLOURS = {"main": "#1f5fbf", "aux1": "#d9822b", "aux2": "#3d9970"}


def curves(history, heads):
    """Draws loss and accuracy of each head over the epochs, training solid and validation dashed.

    Args:
        history: Dict of lists by the names of Keras's logs, one value an epoch.
        heads: The names of the outputs.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    epochs = range(1, max(map(len, history.values()), default=0) + 1)
    for axes, metric, limit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (None, 1.0)):
        for prefix, style, label in (("", "-", "training"), ("val_", "--", "validation")):
            for head, logs in per_head(history, heads, prefix).items():
                if metric in logs:
                    colour = HEAD_COLOURS.get(head)
                    axes.plot(epochs, logs[metric], style, color=colour, marker=".", label=f"{head}, {label}")
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric.capitalize()} of each head")
        axes.set_ylim(bottom=0, top=limit and limit * 1.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def explanation(pixels, explanations):
    """Draws an image and, side by side for the heads, its Grad-CAM map and the likeliest classes.

    Args:
        pixels: `(height, width, channels)` with 1 or 3 channels, red, green, blue in [0, 255].
        explanations: What `explain` returned for it.

    Returns:
        A `matplotlib.figure.Figure`.
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
        _bars(bars, found.top, HEAD_COLOURS.get(found.head))
    for axes in upper:
        axes.set(xticks=[], yticks=[])
    figure.colorbar(heat, ax=upper, fraction=0.03, label="Grad-CAM")
    return figure


def _bars(axes, top, colour):
    """Draws the probabilities of the likeliest classes, from top to bottom."""
    bars = axes.barh(range(len(top)), [probability for _, probability in top], color=colour)
    axes.bar_label(bars, [f"{probability:.1%}" for _, probability in top], padding=3, fontsize="small")
    axes.set_yticks(range(len(top)), [textwrap.shorten(name, 24) for name, _ in top], fontsize="small")
    axes.set(xlim=(0, 1.3), xticks=[])  # room for a label beside a bar of 100%
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def graph(model):
    """Draws a network row by row: the branches of each module, the size of each map, the heads at their taps.

    Args:
        model: An `InceptionModel` that knows its architecture.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    architecture = architectures.get(model.architecture)
    names = {layer.name for layer in model.layers}
    rows = [row for row in architecture.rows if any(name.startswith(row.name) for name in names)]
    main = "main" if "main" in names else None
    figure = Figure(figsize=(11, 0.62 * (len(rows) + 3)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-1, 11), ylim=(-len(rows) - 1.6, 1.2))
    axes.axis("off")

    _box(axes, 4, 0.5, 2.4, f"image {_size(model.inputs[0].shape)}", "#eeeeee")
    for index, row in enumerate(rows, start=1):
        _arrow(axes, (4, 1.26 - index), (4, 0.76 - index))
        for x, width, text, colour in _branches(row, architecture):
            _box(axes, x, 0.5 - index, width, text, colour)
        axes.text(-0.9, 0.5 - index, row.name, va="center", fontsize=8, family="monospace")
        axes.text(7.35, 0.5 - index, _size(_row_output(model, row).shape), va="center", fontsize=8, color="#555555")
        for head in architecture.auxiliary_heads:
            if head.tap == row.name and head.name in names:
                _arrow(axes, (8.55, 0.5 - index), (8.9, 0.5 - index))
                _box(axes, 9.9, 0.5 - index, 1.9, f"{head.name}, softmax", HEAD_COLOURS[head.name])
    if main:
        _arrow(axes, (4, 0.26 - len(rows)), (4, -0.24 - len(rows)))
        _box(axes, 4, -0.5 - len(rows), 5, "global average pool, dropout, linear, softmax: main", HEAD_COLOURS["main"])
    axes.set_title(f"{model.name}: {model.count_params():,} parameters")
    return figure


MODULE_COLOURS = ("#cfe2f3", "#9fc5e8", "#6fa8dc", "#d9ead3")


def _branches(row, architecture):
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


def _row_output(model, row):
    """Returns the tensor that a row gives: the output of its last layer."""
    return [layer for layer in model.layers if f"{layer.name}_".startswith(f"{row.name}_")][-1].output


def _size(shape):
    return "x".join("?" if size is None else str(size) for size in shape[1:])


def _box(axes, x, y, width, text, colour):
    dark = colour in HEAD_COLOURS.values()
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - 0.22), width, 0.44, "round,pad=0.02", facecolor=colour, edgecolor="#666666")
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")


def _arrow(axes, start, end):
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="#666666", shrinkA=0, shrinkB=0)
    )
