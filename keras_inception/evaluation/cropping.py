"""The crops of one image that are scored together: 1, Krizhevsky's 10, or the 144 of the paper."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from keras_inception.errors import InputError
from keras_inception.types import Array

# The shorter sides that the paper resizes to, for crops of 224 pixels.
SCALES: tuple[int, ...] = (256, 288, 320, 352)
CROP: int = 224

CROPS: tuple[int, ...] = (1, 10, 144)


def crops(image: Array, crops: int, image_size: int = CROP) -> Array:
    """Cuts the crops of one image whose softmaxes are averaged when a model is tested.

    1 is the centre of the image at the first scale. 10 are Krizhevsky's: of the centre square at the first scale the
    four corners and the centre, each followed by its mirror. 144 are the paper's: 4 scales, the shorter side resized to
    256, 288, 320 and 352; of each scale 3 squares, left, centre and right, or top, centre and bottom; of each square 6
    crops, its four corners, its centre, and the square itself resized; each followed by its mirror.
    `result.reshape(4, 3, 6, 2, ...)` tells them apart. The corners are top left, top right, bottom left, bottom right.

    Each scale is resized from the original image, antialiased and bilinear; the square of the sixth crop is resized
    from its scale, as the paper says it.

    Args:
        image: `(height, width, channels)`, pixels of any size, number of channels and numeric type, in [0, 255].
        crops: 1, 10 or 144.
        image_size: Height and width of a crop in pixels. The scales keep their proportion to it, rounded: 256 is 8/7
            of it.

    Returns:
        `(crops, image_size, image_size, channels)`, float32 in [0, 255], not preprocessed.

    Raises:
        InputError: There is no such number of crops, or `image` is no image.

    Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, section 7; Krizhevsky et al., ImageNet
        Classification with Deep Convolutional Neural Networks, 2012, section 4.1.
    """
    return np.stack(list(each(image, crops, image_size)))


def each(image: Array, crops: int, image_size: int) -> Iterator[Array]:
    """Yields one by one what `crops` returns; of a long image only the squares are resized.

    Args and errors are those of `crops`.
    """
    check_crops(crops)
    image = np.asarray(image)
    if image.ndim != 3 or 0 in image.shape:
        raise InputError(
            f"An image must be an array `(height, width, channels)` with pixels. Received: image.shape={image.shape}"
        )
    planes = [Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0).astype("float32")]  # as Pillow has floats
    for scale in SCALES if crops == 144 else SCALES[:1]:
        side = round(scale * image_size / CROP)
        for position in (0, 0.5, 1) if crops == 144 else (0.5,):
            box = _square(image.shape[0], image.shape[1], side, position)
            square = [plane.resize((side, side), Image.Resampling.BILINEAR, box) for plane in planes]
            for crop in _of_square(square, image_size, crops):
                yield crop
                if crops > 1:
                    yield crop[:, ::-1]


def check_crops(crops: int) -> None:
    """Refuses a number of crops that there is not.

    Raises:
        InputError: It is not 1, 10 or 144.
    """
    if crops not in CROPS:
        raise InputError(
            f"`crops` must be 1, 10 (corners, centre and mirrors) or 144 (the paper's). Received: crops={crops!r}"
        )


def _square(height: int, width: int, side: int, position: float) -> tuple[float, float, float, float]:
    """Returns where a square of a scaled image lies in the original: left, top, right, bottom, in its pixels.

    Args:
        height: Of the original.
        width: Of the original.
        side: The shorter side after scaling, and so that of the square.
        position: 0 for left or top, 0.5 for the centre, 1 for right or bottom.
    """
    short, long = sorted((height, width))
    length = round(long * side / short)  # of the scaled image, whose pixels are whole
    pixel = int(position * (length - side))
    start, end = pixel * long / length, min((pixel + side) * long / length, long)
    return (start, 0, end, short) if width == long else (0, start, short, end)


def _of_square(square: list[Image.Image], image_size: int, crops: int) -> Iterator[Array]:
    """Yields the crops of a scaled square, a list of planes, without their mirrors."""
    pixels = _stack(square)
    edge = len(pixels) - image_size
    corners = [(top, left) for top in (0, edge) for left in (0, edge)] if crops > 1 else []
    for top, left in [*corners, (edge // 2, edge // 2)]:
        yield pixels[top : top + image_size, left : left + image_size]
    if crops == 144:
        yield _stack([plane.resize((image_size, image_size), Image.Resampling.BILINEAR) for plane in square])


def _stack(planes: list[Image.Image]) -> Array:
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
