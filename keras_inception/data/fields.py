"""Numbers that stand at known places among the bytes of a file, in TensorFlow operations, few of them.

Each pass over a dataset prepares all operations of its functions anew, the rarely used ones as well, at one to three
tenths of a millisecond each: one product with a matrix reads all numbers of a header.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_inception.types import Tensor


def first_bytes(encoded: Tensor, count: int) -> Tensor:
    """Returns the first bytes of a file, `(count,)`, int64; a shorter one ends in zeros."""
    return bytes_at(encoded + b"\0" * count, 0, count)


def bytes_at(encoded: Tensor, at: Tensor | int, count: int) -> Tensor:
    """Returns so many bytes of a file, which must have them, `(count,)`, int64."""
    part = tf.io.decode_raw(tf.strings.substr(encoded, at, count), tf.uint8)
    return tf.ensure_shape(tf.cast(part, tf.int64), (count,))


def numbers(data: Tensor, places: Sequence[tuple[int, int]], little_endian: Tensor | bool = True) -> Tensor:
    """Returns the numbers that some of the bytes make.

    Args:
        data: `(..., bytes)`, int64, their last dimension known.
        places: Of each number, where it begins and how many bytes it has, at most 4.
        little_endian: Whether the lowest byte comes first.

    Returns:
        `(..., len(places))`, int64.
    """
    little, big = np.zeros((2, len(places), data.shape[-1]), np.int64)
    for row, (start, count) in enumerate(places):
        little[row, start : start + count] = 256 ** np.arange(count)
        big[row, start : start + count] = little[row, start : start + count][::-1]
    known = little if little_endian is True else big
    return tf.linalg.matvec(known if isinstance(little_endian, bool) else tf.where(little_endian, little, big), data)
