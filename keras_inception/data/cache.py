"""Decoded images that are kept for the epochs after the first, in memory or in files, and whether they fit there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import tensorflow as tf

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.types import PathLike, Tensor

MEMORY: str = "memory"
MEMORY_SHARE: float = 3 / 4  # of the memory that is free; the rest is left to the network


class Cache:
    """Keeps each image, decoded, when it is first read; the pixels are the same from then on.

    Args:
        place: `"memory"`, or a folder in which each image becomes a file. It is made when the first image is read, is
            not removed, and must hold nothing of other images.
    """

    def __init__(self, place: PathLike) -> None:
        self.folder: Path | None = None if place == MEMORY else files.named(place, "cache")
        with tf.init_scope(), tf.device("CPU:0"):
            # By key the image, or the file that it stands in: that it is there says that it was written whole.
            self._kept = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, "")

    def image(self, key: Tensor, decode: Callable[[int], Tensor], channels: int) -> Tensor:
        """Returns an image, `(height, width, channels)`, uint8.

        Args:
            key: What tells it from others, a scalar int64.
            decode: Function of the number of channels that returns it where it is not kept yet.
            channels: That number.
        """
        found = self._kept.lookup(key)

        def kept() -> Tensor:
            return tf.io.parse_tensor(found if self.folder is None else tf.io.read_file(found), tf.uint8)

        def read() -> Tensor:
            image = decode(channels)
            value = tf.io.serialize_tensor(image)
            if self.folder is not None:
                number = tf.strings.as_string([key // 1000, key])
                path = tf.strings.join([os.fsencode(self.folder), *tf.unstack(number)], "/")
                with tf.control_dependencies([tf.io.write_file(path, value)]):
                    value = tf.identity(path)
            with tf.control_dependencies([self._kept.insert(key, value)]):
                return tf.identity(image)

        image = tf.cond(tf.equal(found, ""), read, kept)
        image.set_shape((None, None, channels))
        return image

    def check_room(self, size: int) -> None:
        """Refuses images of this size, in bytes, where there is no room for them.

        Raises:
            InputError: There is not.
        """
        if self.folder is None:
            room, where = psutil.virtual_memory().available * MEMORY_SHARE, "of this machine's memory"
            way_out = "Keep them on disk, or use smaller images"
        else:
            existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
            room, where = shutil.disk_usage(existing).free, f"on the disk of {self.folder}"
            way_out = "Make room there, or use smaller images"
        if size > room:
            raise InputError(
                f"The decoded images need about {size / 2**30:,.1f} GiB, and {room / 2**30:,.1f} GiB {where} are free "
                f"for them. {way_out}, or leave out `cache`. Received: cache={str(self.folder or MEMORY)!r}"
            )
