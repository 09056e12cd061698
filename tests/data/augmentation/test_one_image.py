"""All steps together keep shape, type and range."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import STRONG, augmented, draw, encode, photograph, seed_of  # noqa: E402, after the skip

from keras_inception.data.augmentation import augment  # noqa: E402, after the skip
from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation  # noqa: E402, after the skip


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_augmented_images_keep_shape_type_and_range(mode, channels):
    image = tf.constant(photograph(mode=mode))
    found = draw(lambda seed: augment(image, (14, 18, channels), seed, STRONG), 60)
    assert found.shape == (60, 14, 18, channels)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert len({one.tobytes() for one in found}) == 60


def test_grey_images_are_repeated_and_colours_become_grey():
    colour, grey = photograph(), photograph(mode="L")
    repeated = augmented(grey, seed_of(0), Augmentation(), (8, 8, 3))
    np.testing.assert_array_equal(repeated, np.repeat(augmented(grey, seed_of(0), Augmentation(), (8, 8, 1)), 3, -1))
    np.testing.assert_allclose(augmented(colour, seed_of(0), Augmentation(), (8, 8, 1)), repeated[..., :1], atol=1)
    assert augmented(encode(colour), seed_of(0), Augmentation(), (8, 8, 1)).shape == (8, 8, 1)


def test_the_static_shape_is_known_in_a_pipeline():
    files = tf.data.Dataset.from_tensors(encode(photograph()))
    dataset = files.map(lambda file: augment(file, (14, 18, 3), seed_of(0), PAPER_DISTORTIONS))
    assert dataset.element_spec == tf.TensorSpec((14, 18, 3), tf.float32)
