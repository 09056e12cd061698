"""Training: its configuration, the loop, run folders, diagnosis, and several devices."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_inception.training import diagnosis, distribute
    from keras_inception.training.config import TrainConfig
    from keras_inception.training.interruption import PreemptedError
    from keras_inception.training.loop import Run, train

__all__ = ["PreemptedError", "Run", "TrainConfig", "diagnosis", "distribute", "train"]

# A configuration is made without TensorFlow and Keras, so that `keras-inception --help` answers at once.
_HOMES = {"PreemptedError": "interruption", "Run": "loop", "TrainConfig": "config", "train": "loop"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
