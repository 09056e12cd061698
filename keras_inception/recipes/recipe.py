"""Recipes: how a network is trained, as data.

A value without a source is ours. The optimizer of a recipe is made in `training.optimizers`, its images in
`data.augmentation`.
"""

from dataclasses import dataclass, field
from typing import Any

from keras_inception.errors import InputError, did_you_mean, shown
from keras_inception.recipes.augmentation import PAPER_DISTORTIONS, Augmentation
from keras_inception.rules import (
    ABOVE_0,
    COUNT,
    FROM_0,
    MAYBE_TEXT,
    SHARE,
    between,
    check,
    is_number,
    maybe,
    one_of,
    rule,
)

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "exponential", "polynomial", "cosine")
AUX_LOSS_SCHEDULES = ("constant", "linear", "cosine")


def _are_weights(value: Any) -> bool:
    return isinstance(value, tuple) and all(is_number(weight, 0) for weight in value) and sum(value) > 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimizer, schedule, regularization and augmentation of a training.

    Attributes:
        name: What it is called.
        epochs: Passes over the training images, at least 1.
        batch_size: Images per step over all devices, at least 1.
        optimizer: "sgd", or "adam" (AdamW where there is a weight decay).
        learning_rate: The highest learning rate, above 0.
        momentum: Momentum of "sgd", in [0, 1); 0.9 for "adam" always.
        schedule: How the learning rate falls: "constant"; "exponential", by `decay_rate` every `decay_epochs` in steps;
            "polynomial", as (1 - step / steps) to the power `decay_power`; "cosine", to 0.
        decay_rate: Factor of "exponential", in (0, 1].
        decay_epochs: Epochs between two falls of "exponential", above 0.
        decay_power: Power of "polynomial", above 0.
        warmup_fraction: Share of all steps in which the rate rises linearly from near 0, in [0, 1).
        weight_decay: Its strength, at least 0; it spares biases and normalization. For "sgd" it is added to the
            gradient (Caffe's), for "adam" it is decoupled from it (AdamW's).
        bias_rate: The rate of the biases as a multiple of the others', above 0; other than 1 for "sgd" alone.
        ema_epochs: Time constant, in epochs, of the moving average of the weights that validation, the model file and
            the end of the training take (Polyak averaging); 0 for none.
        label_smoothing: Share of each label that is spread evenly over all classes, in [0, 1).
        distillation: Share, from 0 to 1, of the main head's softmax in what the auxiliary heads learn, beside the
            labels (self-distillation, Zhang et al. 2019); 0 for labels alone.
        distillation_temperature: What the logits of both heads are divided by for it, above 0: the higher, the more
            the less likely classes count (Hinton et al. 2015).
        loss_weights: Weights of the losses of the main head and of the architecture's auxiliary heads, in its order, at
            least 0; by default the architecture's own (paper: 1, 0.3, 0.3).
        aux_loss_schedule: How the weights of the auxiliary losses fall: "constant", not at all; "linear" or "cosine",
            over all steps to 0. What `evaluate` and validation call the loss has the whole weights.
        kernel_initializer: What all kernels begin with, by Keras's names: "lecun_uniform" (what Caffe calls xavier), or
            with arguments "random_normal(stddev=0.01)"; by default He's normal, Glorot's uniform in the classifiers.
        bias_initializer: What the biases of convolutions and of the auxiliary heads' hidden layers begin with, such as
            "constant(value=0.2)", which is BVLC's; by default 0.
        augmentation: What happens to the training images.

    Raises:
        InputError: A field is out of range.
    """

    name: str = field(metadata=rule("a text", lambda value: isinstance(value, str)))
    epochs: int = field(metadata=COUNT)
    batch_size: int = field(metadata=COUNT)
    optimizer: str = field(metadata=one_of(OPTIMIZERS))
    learning_rate: float = field(metadata=ABOVE_0)
    schedule: str = field(metadata=one_of(SCHEDULES))
    momentum: float = field(default=0.9, metadata=SHARE)
    decay_rate: float = field(
        default=0.96, metadata=rule("above 0 and at most 1", lambda value: is_number(value, 0, 1) and value > 0)
    )
    decay_epochs: float = field(default=8.0, metadata=ABOVE_0)
    decay_power: float = field(default=0.5, metadata=ABOVE_0)
    warmup_fraction: float = field(default=0.0, metadata=SHARE)
    weight_decay: float = field(default=0.0, metadata=FROM_0)
    bias_rate: float = field(default=1.0, metadata=ABOVE_0)
    ema_epochs: float = field(default=0.0, metadata=FROM_0)
    label_smoothing: float = field(default=0.0, metadata=SHARE)
    distillation: float = field(default=0.0, metadata=between(0, 1))
    distillation_temperature: float = field(default=3.0, metadata=ABOVE_0)
    loss_weights: tuple[float, ...] | None = field(
        default=None, metadata=maybe("numbers of at least 0, not all 0, in the order of the heads", _are_weights)
    )
    aux_loss_schedule: str = field(default="constant", metadata=one_of(AUX_LOSS_SCHEDULES))
    kernel_initializer: str | None = field(default=None, metadata=MAYBE_TEXT)
    bias_initializer: str | None = field(default=None, metadata=MAYBE_TEXT)
    augmentation: Augmentation = field(
        default_factory=Augmentation,
        metadata=rule("an `Augmentation`", lambda value: isinstance(value, Augmentation)),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.optimizer != "sgd" and self.bias_rate != 1:
            raise InputError(f'`bias_rate` needs `optimizer="sgd"`. Received: bias_rate={self.bias_rate}')


# Going Deeper with Convolutions, sections 5 and 6: momentum 0.9, the rate lowered by 4% every 8 epochs, Polyak
# averaging, its distortions of the images. It names neither rate, batch size, number of epochs nor averaging
# constant: rate and batch size are BVLC's, the other two are ours.
PAPER = Recipe(
    name="paper",
    epochs=120,
    batch_size=32,  # BVLC's
    optimizer="sgd",
    learning_rate=0.01,  # BVLC's
    momentum=0.9,
    schedule="exponential",
    decay_rate=0.96,
    decay_epochs=8,
    ema_epochs=1,
    augmentation=PAPER_DISTORTIONS,
)

# BVLC Caffe, models/bvlc_googlenet: solver.prototxt and train_val.prototxt. There, images are 256x256, of which 224x224
# are cut out anywhere, and mirrored. The initial weights are this package's; BVLC's are `kernel_initializer` of
# "lecun_uniform" and `bias_initializer` of "constant(value=0.2)".
BVLC = Recipe(
    name="bvlc",
    epochs=60,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.9,
    schedule="polynomial",
    decay_power=0.5,
    weight_decay=2e-4,
    bias_rate=2,
    augmentation=Augmentation(crop_area=((224 / 256) ** 2,) * 2, crop_aspect=(1.0, 1.0), flip=True),
)

# Touvron et al., Training data-efficient image transformers (DeiT), table 9, where nothing else is said: 300 epochs,
# AdamW with a decay of 0.05, 5 epochs of warm-up, cosine, label smoothing 0.1 (Szegedy et al., Rethinking the Inception
# Architecture, section 7), RandAugment. Batch size, rate (DeiT's for 512 images), the averaging constant and the milder
# RandAugment of Cubuk et al. are what suits this far smaller network, and ours. MixUp (0.2) and CutMix (1) are there to
# be switched on.
MODERN = Recipe(
    name="modern",
    epochs=300,
    batch_size=128,
    optimizer="adam",
    learning_rate=5e-4,
    schedule="cosine",
    warmup_fraction=5 / 300,
    weight_decay=0.05,
    ema_epochs=2,
    label_smoothing=0.1,
    augmentation=Augmentation(crop_area=(0.08, 1.0), flip=True, randaugment=(2, 9)),
)

# Ours, for small data: Adam, warm-up, then cosine to 0. Without the warm-up, Adam at this rate leaves the deep heads of
# the LRN graph at ln(classes) for several epochs.
QUICK = Recipe(
    name="quick",
    epochs=12,
    batch_size=32,
    optimizer="adam",
    learning_rate=5e-4,
    schedule="cosine",
    warmup_fraction=0.1,
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (QUICK, PAPER, BVLC, MODERN)}


def get(recipe: str | Recipe) -> Recipe:
    """Returns the recipe of a name, or the record itself.

    Raises:
        InputError: There is none of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise InputError(
            f"`recipe` must be a `Recipe` or one of {', '.join(RECIPES)}. {did_you_mean(recipe, RECIPES)}"
            f"Received: recipe={shown(recipe)}"
        )
    return RECIPES[recipe]
