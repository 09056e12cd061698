"""Images and labels for training: the bundled digits, any TFDS dataset, and folders of images."""

from typing import TYPE_CHECKING

from keras_inception.lazy import Importer, importer

if TYPE_CHECKING:
    from keras_inception.data.collection import fingerprint, repairable, without
    from keras_inception.data.decoding import decode
    from keras_inception.data.folder import BadImagesError
    from keras_inception.data.images import resize, to_input
    from keras_inception.data.loading import Data, choose_image_size, load

__all__ = [
    "BadImagesError",
    "Data",
    "choose_image_size",
    "decode",
    "fingerprint",
    "load",
    "repairable",
    "resize",
    "to_input",
    "without",
]

# What reads one image is imported without what reads a training's.
__getattr__: Importer = importer(
    globals(),
    {
        ".collection": ("fingerprint", "repairable", "without"),
        ".decoding": ("decode",),
        ".folder": ("BadImagesError",),
        ".images": ("resize", "to_input"),
        ".loading": ("Data", "choose_image_size", "load"),
    },
)
