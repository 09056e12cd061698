"""What the auxiliary heads do: the same network trained with no, one and both of them, compared seed by seed."""

from keras_inception.study.heads import (
    VARIANTS,
    Comparison,
    Difference,
    StepLosses,
    Study,
    Training,
    heads,
    left_at,
    paired,
)

__all__ = ["VARIANTS", "Comparison", "Difference", "StepLosses", "Study", "Training", "heads", "left_at", "paired"]
