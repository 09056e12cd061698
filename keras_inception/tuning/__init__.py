"""GoogLeNet for KerasTuner, and the search of `keras-inception tune`."""

from keras_inception.tuning.hypermodel import OBJECTIVE, GoogLeNetHyperModel
from keras_inception.tuning.space import SPACE, Range

__all__ = ["OBJECTIVE", "SPACE", "GoogLeNetHyperModel", "Range"]
