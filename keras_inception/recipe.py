"""How a network is trained, as data, and the optimizer that comes of it."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Recipe:
    """A way of training.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: The highest rate, which Adam reaches after the warm-up.
        warmup_fraction: Share of all steps in which the rate rises linearly from near 0, in [0, 1).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float


# Ours, for small data: Adam, warm-up, then cosine to 0. The paper's SGD needs an initial rate that it does not give;
# without the warm-up, Adam at this rate leaves the deep heads of the LRN graph at ln(classes) for several epochs.
QUICK = Recipe(epochs=12, batch_size=32, learning_rate=5e-4, warmup_fraction=0.1)


# Ours too: for `fit` without a schedule, low enough to need no warm-up.
CONSTANT_RATE = 3e-4


def optimizer(recipe, steps):
    """Returns the recipe's optimizer for a training of `steps` steps in all."""
    warmup = round(recipe.warmup_fraction * steps)
    peak = recipe.learning_rate
    schedule = (
        keras.optimizers.schedules.CosineDecay(peak / warmup, steps - warmup, warmup_target=peak, warmup_steps=warmup)
        if warmup
        else keras.optimizers.schedules.CosineDecay(peak, steps)
    )
    return keras.optimizers.Adam(schedule)
