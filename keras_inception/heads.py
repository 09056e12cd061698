"""The classifiers: the main head, the two auxiliary heads, and the loss and metrics that every head gets.

Losses and metrics here take labels in either form: integers `(batch,)` or one-hot `(batch, classes)`.
"""

import keras
from keras import layers, ops

from keras_inception.architectures import AuxiliaryHead

MAIN = "main"


def apply_main_head(x, classes, activation, dropout):
    """Applies the main head to the trunk's output: global average pooling, dropout, linear, softmax.

    Returns:
        `(batch, classes)`, float32 also under mixed precision; the layer is called "main".
    """
    x = layers.GlobalAveragePooling2D(name="pool5")(x)  # (batch, 1024)
    x = layers.Dropout(dropout, name="pool5_drop")(x)
    x = layers.Dense(classes, name="loss3_classifier")(x)
    return layers.Activation(activation, dtype="float32", name=MAIN)(x)


def apply_auxiliary_head(x, head: AuxiliaryHead, conv, classes, activation, dropout):
    """Applies an auxiliary head to its tap: average pooling, 1x1 convolution, FC 1024, dropout, linear, softmax.

    Returns:
        `(batch, classes)`, float32 also under mixed precision; the layer is called `head.name`.
    """
    if head.pool == "adaptive_4x4":
        x = layers.AdaptiveAveragePooling2D(4, name=f"{head.prefix}_ave_pool")(x)
    else:
        x = layers.AveragePooling2D(5, 3, name=f"{head.prefix}_ave_pool")(x)
    x = conv(x, head.conv, 1, name=f"{head.prefix}_conv")
    x = layers.Flatten(name=f"{head.prefix}_flatten")(x)
    x = layers.Dense(head.dense, "relu", kernel_initializer="he_normal", name=f"{head.prefix}_fc")(x)
    x = layers.Dropout(dropout, name=f"{head.prefix}_drop_fc")(x)
    x = layers.Dense(classes, name=f"{head.prefix}_classifier")(x)
    return layers.Activation(activation, dtype="float32", name=head.name)(x)


def _is_one_hot(y_true, y_pred):
    return len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1]


def _class_indices(y_true, y_pred):
    """Returns the labels as integers, `(batch,)` or `(batch, 1)`, whichever form they came in."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    return ops.argmax(y_true, axis=-1) if _is_one_hot(y_true, y_pred) else y_true


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseCategoricalCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Keras's loss of that name that takes one-hot labels (and any distribution over the classes) as well.

    Args:
        from_logits: Whether the predictions are logits rather than probabilities.

    Input shapes: labels `(batch,)`, `(batch, 1)` or `(batch, classes)`, predictions `(batch, classes)`.
    """

    def __init__(self, from_logits=False, name="sparse_categorical_crossentropy", **kwargs):
        super().__init__(from_logits=from_logits, name=name, **kwargs)
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        if _is_one_hot(y_true, y_pred):
            return keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        return super().call(y_true, y_pred)


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseCategoricalAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Keras's metric of that name that takes one-hot labels as well."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(_class_indices(y_true, y_pred), y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="keras_inception")
class SparseTopKCategoricalAccuracy(keras.metrics.SparseTopKCategoricalAccuracy):
    """Keras's metric of that name that takes one-hot labels as well."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(_class_indices(y_true, y_pred), y_pred, sample_weight)
