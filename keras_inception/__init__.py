"""GoogLeNet for Keras 3 as the paper meant it: three softmaxes while it trains, one when it serves.

The import registers the package's classes with Keras, so that its `.keras` files load without `custom_objects`. What
needs TensorFlow is imported when it is first used.
"""

import importlib
import pathlib
import sys
from typing import TYPE_CHECKING

from keras_inception.lazy import Importer, importer

if TYPE_CHECKING:
    from keras_inception import data, evaluation, recipes
    from keras_inception.architectures import ARCHITECTURES, Architecture
    from keras_inception.errors import InputError
    from keras_inception.evaluation.gradcam import explain
    from keras_inception.network.classes import change_classes
    from keras_inception.network.googlenet import GoogLeNet, compile_model
    from keras_inception.network.model import InceptionModel
    from keras_inception.network.preprocess import decode_predictions, preprocess_input
    from keras_inception.network.saved import load_model
    from keras_inception.network.trained import load_trained_weights
    from keras_inception.network.views import features, inference_model
    from keras_inception.serving.classifier import Classifier
    from keras_inception.serving.exits import calibrate_exits, early_exit_model
    from keras_inception.serving.export import export_saved_model
    from keras_inception.training import diagnosis, distribute
    from keras_inception.training.config import TrainConfig
    from keras_inception.training.loop import train
    from keras_inception.tuning import OBJECTIVE, GoogLeNetHyperModel
    from keras_inception.weights import freeze, load_published_weights

__all__ = [
    "ARCHITECTURES",
    "OBJECTIVE",
    "Architecture",
    "Classifier",
    "GoogLeNet",
    "GoogLeNetHyperModel",
    "InceptionModel",
    "InputError",
    "TrainConfig",
    "__version__",
    "calibrate_exits",
    "change_classes",
    "compile_model",
    "data",
    "decode_predictions",
    "diagnosis",
    "distribute",
    "early_exit_model",
    "evaluation",
    "explain",
    "export_saved_model",
    "features",
    "freeze",
    "inference_model",
    "load_model",
    "load_published_weights",
    "load_trained_weights",
    "preprocess_input",
    "recipes",
    "train",
]

__version__ = "0.1.0"

__getattr__: Importer = importer(
    globals(),
    {
        "": ("data", "evaluation", "recipes"),
        ".architectures": ("ARCHITECTURES", "Architecture"),
        ".errors": ("InputError",),
        ".evaluation.gradcam": ("explain",),
        ".network.classes": ("change_classes",),
        ".network.googlenet": ("GoogLeNet", "compile_model"),
        ".network.model": ("InceptionModel",),
        ".network.preprocess": ("decode_predictions", "preprocess_input"),
        ".network.saved": ("load_model",),
        ".network.trained": ("load_trained_weights",),
        ".network.views": ("features", "inference_model"),
        ".serving.classifier": ("Classifier",),
        ".serving.exits": ("calibrate_exits", "early_exit_model"),
        ".serving.export": ("export_saved_model",),
        ".training": ("TrainConfig", "diagnosis", "distribute", "train"),
        ".tuning": ("OBJECTIVE", "GoogLeNetHyperModel"),
        ".weights": ("freeze", "load_published_weights"),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_the_command() -> bool:
    script = pathlib.PurePath(sys.argv[0]).name if sys.argv else ""
    # While Python looks for the module of `python -m`, the script is called "-m".
    return script in ("keras-inception", "keras-inception.exe") or (script == "-m" and __name__ in sys.orig_argv)


# The command imports Keras only when it has work for it: `--help` answers at once.
if not _is_the_command():
    importlib.import_module(f"{__name__}.network.googlenet")
    importlib.import_module(f"{__name__}.training.optimizers")
