"""Augmentation of training images in `tf.data`: crops, flips, colours, RandAugment, MixUp and CutMix.

All randomness is stateless. `example_seed(seed, epoch, position)` gives each image of each epoch a seed of its own, and
an image is a function of its bytes and that seed alone: neither threads, nor workers, nor where a training was
interrupted change a bit of it.

Images are `(height, width, channels)` with 1 or 3 channels, in [0, 255].

`recipe.Augmentation` says what may happen; `seeds` gives each image its seed; `windows`, `geometry`, `colours` and
`randaugment` are the steps, and `one_image` takes them one after the other; `batches` mixes whole batches.
"""

from keras_inception.data.augmentation.colours import (
    IMAGENET_EIGENVALUES,
    IMAGENET_EIGENVECTORS,
    add_lighting,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    distort_colours,
)
from keras_inception.data.augmentation.geometry import GREY, flip, move, rotate, shear, translate
from keras_inception.data.augmentation.mixing import cut_mix, mix, mix_up
from keras_inception.data.augmentation.one_image import augment
from keras_inception.data.augmentation.randaugment import (
    OPERATIONS,
    auto_contrast,
    equalize,
    posterize,
    rand_augment,
    sharpen,
    solarize,
)
from keras_inception.data.augmentation.seeds import batch_seed, example_seed, order_seed, stream_epochs
from keras_inception.data.augmentation.windows import decode_window, random_window, resize_randomly
from keras_inception.recipes.augmentation import NONE, PAPER, Augmentation

__all__ = [
    "GREY", "IMAGENET_EIGENVALUES", "IMAGENET_EIGENVECTORS", "NONE", "OPERATIONS", "PAPER", "Augmentation",
    "add_lighting", "adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation", "augment",
    "auto_contrast", "batch_seed", "cut_mix", "decode_window", "distort_colours", "equalize", "example_seed", "flip",
    "mix", "mix_up", "move", "order_seed", "posterize", "rand_augment", "random_window", "resize_randomly", "rotate",
    "sharpen", "shear", "solarize", "stream_epochs", "translate",
]  # fmt: skip
