"""Training: its configuration, the loop, run folders, diagnosis, and several devices."""

from typing import TYPE_CHECKING

from keras_inception.lazy import Importer, importer

if TYPE_CHECKING:
    from keras_inception.training import diagnosis, distribute
    from keras_inception.training.config import TrainConfig
    from keras_inception.training.interruption import PreemptedError
    from keras_inception.training.loop import Run, train

__all__ = ["PreemptedError", "Run", "TrainConfig", "diagnosis", "distribute", "train"]

# A configuration is made without TensorFlow and Keras, so that `keras-inception --help` answers at once.
__getattr__: Importer = importer(
    globals(),
    {
        "": ("diagnosis", "distribute"),
        ".config": ("TrainConfig",),
        ".interruption": ("PreemptedError",),
        ".loop": ("Run", "train"),
    },
)
