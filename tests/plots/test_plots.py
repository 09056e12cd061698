"""Plots of a training, an explanation, early exits and a search: what is drawn is what was given."""

import io

import numpy as np
import pytest
from matplotlib import colors

pytest.importorskip("tensorflow")

from keras_inception import plots
from keras_inception.evaluation.gradcam import Explanation
from keras_inception.plots.serving import exits_figure, leaves_figure
from keras_inception.plots.tuning import importance, importances, parallel
from keras_inception.serving.exits import ExitCalibration, ExitPoint
from keras_inception.tuning.trials import TrialResult


@pytest.mark.parametrize("heads", [("main", "aux1", "aux2"), ("main",)])
def test_curves_draw_a_line_for_each_head_in_training_and_validation(heads):
    prefixes = [f"{head}_" for head in heads] if len(heads) > 1 else [""]  # as Keras calls its metrics
    names = [f"{kind}{prefix}" for kind in ("", "val_") for prefix in prefixes]
    figure = plots.curves({f"{name}{metric}": [0.5, 0.7] for name in names for metric in ("loss", "accuracy")}, heads)
    for axes in figure.axes:
        labels = [f"{head}, {kind}" for kind in ("training", "validation") for head in heads]
        assert [line.get_label() for line in axes.lines] == labels
        assert all(line.get_ydata().tolist() == [0.5, 0.7] for line in axes.lines)


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curves_tell_validation_by_rings_and_count_whole_epochs(epochs):
    figure = plots.curves({name: [0.5] * epochs for name in ("loss", "accuracy", "val_loss", "val_accuracy")}, ["main"])
    figure.canvas.draw()
    for axes in figure.axes:
        training, validation = axes.lines
        assert training.get_color() == validation.get_color()
        assert colors.same_color(training.get_markerfacecolor(), training.get_color())
        assert validation.get_markerfacecolor() == "none"
        assert validation.get_markersize() > training.get_markersize()
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_a_map_of_nothing_says_so():
    found = [Explanation(head, [("cow", 0.5)], "cow", 0.5, np.eye(4) * (head == "aux1")) for head in ("main", "aux1")]
    figure = plots.explanation(np.zeros((4, 4, 3)), found)
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["", "nothing here speaks for it", ""]


def test_an_explanation_shows_the_image_and_for_each_head_map_and_classes():
    generator = np.random.default_rng(0)
    found = [
        Explanation(head, [("cow", 0.5), ("bee", 0.3), ("ant", 0.2)], "bee", 0.3, generator.uniform(size=(12, 10)))
        for head in ("main", "aux1", "aux2")
    ]
    figure = plots.explanation(generator.uniform(0, 255, (12, 10, 3)), found)
    assert [axes.get_title() for axes in figure.axes[:4]] == ["image", *(f"{e.head}: bee, 30.0%" for e in found)]
    assert len(figure.axes) == 9  # four images above, three sets of bars and an empty place below, a colour bar
    for axes, explanation in zip(figure.axes[1:4], found):
        np.testing.assert_array_equal(axes.images[1].get_array(), explanation.heatmap)
    assert not any(axes.get_xlabel() for axes in figure.axes[:4])
    assert sorted(label.get_text() for label in figure.axes[5].get_yticklabels()) == ["ant", "bee", "cow"]
    assert {text.get_text().strip() for text in figure.axes[5].texts} == {"50.0%", "30.0%", "20.0%"}


def test_names_of_classes_are_drawn_as_they_are_and_cut_off_where_they_are_long():
    odd, long = r"$\nothing$", "a_long_name_of_one_word_that_no_line_holds"
    explanation = Explanation("main", [(odd, 0.6), (long, 0.4)], odd, 0.6, np.zeros((12, 10)))
    figure = plots.explanation(np.zeros((12, 10, 3)), [explanation])
    figure.savefig(io.BytesIO())  # where Matplotlib takes a text between dollars for mathematics, this raises
    assert figure.axes[1].get_title() == f"main: {odd}, 60.0%"
    names = [label.get_text() for label in figure.axes[3].get_yticklabels()]
    assert sorted(names) == [odd, "a_long_name_of_one_wo…"]


def test_early_exits_are_drawn_for_both_sets_of_images_with_the_chosen_thresholds():
    table = [
        ExitPoint({"aux1": share}, {}, 0.9 - 0.1 * share, 0.1 * share, 0.0, 0.0, 3e6 - 2e6 * share, {"aux1": share})
        for share in (0.0, 0.5, 1.0)
    ]
    heads = ["aux1", "main"]
    calibration = ExitCalibration({"aux1": 0.5}, {}, "entropy", heads, 0.05, 400, 3_000_000, table[1], table)
    [axes] = exits_figure(calibration, table[::-1]).axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["400 images that set the thresholds", "other images"]
    curve, circle = axes.lines[:2]
    np.testing.assert_allclose(curve.get_xydata(), [[3, 90], [2, 85], [1, 80]])
    np.testing.assert_allclose(circle.get_xydata(), [[2, 85]])


def test_the_importance_of_what_decided_is_the_largest():
    rows = [
        TrialResult(
            str(i), "COMPLETED", 0.5 + 0.1 * (i % 3), 1.0, 1, {"a": i % 3, "b": i % 2, "word": "xyz"[i % 3]}, ""
        )
        for i in range(30)
    ]
    shares = importances(rows, ["b", "a", "word"])
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["b"] < 0.05
    rows.append(TrialResult("30", "FAILED", None, 1.0, 0, {}, "why"))
    for draw in (importance, parallel):
        assert draw(rows, ["a", "b", "word"], "val_main_accuracy").axes


def test_images_that_leave_are_drawn_in_a_row_for_each_head():
    images = [(np.full((4, 4, 3), shade, "uint8"), f"image {shade}") for shade in range(5)]
    figure = leaves_figure({"leave at aux1": images[:3], "leave at main": images[3:]})
    drawn = [axes for axes in figure.get_axes() if axes.images]
    assert [axes.get_title() for axes in drawn] == [title for _, title in images]
    assert [axes.images[0].get_array()[0, 0, 0] for axes in drawn] == [0, 1, 2, 3, 4]
