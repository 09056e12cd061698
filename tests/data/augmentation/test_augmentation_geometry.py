"""Flips and moves happen as often and as far as they say."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import draw, photograph  # noqa: E402, after the skip

from keras_inception.data import augmentation  # noqa: E402, after the skip

pytestmark = pytest.mark.slow  # hundreds of draws, to see distributions


def test_half_of_the_images_are_flipped():
    image = tf.constant(photograph(4, 6))
    found = draw(lambda seed: augmentation.flip(image, seed), 400)
    flipped = [np.array_equal(one, image[:, ::-1]) for one in found]
    assert all(one or np.array_equal(other, image) for one, other in zip(flipped, found))
    assert abs(sum(flipped) - 200) < 40  # four standard deviations


def centroid(image):
    rows, columns = np.indices(image.shape[:2])
    weights = image[..., 0] / image.sum()
    return float((rows * weights).sum()), float((columns * weights).sum())


def dot(row, column, side=41):
    image = np.zeros((side, side, 1), "float32")
    image[row - 1 : row + 2, column - 1 : column + 2] = 90
    return tf.constant(image)


def test_move_shifts_by_up_to_its_share_of_the_side():
    found = np.array([centroid(x) for x in draw(lambda seed: augmentation.move(dot(20, 20), seed, shift=0.25), 200)])
    distance = found - 20
    assert np.all(np.abs(distance) <= 0.25 * 41 + 0.01)
    assert np.all(np.abs(distance).max(0) > 9)
    assert np.all(np.abs(distance.mean(0)) < 1.7)  # four standard deviations of the mean


def test_move_rotates_by_up_to_its_degrees_about_the_centre():
    found = draw(lambda seed: augmentation.move(dot(20, 32), seed, rotation_degrees=30), 200)
    found = np.array([centroid(x) for x in found]) - 20
    degrees = np.degrees(np.arctan2(found[:, 0], found[:, 1]))
    np.testing.assert_allclose(np.hypot(*found.T), 12, atol=0.1)
    assert 28 < np.abs(degrees).max() <= 30.5
    assert abs(degrees.mean()) < 5


def test_move_zooms_by_up_to_its_share():
    found = draw(lambda seed: augmentation.move(dot(20, 32), seed, zoom=0.2), 200)
    scale = (np.array([centroid(x) for x in found])[:, 1] - 20) / 12
    assert 0.79 < scale.min() < 0.82
    assert 1.18 < scale.max() < 1.21


def test_move_fills_with_the_reflection():
    image = tf.fill((9, 9, 3), 77.0)
    np.testing.assert_allclose(draw(lambda seed: augmentation.move(image, seed, shift=0.5, zoom=0.5), 5), 77, rtol=1e-6)
