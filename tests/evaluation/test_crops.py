"""The crops of one image, against a second transcription of the paper."""

import keras
import numpy as np
import pytest

from keras_inception.evaluation import crops

# Pillow computes in float64, Keras's backends in float32: of 255, and at edges of noise.
TOLERANCE = 0.05


def noise(height, width, channels=3):
    return np.random.default_rng(height + width).integers(0, 256, (height, width, channels), dtype="uint8")


def resized(image, height, width):
    """Resizes with another engine than the package does."""
    pixels = keras.ops.convert_to_tensor(image.astype("float32"))
    return keras.ops.convert_to_numpy(keras.ops.image.resize(pixels, (height, width), antialias=True))


def paper_144(image):
    """The text of the paper's section 7, sentence by sentence, for 224 pixels."""
    found = []
    height, width, _ = image.shape
    for shorter in (256, 288, 320, 352):
        if width >= height:
            scaled = resized(image, shorter, round(width * shorter / height))
            longer = scaled.shape[1]
            squares = [scaled[:, :shorter], scaled[:, (longer - shorter) // 2 :][:, :shorter], scaled[:, -shorter:]]
        else:
            scaled = resized(image, round(height * shorter / width), shorter)
            longer = scaled.shape[0]
            squares = [scaled[:shorter], scaled[(longer - shorter) // 2 :][:shorter], scaled[-shorter:]]
        for square in squares:
            middle = (shorter - 224) // 2
            for crop in (
                square[:224, :224],
                square[:224, -224:],
                square[-224:, :224],
                square[-224:, -224:],
                square[middle : middle + 224, middle : middle + 224],
                resized(square, 224, 224),
            ):
                found += [crop, np.flip(crop, axis=1)]
    return found


@pytest.mark.parametrize("size", [(75, 100), (100, 75), (300, 280), (64, 64)], ids=["wide", "tall", "large", "square"])
def test_144_crops_are_those_of_the_paper_in_their_documented_order(size):
    image = noise(*size)
    found = crops(image, 144)
    assert (found.shape, found.dtype) == ((144, 224, 224, 3), np.float32)
    for index, expected in enumerate(paper_144(image)):
        np.testing.assert_allclose(found[index], expected, atol=TOLERANCE, err_msg=f"crop {index}")


def test_10_crops_are_the_first_of_the_centre_square_each_before_its_mirror_and_1_is_its_centre():
    image = noise(120, 200)
    squares = crops(image, 144).reshape(4, 3, 6, 2, 224, 224, 3)
    np.testing.assert_array_equal(crops(image, 10), squares[0, 1, :5].reshape(10, 224, 224, 3))
    np.testing.assert_array_equal(crops(image, 1), squares[:1, 1, 4, 0])


@pytest.mark.parametrize("count", [1, 10, 144])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 1), (7, 5, 4), (32, 32, 3)])
def test_an_image_of_any_size_and_one_colour_has_crops_of_that_colour(shape, count):
    found = crops(np.full(shape, 200, "uint8"), count, image_size=32)
    assert found.shape == (count, 32, 32, shape[2])
    np.testing.assert_allclose(found, 200, rtol=1e-6)


def test_integers_and_floats_of_the_same_pixels_have_the_same_crops():
    image = noise(20, 30)
    np.testing.assert_array_equal(crops(image, 10, 16), crops(image.astype("float64"), 10, 16))


def test_crops_of_other_sizes_keep_the_paper_s_proportions():
    # For 32 pixels: 256 * 32 / 224 = 36.57, 41.14, 45.71, 50.29.
    image = noise(40, 60)
    scales = crops(image, 144, 32).reshape(4, 3, 6, 2, 32, 32, 3)[:, 0, 3, 0]
    for shorter, found in zip((37, 41, 46, 50), scales):
        square = resized(image, shorter, round(60 * shorter / 40))[:, :shorter]
        np.testing.assert_allclose(found, square[-32:, -32:], atol=TOLERANCE)


@pytest.mark.parametrize("count", [0, 2, 12, -1, None, "10"])
def test_other_numbers_of_crops_are_refused(count):
    with pytest.raises(ValueError, match=r"`crops` must be 1, 10 .* or 144 .*\. Received: crops="):
        crops(noise(9, 9), count)


@pytest.mark.parametrize("shape", [(9, 9), (0, 9, 3), (2, 9, 9, 3)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"`\(height, width, channels\)` with pixels. Received: image.shape="):
        crops(np.zeros(shape, "uint8"), 10)
