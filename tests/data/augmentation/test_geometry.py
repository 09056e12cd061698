"""Flips and moves happen as often and as far as they say."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import draw, photograph  # noqa: E402, after the skip

from keras_inception.data.augmentation import augment  # noqa: E402, after the skip
from keras_inception.data.augmentation.geometry import move  # noqa: E402, after the skip
from keras_inception.recipes import Augmentation  # noqa: E402, after the skip


def test_half_of_the_images_are_flipped():
    image = photograph(4, 6)
    found = draw(lambda seed: augment(tf.constant(image), (4, 6, 3), seed, Augmentation(flip=True)), 400)
    flipped = [np.array_equal(one, image[:, ::-1]) for one in found]
    assert all(one or np.array_equal(other, image) for one, other in zip(flipped, found))
    assert abs(sum(flipped) - 200) < 40  # four standard deviations


def centroids(row, column, **options):
    """Moves a dot of a 41x41 image 200 times; returns how far from the centre it comes to lie, `(200, 2)`."""
    image = np.zeros((41, 41, 1), "float32")
    image[row - 1 : row + 2, column - 1 : column + 2] = 90
    found = draw(lambda seed: move(tf.constant(image), seed, Augmentation(**options)), 200)[..., 0]
    return np.stack([(places * found).sum((1, 2)) / found.sum((1, 2)) for places in np.indices((41, 41))], -1) - 20


def test_move_shifts_by_up_to_its_share_of_the_side():
    distance = centroids(20, 20, shift=0.25)
    assert np.all(np.abs(distance) <= 0.25 * 41 + 0.01)
    assert np.all(np.abs(distance).max(0) > 9)
    assert np.all(np.abs(distance.mean(0)) < 1.7)  # four standard deviations of the mean


def test_move_rotates_by_up_to_its_degrees_about_the_centre():
    found = centroids(20, 32, rotation_degrees=30)
    degrees = np.degrees(np.arctan2(found[:, 0], found[:, 1]))
    np.testing.assert_allclose(np.hypot(*found.T), 12, atol=0.1)
    assert 28 < np.abs(degrees).max() <= 30.5
    assert abs(degrees.mean()) < 5


def test_move_zooms_by_up_to_its_share():
    scale = centroids(20, 32, zoom=0.2)[:, 1] / 12
    assert 0.79 < scale.min() < 0.82
    assert 1.18 < scale.max() < 1.21


def test_move_fills_with_the_reflection():
    image = tf.fill((9, 9, 3), 77.0)
    np.testing.assert_allclose(
        draw(lambda seed: move(image, seed, Augmentation(shift=0.5, zoom=0.5)), 5), 77, rtol=1e-6
    )
