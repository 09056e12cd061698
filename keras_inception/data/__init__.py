"""Images and labels for training: the bundled digits, any TFDS dataset, and folders of images."""

from keras_inception.data.loading import Data, decode, load, resize, to_input

__all__ = ["Data", "decode", "load", "resize", "to_input"]
