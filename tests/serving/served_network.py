"""The small network of these tests, as if it were trained, and images for it."""

import dataclasses

import keras
import numpy as np

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead, Conv, Inception, MaxPool

SIDE = 16
IMAGE = (SIDE, SIDE, 3)
FEATURES = 48
CLASS_NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]

# GoogLeNet in small: batch normalization, and two auxiliary heads that cut it into three stages.
SERVED = dataclasses.replace(
    architectures.GOOGLENET_SMALL,
    name="served",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 16),
        MaxPool("pool1_3x3_s2", 3, 2),
        Inception("inception_4a", 8, 8, 16, 4, 8, 8),
        Inception("inception_4b", 8, 8, 16, 4, 8, 8),
        Inception("inception_4d", 8, 8, 16, 4, 8, 8),
        Inception("inception_4e", 16, 8, 16, 4, 8, 8),
    ),
    auxiliary_heads=(
        AuxiliaryHead("aux1", "inception_4a", "loss1", conv=8, dense=16),
        AuxiliaryHead("aux2", "inception_4d", "loss2", conv=8, dense=16),
    ),
    image_size=SIDE,
)


def with_heads(*taps):
    """Returns the architecture with heads of their own names on these rows, whose losses weigh 0.4."""
    heads = (
        AuxiliaryHead(f"head{index}", tap, f"tap{index}", conv=8, dense=16, loss_weight=0.4)
        for index, tap in enumerate(taps)
    )
    return dataclasses.replace(SERVED, name="other_heads", auxiliary_heads=tuple(heads))


def build(architecture=SERVED, seed=1, **options):
    """Returns a network for 7 classes whose batch normalization and biases have values that a training would give."""
    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(architecture=architecture, **{"classes": 7, **options})
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.path.rsplit("/", 1)[-1]
            if name in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.6, 1.4, variable.shape))
            elif name in ("beta", "moving_mean", "bias"):
                variable.assign(random.normal(0, 0.2, variable.shape))
    return model


def random_pixels(count, seed=1):
    """Returns images of 16 patches of one colour each, which differ enough to leave at different heads."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), "uint8")
    return colours.repeat(4, axis=1).repeat(4, axis=2)


def random_images(count, seed=1):
    """Returns the same images preprocessed."""
    return ki.preprocess_input(random_pixels(count, seed))
