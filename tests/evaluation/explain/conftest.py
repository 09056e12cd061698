"""A tiny network with three heads whose maps are as large as its images, so that nothing is scaled."""

import dataclasses

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead, Conv, Inception

TINY = dataclasses.replace(
    architectures.GOOGLENET_BN,
    name="tiny",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 8),
        Inception("inception_4a", 4, 4, 8, 2, 4, 4),
        Inception("inception_4d", 4, 4, 8, 2, 4, 4),
        Inception("inception_5b", 8, 4, 8, 2, 4, 4),
    ),
    auxiliary_heads=(
        AuxiliaryHead("aux1", "inception_4a", "loss1", conv=8, dense=16),
        AuxiliaryHead("aux2", "inception_4d", "loss2", conv=8, dense=16),
    ),
    image_size=8,
)


@pytest.fixture
def build():
    """Returns `build(*auxiliary_heads, **options)`, the tiny network with seeded weights; by default with its heads."""

    def build(*auxiliary_heads, **options):
        keras.utils.set_random_seed(0)
        architecture = dataclasses.replace(TINY, auxiliary_heads=auxiliary_heads or TINY.auxiliary_heads)
        options = {"input_shape": (8, 8, 3), "class_names": ["ant", "bee", "cow"], **options}
        model = ki.GoogLeNet(architecture=architecture, classes=3, **options)
        for layer in model.layers:  # statistics and biases as after a training
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.moving_mean.assign(np.random.default_rng(1).normal(0, 0.1, layer.moving_mean.shape))
        return model

    return build


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype("float32")
