"""GoogLeNet for Keras 3 as the paper meant it: three softmaxes while it trains, one when it serves.

The import registers the package's classes with Keras, so that its `.keras` files load without `custom_objects`. What
needs TensorFlow is imported when it is first used.
"""

import importlib
import pathlib
import sys
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ARCHITECTURES": "architectures",
    "Architecture": "architectures",
    "Classifier": "serving.classifier",
    "GoogLeNet": "network.googlenet",
    "GoogLeNetHyperModel": "tuning",
    "InceptionModel": "network.model",
    "InputError": "errors",
    "LocalResponseNormalization": "network.layers",
    "OBJECTIVE": "tuning",
    "TrainConfig": "training.config",
    "architectures": None,
    "calibrate_exits": "serving.exits",
    "compile_model": "network.googlenet",
    "data": None,
    "decode_predictions": "network.preprocess",
    "diagnosis": "training",
    "distribute": "training",
    "early_exit_model": "serving.exits",
    "evaluation": None,
    "explain": "evaluation.gradcam",
    "export_saved_model": "serving.export",
    "features": "network.views",
    "freeze": "weights",
    "inference_model": "network.views",
    "load_published_weights": "weights",
    "preprocess_input": "network.preprocess",
    "recipes": None,
    "train": "training.loop",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    try:
        value = importlib.import_module(".".join(filter(None, (__name__, home, name))))
    except ModuleNotFoundError:
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


# The command imports Keras only when it has work for it: `--help` answers at once.
if not {pathlib.PurePath(name).name for name in sys.argv[:1]} & {"keras-inception", "keras-inception.exe"}:
    importlib.import_module(f"{__name__}.network.googlenet")
