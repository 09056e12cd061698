"""A small network, and original images of many sizes."""

import numpy as np
import pytest
from linear_network import CLASSES, build


@pytest.fixture
def model():
    return build(1)


@pytest.fixture
def originals():
    """Six pairs of a smooth random image, upright and across, and a label."""
    random = np.random.default_rng(3)
    pairs = []
    for index in range(6):
        height, width = random.integers(9, 60, 2)
        coarse = random.integers(0, 256, (3, 3, 3)).astype("uint8")
        pairs.append((coarse.repeat(-(-height // 3), 0).repeat(-(-width // 3), 1)[:height, :width], index % CLASSES))
    return pairs
