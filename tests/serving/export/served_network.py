"""The small network of these tests, as if it were trained."""

import dataclasses

import keras
import numpy as np

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead, Conv, Inception, MaxPool

SIDE = 16
FEATURES = 48
CLASS_NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]

# GoogLeNet in small, with two auxiliary heads and batch normalization.
TINY = dataclasses.replace(
    architectures.GOOGLENET_SMALL,
    name="tiny",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 16),
        MaxPool("pool1_3x3_s2", 3, 2),
        Inception("inception_4a", 8, 8, 16, 4, 8, 8),
        Inception("inception_4d", 16, 8, 16, 4, 8, 8),
    ),
    auxiliary_heads=(
        AuxiliaryHead("aux1", "inception_4a", "loss1", conv=8, dense=16),
        AuxiliaryHead("aux2", "inception_4d", "loss2", conv=8, dense=16),
    ),
    image_size=SIDE,
)


def build(architecture="tiny", **options):
    """Returns a network for 7 classes as `shake` leaves it."""
    keras.utils.set_random_seed(0)
    return shake(ki.GoogLeNet(architecture=architecture, classes=7, **options))


def shake(model, seed=1):
    """Gives batch normalization and biases values that a training would: none of them is 0 or 1 any more."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.path.rsplit("/", 1)[-1]
            if name in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.6, 1.4, variable.shape))
            elif name in ("beta", "moving_mean", "bias"):
                variable.assign(random.normal(0, 0.2, variable.shape))
    return model
