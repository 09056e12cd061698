"""What is wrong with a training: callbacks that warn or stop, and the gradient that each head sends to each row.

The callbacks report through a function `report(message)`; by default it is Python's `warnings.warn`, as Keras's own
callbacks do it. `callbacks()` returns those that belong in every training.

`watcher` is a callback that sees the batch of each step, and knows what a constant answer reaches; `at_chance`,
`not_finite`, `input_pipeline` and `gradients` each look for one thing; `standard` says which belong together.
"""

from keras_inception.training.diagnosis.at_chance import HeadsAtChance, ValidationAtChance
from keras_inception.training.diagnosis.gradients import (
    GradientFlow,
    RowGradients,
    gradient_norms,
    head_gradients,
    row_gradients,
)
from keras_inception.training.diagnosis.input_pipeline import InputPipeline
from keras_inception.training.diagnosis.not_finite import NotFiniteError, StopWhenNotFinite
from keras_inception.training.diagnosis.standard import callbacks
from keras_inception.training.diagnosis.watcher import AT_CHANCE, LEARNS, Report, Watcher, warn

__all__ = [
    "AT_CHANCE",
    "LEARNS",
    "GradientFlow",
    "HeadsAtChance",
    "InputPipeline",
    "NotFiniteError",
    "Report",
    "RowGradients",
    "StopWhenNotFinite",
    "ValidationAtChance",
    "Watcher",
    "callbacks",
    "gradient_norms",
    "head_gradients",
    "row_gradients",
    "warn",
]  # fmt: skip
