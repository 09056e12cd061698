"""A trained model that serves: as a classifier of files, as an export, with early exits."""

from typing import TYPE_CHECKING

from keras_inception.lazy import Importer, importer

if TYPE_CHECKING:
    from keras_inception.serving.classifier import Classifier
    from keras_inception.serving.exits import EarlyExitModel, ExitCalibration, calibrate_exits, early_exit_model
    from keras_inception.serving.export import export_format, export_saved_model

__all__ = [
    "Classifier",
    "EarlyExitModel",
    "ExitCalibration",
    "calibrate_exits",
    "early_exit_model",
    "export_format",
    "export_saved_model",
]

# A classifier answers without what only exports need.
__getattr__: Importer = importer(
    globals(),
    {
        ".classifier": ("Classifier",),
        ".exits": ("EarlyExitModel", "ExitCalibration", "calibrate_exits", "early_exit_model"),
        ".export": ("export_format", "export_saved_model"),
    },
)
