"""Augmentation of training images in `tf.data`: crops, flips, colours, RandAugment, MixUp and CutMix.

All randomness is stateless. `example_seed(seed, epoch, position)` gives each image of each epoch a seed of its own, and
an image is a function of its bytes and that seed alone: neither threads, nor workers, nor where a training was
interrupted change a bit of it.

In every function here an image is `(height, width, channels)` with 1 or 3 channels in [0, 255], the result is float32
in [0, 255], `seed` is `(2,)`, int64, as `example_seed` and `batch_seed` return it, and `augmentation` is a
`recipes.augmentation.Augmentation`, whose fields say what happens, how strongly and after whom.

`one_image` takes the steps of `windows`, `geometry`, `randaugment` and `colours` one after the other; `mixing` is for
whole batches; `seeds` gives each image, batch and order its seed.

Keras has layers of many of these names. They do not do the same (measured with Keras 3.15):

- None takes a seed for each example. `call` has no such argument, and `keras.random` takes a whole number, known when
  the pipeline is traced, or a `SeedGenerator`. That is a variable: a parallel `map` reads it in no fixed order (two
  passes with one seed differ), each worker has its own, and a resumed training begins it anew. Draws of our own could
  only go in under the undocumented keys of `transform_images`, and that computes on Keras's backend, which need not be
  TensorFlow.
- No layer draws area and aspect of a crop, decodes only its window, or draws the interpolation.
- `RandomBrightness` adds, `RandomContrast` keeps each channel's mean, `RandomSaturation` and `RandomHue` work in HSV,
  `RandomColorDegeneration` only weakens. What the paper cites multiplies and blends, as Pillow does.
- `Equalization` is up to 21 of 255 off Pillow's. `RandomSharpness` changes the border too. `RandAugment` draws its
  operations once for a batch, and computes all of them.
- `CutMix` keeps the whole box inside the image; its paper puts the centre anywhere.
- `AutoContrast` draws nothing and would do; it saves two lines, and the last bit is another one.

From `tf.image` come the flip, the hue and the resizing, which take an example's seed or none.
"""

from keras_inception.data.augmentation.mixing import mix
from keras_inception.data.augmentation.one_image import augment
from keras_inception.data.augmentation.seeds import batch_seed, example_seed, order_seed, stream_epochs

__all__ = ["augment", "batch_seed", "example_seed", "mix", "order_seed", "stream_epochs"]
