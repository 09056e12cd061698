"""What is wrong with a training: callbacks that warn or stop, and the gradient that each head sends to each row.

The callbacks report through a function `report(message)`; by default it is Python's `warnings.warn`, as Keras's own
callbacks do it. `callbacks()` returns those that belong in every training.

`watcher` is a callback that sees the batch of each step, and knows what a constant answer reaches; `at_chance`,
`not_finite`, `input_pipeline` and `gradients` each look for one thing.
"""

import keras

from keras_inception.training.diagnosis.at_chance import HeadsAtChance, ValidationAtChance
from keras_inception.training.diagnosis.gradients import GradientFlow, gradient_norms, head_gradients
from keras_inception.training.diagnosis.input_pipeline import InputPipeline
from keras_inception.training.diagnosis.not_finite import NotFiniteError, StopWhenNotFinite
from keras_inception.training.diagnosis.watcher import AT_CHANCE, LEARNS, Report, Watcher, warn

__all__ = [
    "AT_CHANCE",
    "LEARNS",
    "GradientFlow",
    "HeadsAtChance",
    "InputPipeline",
    "NotFiniteError",
    "Report",
    "StopWhenNotFinite",
    "ValidationAtChance",
    "Watcher",
    "callbacks",
    "gradient_norms",
    "head_gradients",
    "warn",
]  # fmt: skip


def callbacks(report: Report = warn) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that belong in every training.

    They must stand before those that write files, so that nothing is saved of a step that made a loss NaN. Together
    they keep a second copy of the model's variables in memory.

    Args:
        report: Called with each message, a sentence or more without a line break.
    """
    return [InputPipeline(report), StopWhenNotFinite(), HeadsAtChance(report), ValidationAtChance(report)]
