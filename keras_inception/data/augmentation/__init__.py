"""Augmentation of training images in `tf.data`: crops, flips, colours, RandAugment, MixUp and CutMix.

All randomness is stateless. `example_seed(seed, epoch, position)` gives each image of each epoch a seed of its own, and
an image is a function of its bytes and that seed alone: neither threads, nor workers, nor where a training was
interrupted change a bit of it.

In every function here an image is `(height, width, channels)` with 1 or 3 channels in [0, 255], the result is float32
in [0, 255], `seed` is `(2,)`, int64, as `example_seed` and `batch_seed` return it, and `augmentation` is a
`recipes.augmentation.Augmentation`, whose fields say what happens, how strongly and after whom.

Keras's layers of many of these names (measured with Keras 3.15) take no seed for each example: a `SeedGenerator` is a
variable that a parallel `map` reads in no fixed order, each worker has its own, and a resumed training begins it anew.
Nor do they do the same: none draws area and aspect of a crop or decodes only its window, colours are not multiplied and
blended as what the paper cites does, `Equalization` is up to 21 of 255 off Pillow's, `RandAugment` draws once for a
batch, and `CutMix` keeps the box inside the image. From `tf.image` come the flip, the hue and the resizing.
"""

from keras_inception.data.augmentation.mixing import mix
from keras_inception.data.augmentation.seeds import batch_seed, example_seed, order_seed, stream_epochs
from keras_inception.data.augmentation.windows import augment

__all__ = ["augment", "batch_seed", "example_seed", "mix", "order_seed", "stream_epochs"]
