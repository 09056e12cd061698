"""Colours change as Pillow changes them, as strongly as they say, in every order."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import draw, photograph, seed_of  # noqa: E402, after the skip

from keras_inception.data.augmentation import colours, randaugment  # noqa: E402, after the skip
from keras_inception.recipes import Augmentation  # noqa: E402, after the skip


@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (colours.adjust_brightness, ImageEnhance.Brightness),
        (colours.adjust_contrast, ImageEnhance.Contrast),
        (colours.adjust_saturation, ImageEnhance.Color),
        (randaugment.sharpen, ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_adjustments_are_pillows(ours, pillows, mode):
    image = photograph(mode=mode)
    for factor in (0.1, 0.5, 1.0, 1.5, 1.9):
        expected = np.asarray(pillows(Image.fromarray(np.squeeze(image))).enhance(factor)).reshape(image.shape)
        found = ours(tf.constant(image, tf.float32), factor).numpy()
        # Pillow rounds the grey, and what it smoothed, before it multiplies, and the result.
        np.testing.assert_allclose(found, expected, atol=2)


def test_hue_turns_round_the_circle():
    red = tf.constant([[[200.0, 0.0, 0.0]]])
    np.testing.assert_allclose(colours.adjust_hue(red, 1 / 3), [[[0, 200, 0]]], atol=1e-3)
    np.testing.assert_allclose(colours.adjust_hue(red, -1 / 3), [[[0, 0, 200]]], atol=1e-3)


def test_lighting_follows_the_principal_colours():
    image = tf.fill((2, 2, 3), 100.0)
    lighter = colours.add_lighting(image, (-0.1, 0.0, 0.0)).numpy()
    # 255 * 0.1 * 0.2175 * (0.5675, 0.5808, 0.5836)
    np.testing.assert_allclose(lighter - image, np.broadcast_to([3.147, 3.221, 3.237], (2, 2, 3)), atol=1e-2)


@pytest.mark.parametrize(
    ("name", "channels"), [("brightness", 1), ("brightness", 3), ("contrast", 3), ("saturation", 3)]
)
def test_factors_are_drawn_evenly_within_their_range(name, channels):
    image = tf.constant([[[100.0, 100.0, 100.0], [120.0, 110.0, 90.0]]])[..., :channels]
    adjust = getattr(colours, f"adjust_{name}")
    found = draw(lambda seed: colours.distort_colours(image, seed, Augmentation(**{name: 0.5})), 400)
    least, most = (adjust(image, factor).numpy()[0, 1, 0] for factor in (0.5, 1.5))
    share = (found[:, 0, 1, 0] - least) / (most - least)
    assert -1e-4 < share.min() < 0.03
    assert 0.97 < share.max() < 1.0001
    assert abs(share.mean() - 0.5) < 0.06  # four standard deviations of the mean


def test_distortions_come_in_every_order():
    image = tf.constant([[[250.0, 128.0, 10.0], [30.0, 60.0, 90.0]]])
    steps = (colours.adjust_brightness, colours.adjust_contrast, colours.adjust_saturation)
    what = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5)
    found = draw(lambda seed: colours.distort_colours(image, seed, what), 40)
    orders = set()
    for number in range(40):
        seeds = tf.random.split(seed_of(number), 3)
        order = np.argsort(tf.random.stateless_uniform((3,), seeds[0]))
        factors = 1 + 0.5 * tf.random.stateless_uniform((3,), seeds[1], -1.0, 1.0)
        expected = image
        for index in order:
            expected = steps[index](expected, factors[index])
        np.testing.assert_allclose(found[number], expected, rtol=1e-5)
        orders.add(tuple(order))
    assert len(orders) == 6
