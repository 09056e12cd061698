"""GoogLeNet for Keras 3 as the paper meant it: three softmaxes while it trains, one when it serves.

The names of the core (pure Keras 3, on any backend) are here after the import, which also registers the package's
classes with Keras, so that its `.keras` files load without `custom_objects`. What needs TensorFlow is imported when it
is first used.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

_CORE = {
    "ARCHITECTURES": "architectures",
    "GoogLeNet": "model",
    "InceptionModel": "model",
    "LocalResponseNormalization": "layers",
    "TrainConfig": "config",
    "compile_model": "model",
    "decode_predictions": "preprocess",
    "evaluation": None,
    "features": "infer",
    "freeze": "weights",
    "inference_model": "infer",
    "load_published_weights": "weights",
    "preprocess_input": "preprocess",
    "recipe": None,
}
_TENSORFLOW = {
    "Classifier": "classifier",
    "GoogLeNetHyperModel": "hypermodel",
    "OBJECTIVE": "hypermodel",
    "calibrate_exits": "exits",
    "data": None,
    "diagnosis": None,
    "distribute": None,
    "early_exit_model": "exits",
    "exits": None,
    "explain": "gradcam",
    "export": None,
    "export_saved_model": "export",
    "hypermodel": None,
    "study": None,
    "train": "training",
}

__all__ = ["__version__", *_CORE, *_TENSORFLOW]


def __getattr__(name):
    if name not in {**_CORE, **_TENSORFLOW}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {**_CORE, **_TENSORFLOW}[name]
    module = importlib.import_module(f"{__name__}.{home or name}")
    value = globals()[name] = getattr(module, name) if home else module
    return value


def __dir__():
    return sorted([*globals(), *__all__])


# The command imports Keras only when it has work for it: `--help` answers at once.
if os.path.splitext(os.path.basename(getattr(sys, "argv", [""])[0]))[0] != "keras-inception":
    for _name in _CORE:
        __getattr__(_name)
