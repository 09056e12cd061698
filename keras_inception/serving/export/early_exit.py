"""Early exits in a SavedModel: the stages with their weights as constants, and the branches between them."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from keras_inception.network.model import InceptionModel
from keras_inception.serving.exits import ExitCalibration, early_exit_model
from keras_inception.serving.export.inference_graph import frozen, serving_network
from keras_inception.types import Tensor


def early_exit_network(
    model: InceptionModel, exits: ExitCalibration | float | Mapping[str, float], precision: str = "float32"
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Returns what an export with early exits computes.

    Args:
        model: A trained model with auxiliary heads.
        exits: What `calibrate_exits` returned, or thresholds as `early_exit_model` takes them.
        precision: `"float32"` or `"bfloat16"`; see `serving_network`.

    Returns:
        A function of preprocessed images, `(batch, height, width, channels)`, that holds no variables and returns the
        dict of `EarlyExitModel`: `"probabilities"`, `(batch, classes)`, and `"exit"`, `(batch,)`.

    Raises:
        InputError: As `early_exit_model` and `serving_network`.
    """
    exiting = early_exit_model(model, exits)
    answer = exiting.router(serving_network(model, exiting.heads_in_use, precision), frozen)
    spec = tf.TensorSpec((None, *model.input_shape[1:]))
    # Of one trace, so that the graph has the weights once, however many signatures call it.
    return tf.function(
        lambda images: answer(images, tf.constant(exiting.thresholds_in_use, tf.float32)),
        input_signature=[spec],
        autograph=False,
    )
