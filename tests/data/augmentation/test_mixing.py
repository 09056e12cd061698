"""MixUp and CutMix change images and labels alike."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import seed_of  # noqa: E402, after the skip
from tiny_network import TINY  # noqa: E402, after the skip

from keras_inception.data import load  # noqa: E402, after the skip
from keras_inception.data.augmentation import mix  # noqa: E402, after the skip
from keras_inception.network.losses import SparseCategoricalCrossentropy  # noqa: E402, after the skip
from keras_inception.recipes import Augmentation  # noqa: E402, after the skip


def mixed(count, number=0, labels=None, **options):
    """Mixes a batch of images of one value each, their own number, so that what was mixed can be read from them."""
    images = np.broadcast_to(np.arange(count, dtype="float32")[:, None, None, None], (count, 16, 16, 1))
    labels = tf.range(count) if labels is None else labels
    images, soft = mix(tf.constant(images), labels, count, seed_of(number), Augmentation(**options))
    return images.numpy()[..., 0], soft.numpy()


def test_mix_up_blends_images_and_labels_alike():
    images, soft = mixed(64, mixup=1.0)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-6)
    # The value of a pixel is the mean of two numbers, weighted as the label says.
    expected = np.broadcast_to((soft @ np.arange(64))[:, None, None], (64, 16, 16))
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-4)
    own = np.diag(soft)
    assert abs(own.mean() - 0.5) < 0.15  # Beta(1, 1) is even
    assert len(np.unique(own)) > 60


def test_cut_mix_labels_are_the_areas():
    images, soft = mixed(64, 1, cutmix=1.0)
    np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-6)
    for number, (image, label) in enumerate(zip(images, soft)):
        for value in np.unique(image):
            assert label[int(value)] == pytest.approx((image == value).mean(), abs=1e-6)
        rows, columns = np.nonzero(image != number)
        if len(rows):  # one box, without holes
            assert (image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != number).all()
    assert 0.2 < np.mean(images != np.arange(64)[:, None, None]) < 0.5


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_takes_distributions_one_example_and_tiny_alphas(name):
    for alpha in (1e-3, 0.2, 50.0):
        images, soft = mixed(8, 2, **{name: alpha})
        assert np.isfinite(images).all()
        assert np.isfinite(soft).all()
        for found, again in zip((images, soft), mixed(8, 2, tf.one_hot(range(8), 8), **{name: alpha})):
            np.testing.assert_array_equal(found, again)
    images, soft = mixed(1, 2, **{name: 1.0})
    np.testing.assert_array_equal(images, np.zeros((1, 16, 16)))
    np.testing.assert_allclose(soft, [[1]], rtol=1e-6)


def test_mix_does_what_the_augmentation_says():
    batch = tf.zeros((4, 2, 2, 1)), tf.range(4)
    assert all(one is other for one, other in zip(mix(*batch, 4, seed_of(0), Augmentation()), batch))

    def blends(**options):
        return [not np.isin(mixed(16, number, **options)[0], np.arange(16)).all() for number in range(40)]

    assert all(blends(mixup=0.5))
    assert not any(blends(cutmix=0.5))
    assert 8 <= sum(blends(mixup=0.5, cutmix=0.5)) <= 32  # four standard deviations of a coin thrown 40 times


def test_the_packages_loss_takes_the_soft_labels():
    _, soft = mixed(4, mixup=1.0)
    predictions = np.random.default_rng(0).dirichlet(np.ones(4), 4).astype("float32")
    expected = -(soft * np.log(predictions)).sum(-1).mean()
    assert float(SparseCategoricalCrossentropy()(soft, predictions)) == pytest.approx(expected, rel=1e-5)


def test_mixing_is_off_from_an_epoch_on_and_changes_nothing_else(image_folder):
    mixers = {"mixup": 1.0, "cutmix": 1.0}
    plain, mixed, off = (
        load(image_folder, architecture=TINY, batch_size=32, augmentation=Augmentation(**options))
        for options in ({}, mixers, {**mixers, "mixup_off_epoch": 2})
    )

    def first(loaded, epoch):
        ((images, labels),) = loaded.train_from(epoch).take(1).as_numpy_iterator()
        return images, labels

    for epoch in (1, 2):
        images, labels = first(off, epoch)
        same, expected = first(mixed, 1) if epoch == 1 else first(plain, 2)
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, expected if epoch == 1 else np.eye(2)[expected])
        assert (labels.max(-1) < 1).any() == (epoch == 1)
    # The stream of a training turns it off between two epochs, of one batch each.
    around = [(labels.max(-1) < 1).any() for _, labels in off.train_from(1).take(2).as_numpy_iterator()]
    assert around == [True, False]
    # A pass that no training counts is mixed.
    ((_, labels),) = off.train.as_numpy_iterator()
    assert (labels.max(-1) < 1).any()
