"""Early exits in a SavedModel: the stages with their weights as constants, and the branches between them."""

import tensorflow as tf

from keras_inception.serving.exits import early_exit_model
from keras_inception.serving.export.inference_graph import frozen, serving_network


def early_exit_network(model, thresholds, precision="float32"):
    """Returns what `export_saved_model` takes as `network` to serve a model with early exits.

    Args:
        model: A trained `InceptionModel` with auxiliary heads.
        thresholds: What `calibrate_exits` returned, or thresholds as `early_exit_model` takes them.
        precision: `"float32"` or `"bfloat16"`; see `serving_network`.

    Returns:
        A function of preprocessed images, `(batch, height, width, channels)`, that holds no variables and returns the
        dict of `EarlyExitModel`: `"probabilities"`, `(batch, classes)`, and `"exit"`, `(batch,)`.

    Raises:
        ValueError: As `early_exit_model` and `serving_network`.
    """
    exiting = early_exit_model(model, thresholds)
    network = serving_network(model, exiting.heads_in_use, precision)
    network.architecture = model.architecture
    spec = tf.TensorSpec((None, *model.input_shape[1:]))
    # Of one trace, so that the graph has the weights once, however many signatures call it.
    return tf.function(exiting.over(network, frozen), input_signature=[spec], autograph=False)
