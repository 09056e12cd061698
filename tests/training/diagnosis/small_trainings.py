"""Three heads on one small layer, images that they learn at once, and logs given to callbacks without a training."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_inception as ki

CLASSES = 4


def classifier(*, stuck=(), normalize=None, middle=None, dropout=0.0, architecture=None, learning_rate=0.05, **options):
    """Three small heads on one dense layer; those in `stuck` see nothing of the input."""
    x = image = keras.Input((8,), name="image")
    if normalize is not None:
        x = layers.BatchNormalization(momentum=normalize, name="norm")(x)
    if middle is not None:
        x = middle(x)
    x = layers.Dense(16, "tanh", name="trunk")(x)  # TensorFlow's ReLU turns NaN into 0
    x = layers.Dropout(dropout, name="drop")(x)
    outputs = []
    for name in ("main", "aux1", "aux2"):
        y = layers.Rescaling(0.0, name=f"{name}_cut")(x) if name in stuck else x
        y = layers.Dense(CLASSES, name=f"{name}_dense")(y)
        outputs.append(layers.Activation("softmax", name=name)(y))
    model = ki.InceptionModel(image, outputs, architecture=architecture)
    return ki.compile_model(model, keras.optimizers.SGD(learning_rate), **options)


def examples(count=192, shares=None, shift=0.0, seed=0):
    """Images of noise around one corner a class, which a linear layer tells apart, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES if shares is None else np.repeat(np.arange(CLASSES), shares)
    random.shuffle(labels)
    images = 2 * np.eye(8)[labels] + 0.3 * random.standard_normal((len(labels), 8)) + shift
    return images.astype("float32"), labels


def drive(callback, model, epochs, steps=46):
    """Gives a callback the logs of epochs as `fit` would, without training."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_train_batch_end(steps - 1, {})
        callback.on_epoch_end(epoch, logs)


def heads(main, aux1, aux2, prefix=""):
    return {f"{prefix}main_loss": main, f"{prefix}aux1_loss": aux1, f"{prefix}aux2_loss": aux2}


def batches(images, labels, size=8):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)
