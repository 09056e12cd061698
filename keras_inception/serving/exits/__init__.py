"""Early exits: an image leaves at the first auxiliary head that is confident of it; only the rest is computed further.

`calibrate_exits` finds on validation data from which probability on an image may leave, `early_exit_model` makes the
network that does it.

Reference: Teerapittayanon et al., BranchyNet: Fast Inference via Early Exiting, arXiv:1709.01686. Guo et al., On
Calibration of Modern Neural Networks, arXiv:1706.04599, section 4.2 (temperature scaling).
"""

from keras_inception.serving.exits.calibration import (
    ExitCalibration,
    ExitPoint,
    Leave,
    calibrate_exits,
    exit_names,
    leaves,
    score,
)
from keras_inception.serving.exits.stages import EarlyExitModel, early_exit_model

__all__ = [
    "EarlyExitModel",
    "ExitCalibration",
    "ExitPoint",
    "Leave",
    "calibrate_exits",
    "early_exit_model",
    "exit_names",
    "leaves",
    "score",
]
