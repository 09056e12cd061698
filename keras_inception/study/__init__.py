"""What the auxiliary heads do: the same network trained with no, each and all of them, compared seed by seed."""

from keras_inception.study.comparison import Comparison, Difference, paired
from keras_inception.study.heads import heads
from keras_inception.study.results import Study
from keras_inception.study.step_losses import StepLosses, left_at
from keras_inception.study.trainings import Training

__all__ = ["Comparison", "Difference", "StepLosses", "Study", "Training", "heads", "left_at", "paired"]
