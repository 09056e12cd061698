"""Images and labels for training: the bundled digits, any TFDS dataset, and folders of images."""

from keras_inception.data.images import decode, resize, to_input
from keras_inception.data.loading import Data, choose_image_size, load

__all__ = ["Data", "choose_image_size", "decode", "load", "resize", "to_input"]
