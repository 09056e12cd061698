"""The callbacks that belong in every training."""

import keras

from keras_inception.training.diagnosis.at_chance import HeadsAtChance, ValidationAtChance
from keras_inception.training.diagnosis.input_pipeline import InputPipeline
from keras_inception.training.diagnosis.not_finite import StopWhenNotFinite
from keras_inception.training.diagnosis.watcher import Report, warn


def callbacks(report: Report = warn) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that belong in every training.

    They must stand before those that write files, so that nothing is saved of a step that made a loss NaN. Together
    they keep a second copy of the model's variables in memory.

    Args:
        report: Called with each message, a sentence or more without a line break.
    """
    return [InputPipeline(report), StopWhenNotFinite(), HeadsAtChance(report), ValidationAtChance(report)]
