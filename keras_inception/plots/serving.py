"""The plot of early exits: what accuracy costs in multiply-adds."""

from typing import Any

from matplotlib.figure import Figure


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
