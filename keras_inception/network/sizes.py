"""Which images are too small for a network, whose rows and heads need larger ones, or too large for the memory."""

import math
import os
from collections.abc import Sequence

from keras_inception.architectures import Architecture, AuxiliaryHead
from keras_inception.errors import InputError
from keras_inception.network import blocks
from keras_inception.types import Shape


def minimum_image_size(architecture: Architecture, auxiliary_heads: Sequence[AuxiliaryHead]) -> int:
    """Returns the smallest height and width, in pixels, of images for a network with these auxiliary heads.

    Raises:
        InputError: The rows fit no image of up to 65536x65536.
    """
    taps = {head.tap for head in auxiliary_heads if head.pool != "adaptive_4x4"}

    def fits(size: int) -> bool:
        for row in architecture.rows:
            size = blocks.output_size(row, size, architecture)
            if size < (5 if row.name in taps else 1):
                return False
        return True

    smallest = next((size for size in range(1, 65537) if fits(size)), None)
    if smallest is None:
        raise InputError(
            "The rows of an architecture must fit into images of up to 65536x65536: use fewer strides, or smaller "
            f"windows. Received: architecture={architecture.name!r}"
        )
    return smallest


def check_memory(
    architecture: Architecture, auxiliary_heads: Sequence[AuxiliaryHead], shape: Shape, classes: int, images: int = 1
) -> None:
    """Refuses what this machine has no memory for: the images of one step, and the weights that images' sizes decide.

    It counts float32 numbers, and neither maps nor gradients: what it lets through may still be too large.

    Args:
        architecture: The network.
        auxiliary_heads: Its auxiliary heads; those that flatten their map have weights for each place in it.
        shape: That of an image, in the order of `keras.config.image_data_format()`.
        classes: The number of classes; 0 without heads.
        images: The number of images in a step.

    Raises:
        InputError: It needs more memory than there is.
    """
    numbers = images * math.prod(length or 1 for length in shape)
    size = shape[1:] if blocks.channel_axis() == 1 else shape[:2]
    for head in auxiliary_heads:
        places, lengths = 16, [length or 0 for length in size]
        if head.pool != "adaptive_4x4":
            for row in architecture.rows[: [row.name for row in architecture.rows].index(head.tap) + 1]:
                lengths = [blocks.output_size(row, length, architecture) for length in lengths]
            places = math.prod((length - 5) // 3 + 1 for length in lengths)
        numbers += head.dense * (head.conv * places + classes)
    there = memory()
    if 4 * numbers > there:
        raise InputError(
            f"A network of this size needs more than {4 * numbers / 2**30:,.0f} GiB of memory for {images} of its "
            f"images and its heads, and this machine has {there / 2**30:,.0f}. Use "
            f"{'smaller batches, ' if images > 1 else ''}smaller images, `aux_heads=False`, or fewer classes. "
            f"Received: images of shape {shape}, classes={classes}"
        )


def memory() -> float:
    """Returns the size of this machine's memory in bytes; infinity where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no `sysconf`
        return math.inf
