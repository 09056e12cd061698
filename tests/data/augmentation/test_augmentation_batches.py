"""MixUp and CutMix change images and labels alike."""

from dataclasses import replace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import seed_of  # noqa: E402, after the skip

from keras_inception.data import augmentation  # noqa: E402, after the skip
from keras_inception.data.augmentation import NONE  # noqa: E402, after the skip
from keras_inception.network.losses import SparseCategoricalCrossentropy  # noqa: E402, after the skip

pytestmark = pytest.mark.slow  # hundreds of draws, to see distributions


def flat_batch(count=64, side=16):
    """Each image is of one value, its own number, so that what was mixed can be read from the pixels."""
    return tf.tile(tf.range(count, dtype=tf.float32)[:, None, None, None], (1, side, side, 1)), tf.range(count)


def test_mix_up_blends_images_and_labels_alike():
    images, labels = flat_batch()
    mixed, soft = augmentation.mix_up(images, labels, 64, seed_of(0), alpha=1.0)
    assert soft.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(soft, -1), 1, rtol=1e-6)
    # The value of a pixel is the mean of two numbers, weighted as the label says.
    expected = tf.linalg.matvec(soft, tf.range(64, dtype=tf.float32)).numpy()
    np.testing.assert_allclose(
        mixed[..., 0], np.broadcast_to(expected[:, None, None], (64, 16, 16)), rtol=1e-4, atol=1e-4
    )
    own = np.diag(soft)
    assert abs(own.mean() - 0.5) < 0.15  # Beta(1, 1) is even
    assert len(np.unique(own)) > 60


def test_cut_mix_labels_are_the_areas():
    images, labels = flat_batch()
    mixed, soft = augmentation.cut_mix(images, labels, 64, seed_of(1))
    np.testing.assert_allclose(tf.reduce_sum(soft, -1), 1, rtol=1e-6)
    for number, (image, label) in enumerate(zip(mixed.numpy()[..., 0], soft.numpy())):
        for value in np.unique(image):
            assert label[int(value)] == pytest.approx((image == value).mean(), abs=1e-6)
        rows, columns = np.nonzero(image != number)
        if len(rows):  # one box, without holes
            assert (image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != number).all()
    assert 0.2 < np.mean([(image != number).mean() for number, image in enumerate(mixed.numpy())]) < 0.5


@pytest.mark.parametrize("mixer", [augmentation.mix_up, augmentation.cut_mix])
def test_mixing_takes_distributions_one_example_and_tiny_alphas(mixer):
    images, labels = flat_batch(8)
    for alpha in (1e-3, 0.2, 50.0):
        mixed, soft = mixer(images, tf.one_hot(labels, 8), 8, seed_of(2), alpha)
        assert np.isfinite(mixed).all()
        assert np.isfinite(soft).all()
        again, same_soft = mixer(images, labels, 8, seed_of(2), alpha)
        np.testing.assert_array_equal(mixed, again)
        np.testing.assert_array_equal(soft, same_soft)
    mixed, soft = mixer(images[:1], labels[:1], 8, seed_of(2), 1.0)
    np.testing.assert_array_equal(mixed, images[:1])
    np.testing.assert_allclose(soft, tf.one_hot(labels[:1], 8), rtol=1e-6)


def test_mix_does_what_the_augmentation_says():
    images, labels = flat_batch(16)

    def is_blend(mixed):
        return not np.isin(mixed, np.arange(16)).all()

    unmixed = augmentation.mix(images, labels, 16, seed_of(0), NONE)
    assert unmixed[0] is images
    assert unmixed[1] is labels
    kinds = {
        name: [is_blend(augmentation.mix(images, labels, 16, seed_of(i), what)[0].numpy()) for i in range(40)]
        for name, what in {
            "mixup": replace(NONE, mixup=0.5),
            "cutmix": replace(NONE, cutmix=0.5),
            "both": replace(NONE, mixup=0.5, cutmix=0.5),
        }.items()
    }
    assert all(kinds["mixup"])
    assert not any(kinds["cutmix"])
    assert 8 <= sum(kinds["both"]) <= 32  # four standard deviations of a coin thrown 40 times


def test_the_packages_loss_takes_the_soft_labels():
    _, soft = augmentation.mix_up(*flat_batch(4), 4, seed_of(0), 1.0)
    predictions = np.random.default_rng(0).dirichlet(np.ones(4), 4).astype("float32")
    expected = -(soft.numpy() * np.log(predictions)).sum(-1).mean()
    assert float(SparseCategoricalCrossentropy()(soft, predictions)) == pytest.approx(expected, rel=1e-5)
