"""How good a model is: its scores by head, as the paper tested, and what its mistakes look like in numbers."""

from keras_inception.evaluation.cropping import CROPS, crops
from keras_inception.evaluation.measures import (
    Calibration,
    ClassScore,
    calibration,
    confident_mistakes,
    confusion,
    per_class,
    scores,
)
from keras_inception.evaluation.scoring import (
    Predictions,
    class_indices,
    evaluate,
    evaluate_compiled,
    multiply_adds,
    one_by_one,
    predict,
)

__all__ = [
    "CROPS",
    "Calibration",
    "ClassScore",
    "Predictions",
    "calibration",
    "class_indices",
    "confident_mistakes",
    "confusion",
    "crops",
    "evaluate",
    "evaluate_compiled",
    "multiply_adds",
    "one_by_one",
    "per_class",
    "predict",
    "scores",
]
