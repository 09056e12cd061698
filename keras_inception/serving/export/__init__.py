"""A trained model in the forms that serve: a SavedModel for TensorFlow Serving, and other engines' formats."""

from keras_inception.serving.export.checking import check_export
from keras_inception.serving.export.formats import (
    FORMATS,
    export_accuracy,
    export_format,
    export_seconds,
    network_accuracy,
)
from keras_inception.serving.export.inference_graph import EXPORT_PRECISIONS, frozen, serving_network
from keras_inception.serving.export.saved_model import early_exit_network, export_saved_model
from keras_inception.serving.export.signatures import ON_BAD_IMAGE

__all__ = [
    "EXPORT_PRECISIONS",
    "FORMATS",
    "ON_BAD_IMAGE",
    "check_export",
    "early_exit_network",
    "export_accuracy",
    "export_format",
    "export_saved_model",
    "export_seconds",
    "frozen",
    "network_accuracy",
    "serving_network",
]
