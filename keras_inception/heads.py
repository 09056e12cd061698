"""The classifiers: the main head and the two auxiliary heads."""

from keras import layers

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
