"""A GoogLeNet in small, whose trials take a second, and plain data for it."""

import dataclasses

import numpy as np

from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead, Conv, Inception, MaxPool

TINY = dataclasses.replace(
    architectures.GOOGLENET_SMALL,
    name="tiny",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 8),
        MaxPool("pool1_3x3_s2", 3, 2),
        Inception("inception_4a", 8, 8, 8, 8, 8, 8),
        Conv("conv4_3x3", 3, 1, 8),
    ),
    auxiliary_heads=(
        AuxiliaryHead("aux1", "inception_4a", "loss1", conv=4, dense=8),
        AuxiliaryHead("aux2", "conv4_3x3", "loss2", conv=4, dense=8),
    ),
    image_size=10,
)


def images_and_labels(count=24):
    """Returns dark and light images of 10x10 pixels, preprocessed, and their classes."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (count, 10, 10, 3))
    return (noise + np.where(labels, 0.5, -0.5)[:, None, None, None]).astype("float32"), labels
