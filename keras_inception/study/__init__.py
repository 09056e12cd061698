"""What the auxiliary heads do: the same network trained with no, each and all of them, compared seed by seed."""

from keras_inception.study.heads import INITIALIZERS, heads
from keras_inception.study.results import Difference, Study, StudyRun, left_at, paired
from keras_inception.study.steps import StepLosses

__all__ = ["INITIALIZERS", "Difference", "StepLosses", "Study", "StudyRun", "heads", "left_at", "paired"]
