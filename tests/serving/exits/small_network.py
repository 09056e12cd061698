"""The small network of these tests, random images for it, and labels that its heads get right."""

import dataclasses

import keras
import numpy as np

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead, Conv, Inception

IMAGE = (6, 6, 3)
CLASSES = 5

# GoogLeNet in small: three stages, two auxiliary heads at the places of the paper, batch normalization.
SMALL = dataclasses.replace(
    architectures.GOOGLENET_SMALL,
    name="small",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 8),
        Inception("inception_4a", 4, 4, 8, 2, 4, 4),
        Inception("inception_4b", 4, 4, 8, 2, 4, 4),
        Inception("inception_4d", 4, 4, 8, 2, 4, 4),
        Inception("inception_4e", 8, 4, 8, 2, 4, 4),
    ),
    auxiliary_heads=(
        AuxiliaryHead("aux1", "inception_4a", "loss1", conv=8, dense=16),
        AuxiliaryHead("aux2", "inception_4d", "loss2", conv=8, dense=16),
    ),
    image_size=6,
)
# A layer that only rows of this stage reach.
STAGE_LAYERS = {"aux1": "conv1_3x3_s1", "aux2": "inception_4b_1x1", "main": "inception_4e_1x1"}


def random_images(count, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *IMAGE)).astype("float32")


def build(classes=CLASSES, **kwargs):
    keras.utils.set_random_seed(0)
    return ki.GoogLeNet(architecture="small", input_shape=IMAGE, classes=classes, **kwargs)


def quantiles(answers, **shares):
    """Returns thresholds that these shares of the images reach."""
    return {head: float(np.quantile(answers[head].max(axis=1), 1 - share)) for head, share in shares.items()}


def leaves_at(answers, thresholds, count):
    """Says where each image leaves, one by one."""
    found = []
    for row in range(count):
        sure = [name for name in ("aux1", "aux2") if answers[name][row].max() >= thresholds.get(name, 2)]
        found.append(sure[0] if sure else "main")
    return found
