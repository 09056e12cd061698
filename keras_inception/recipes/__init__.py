"""How a network is trained, as data: recipes and augmentations. Standard library only."""

from keras_inception.recipes.augmentation import PAPER_DISTORTIONS, Augmentation
from keras_inception.recipes.recipe import (
    AUX_LOSS_SCHEDULES,
    BVLC,
    MODERN,
    OPTIMIZERS,
    PAPER,
    QUICK,
    RECIPES,
    SCHEDULES,
    Recipe,
    get,
)

__all__ = [
    "AUX_LOSS_SCHEDULES",
    "BVLC",
    "MODERN",
    "OPTIMIZERS",
    "PAPER",
    "PAPER_DISTORTIONS",
    "QUICK",
    "RECIPES",
    "SCHEDULES",
    "Augmentation",
    "Recipe",
    "get",
]
