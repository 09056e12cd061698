"""The plots of early exits: what accuracy costs in multiply-adds, and which images leave where."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from keras_inception.plots.evaluation import draw_image


def exits_figure(calibration: Any, points: list[Any] | None = None) -> Figure:
    """Draws accuracy against mean multiply-adds.

    Args:
        calibration: An `ExitCalibration`.
        points: What `score` returned for other images.
    """
    series = [(f"{calibration.images:,} images that set the thresholds", calibration.table, "C0")]
    if points is not None:
        series.append(("other images", points, "C1"))
    chosen = calibration.table.index(calibration.chosen)
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, table, colour in series:
        x, y = ([point.multiply_adds / 1e6 for point in table], [100 * point.accuracy for point in table])
        axes.plot(x, y, "-", marker=".", color=colour, label=name)
        axes.plot(x[chosen], y[chosen], "o", color=colour, markersize=9, fillstyle="none")
        axes.axhline(y[0], linestyle=":", color=colour, alpha=0.6)
    axes.set(xlabel="mean multiply-adds of an image, millions", ylabel="accuracy, %")
    axes.set_title("circle: the chosen thresholds; dotted: main head alone", fontsize="small")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def leaves_figure(shown: Mapping[str, Sequence[tuple[Any, str]]]) -> Figure:
    """Draws some images of each head where images leave, a row for each.

    Args:
        shown: By the title of a row, Pillow images with their titles.
    """
    columns = max(map(len, shown.values()))
    figure = Figure(figsize=(2.1 * columns, 3 * len(shown)), layout="constrained")
    for part, (title, images) in zip(figure.subfigures(len(shown), 1, squeeze=False).flat, shown.items()):
        part.suptitle(title, fontsize="medium", parse_math=False)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for one in axes:
            one.axis("off")
        for one, (image, name) in zip(axes, images):
            draw_image(one, image, name)
    return figure
