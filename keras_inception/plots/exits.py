"""The plot of early exits: what accuracy costs, in multiply-adds and in time."""

from typing import Any

from matplotlib.figure import Figure


def exits_figure(calibration: Any, points: list[Any] | None = None) -> Figure:
    """Draws accuracy against mean multiply-adds and, where it was measured, against the time of an image.

    Args:
        calibration: An `ExitCalibration`, which `measure_latency` returned if times are to be drawn.
        points: What `score` returned for other images.
    """
    series = [(f"{calibration.images:,} images that set the thresholds", calibration.table, "C0")]
    if points is not None:
        series.append(("other images", points, "C1"))
    sizes = sorted({size for point in calibration.table for size in point.milliseconds})
    figure = Figure(figsize=(5.5 * (1 + len(sizes)), 4.2), layout="constrained")
    costs = [[point.multiply_adds / 1e6 for point in calibration.table]]
    costs += [[point.milliseconds.get(size) for point in calibration.table] for size in sizes]
    labels = ["mean multiply-adds of an image, millions", *(f"milliseconds an image, batch {size}" for size in sizes)]
    chosen = calibration.table.index(calibration.chosen)
    styles = ["-", *("" for _ in sizes)]  # times are measured at few points, and no line
    for axes, x, label, style in zip(figure.subplots(1, 1 + len(sizes), squeeze=False)[0], costs, labels, styles):
        measured = [index for index, cost in enumerate(x) if cost is not None]
        for name, table, colour in series:
            y = [100 * table[index].accuracy for index in measured]
            axes.plot([x[index] for index in measured], y, style, marker=".", color=colour, label=name)
            axes.plot(x[chosen], 100 * table[chosen].accuracy, "o", color=colour, markersize=9, fillstyle="none")
            axes.axhline(100 * table[0].accuracy, linestyle=":", color=colour, alpha=0.6)
        axes.set(xlabel=label, ylabel="accuracy, %", title="circle: the chosen thresholds; dotted: main head alone")
        axes.title.set_fontsize("small")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure
