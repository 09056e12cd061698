"""What probabilities are worth, on examples that can be worked out by hand."""

import re

import numpy as np
import pytest

from keras_inception import evaluation
from keras_inception.errors import InputError

LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1, 0.0],  # right
        [0.5, 0.3, 0.2, 0.0],  # right
        [0.3, 0.6, 0.1, 0.0],  # 1, second is right
        [0.1, 0.8, 0.1, 0.0],  # right
        [0.9, 0.04, 0.06, 0.0],  # 0, third is right
        [0.2, 0.4, 0.4, 0.0],  # a tie, which the lower index wins
    ]
)


def test_scores_are_those_counted_by_hand():
    found = evaluation.scores(LABELS, PROBABILITIES, (1, 2, 3))
    assert found["accuracy"] == 3 / 6
    assert found["top_2_accuracy"] == 5 / 6
    assert found["top_3_accuracy"] == 1
    expected = -(np.log(0.7) + np.log(0.5) + np.log(0.3) + np.log(0.8) + np.log(0.04) + np.log(0.4)) / 6
    assert found["loss"] == pytest.approx(expected)


def test_scores_leave_out_what_is_always_right():
    assert set(evaluation.scores(LABELS, PROBABILITIES)) == {"loss", "accuracy"}


def test_a_label_without_probability_has_a_finite_loss():
    assert evaluation.scores(np.array([3]), PROBABILITIES[:1])["loss"] == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("top", [(0, 5), 5, (1.5,), (True,), "15", None])
def test_numbers_of_answers_that_are_none_are_refused(top):
    with pytest.raises(InputError, match=rf"`top` must hold .* at least 1. Received: top={re.escape(repr(top))}"):
        evaluation.scores(LABELS, PROBABILITIES, top)


def test_confusion_has_labels_in_rows_and_answers_in_columns():
    expected = [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert evaluation.confusion(LABELS, PROBABILITIES).tolist() == expected


def test_per_class_has_no_value_where_there_is_nothing_to_count():
    zero, one, two, three = evaluation.per_class(LABELS, PROBABILITIES)
    assert (zero.images, zero.precision, zero.recall, zero.f1) == pytest.approx((3, 2 / 3, 2 / 3, 2 / 3))
    assert (one.images, one.precision, one.recall, one.f1) == pytest.approx((2, 1 / 3, 1 / 2, 2 / 5))
    assert (two.images, two.recall, two.f1) == (1, 0, 0)
    assert np.isnan(two.precision)  # never answered
    assert three.images == 0
    assert np.isnan([three.precision, three.recall, three.f1]).all()


def test_calibration_error_is_that_worked_out_by_hand():
    # Of the confidences 0.7, 0.5, 0.6, 0.8, 0.9, 0.4 in 5 bins: (0.2, 0.4], (0.4, 0.6], (0.6, 0.8], (0.8, 1].
    found = evaluation.calibration(LABELS, PROBABILITIES, bins=5)
    assert found.images.tolist() == [0, 1, 2, 2, 1]
    np.testing.assert_allclose(found.confidence, [np.nan, 0.4, 0.55, 0.75, 0.9])
    np.testing.assert_allclose(found.accuracy, [np.nan, 0, 0.5, 1, 0])
    assert found.error == pytest.approx((0.4 + 2 * 0.05 + 2 * 0.25 + 0.9) / 6)


def test_calibration_of_certain_answers():
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert evaluation.calibration(np.array([0, 1, 2, 0]), certain).error == 0
    wrong = evaluation.calibration(np.array([1, 2, 0, 1]), certain)
    assert wrong.error == 1
    assert wrong.images.tolist() == [0] * 14 + [4]


def test_confident_mistakes_are_the_most_confident_first_and_no_right_answers():
    assert evaluation.confident_mistakes(LABELS, PROBABILITIES).tolist() == [4, 2, 5]
    assert evaluation.confident_mistakes(LABELS, PROBABILITIES, 1).tolist() == [4]
    assert evaluation.confident_mistakes(LABELS[:2], PROBABILITIES[:2]).tolist() == []


@pytest.mark.parametrize(
    "measure",
    [
        evaluation.scores,
        evaluation.per_class,
        evaluation.confusion,
        evaluation.calibration,
        evaluation.confident_mistakes,
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_never_counted(measure, value):
    probabilities = PROBABILITIES.copy()
    probabilities[[1, 3], 0] = value
    with pytest.raises(
        ValueError, match=r"must be numbers .* Received: not-a-number for 2 of 6 images, the first one at 1"
    ):
        measure(LABELS, probabilities)
