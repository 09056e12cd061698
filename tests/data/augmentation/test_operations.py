"""Colours, moves and RandAugment: the operations are the papers' and Pillow's, as strong and as often as they say."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import draw, numbers_of, photograph, seed_of  # noqa: E402, after the skip

from keras_inception.data.augmentation import augment, operations  # noqa: E402, after the skip
from keras_inception.data.augmentation.operations import OPERATIONS, distort_colours  # noqa: E402, after the skip
from keras_inception.recipes import Augmentation  # noqa: E402, after the skip

# RandAugment


def ramp():
    """Rows 0 to 3 of 4 pixels: their own numbers times 10, as `(4, 4, 1)`."""
    return tf.reshape(tf.range(16, dtype=tf.float32) * 10, (4, 4, 1))


def operate(name, image, strength):
    return OPERATIONS[name](tf.convert_to_tensor(image, tf.float32), tf.constant(strength)).numpy()


def test_the_operations_are_those_of_the_paper():
    # Section 3 of RandAugment.
    assert set(OPERATIONS) == {
        "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness",
        "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("name", "strength", "pillows"),
    [
        ("auto_contrast", 0.9, ImageOps.autocontrast),
        ("equalize", 0.9, ImageOps.equalize),
        ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128)),
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6)),
        ("posterize", -1.0, lambda image: ImageOps.posterize(image, 4)),
        *(
            (name, strength, lambda image, enhance=enhance, factor=factor: enhance(image).enhance(factor))
            for name, enhance in (
                ("color", ImageEnhance.Color),
                ("contrast", ImageEnhance.Contrast),
                ("brightness", ImageEnhance.Brightness),
                ("sharpness", ImageEnhance.Sharpness),
            )
            for strength, factor in ((-1.0, 0.1), (-0.5, 0.55), (1.0, 1.9))
        ),
    ],
)
def test_operations_on_values_are_pillows(name, strength, pillows, mode):
    image = (photograph(mode=mode) // 2 + 40).astype("uint8")  # leaves room to stretch
    expected = np.asarray(pillows(Image.fromarray(np.squeeze(image)))).reshape(image.shape)
    # Pillow rounds the grey, and what it smoothed, before it multiplies, and the result.
    exact = name in ("equalize", "solarize", "posterize")
    np.testing.assert_allclose(operate(name, image, strength), expected, atol=0 if exact else 2)


@pytest.mark.parametrize("name", ["auto_contrast", "equalize"])
def test_an_image_of_one_value_has_no_histogram_to_change(name):
    image = np.full((5, 5, 3), 90.0, "float32")
    np.testing.assert_array_equal(operate(name, image, 1.0), image)


def test_translations_move_by_150_of_331_pixels_and_fill_with_grey():
    # 4 * 150 / 331 = 1.8 pixels, 2 for the nearest neighbour.
    grey = np.full((4, 2, 1), 128.0)
    np.testing.assert_array_equal(operate("translate_x", ramp(), 1.0), np.hstack([ramp()[:, 2:], grey]))
    np.testing.assert_array_equal(operate("translate_x", ramp(), -1.0), np.hstack([grey, ramp()[:, :2]]))
    np.testing.assert_array_equal(operate("translate_y", ramp(), 1.0), np.vstack([ramp()[2:], grey.reshape(2, 4, 1)]))


def test_rotation_by_a_right_angle_goes_counter_clockwise():
    # OPERATIONS goes up to 30 degrees; three times its strength is a right angle.
    np.testing.assert_array_equal(operate("rotate", ramp(), 3.0), np.rot90(ramp().numpy()))
    image = Image.fromarray(photograph(41, 41))
    expected = np.asarray(image.rotate(30, fillcolor=(128, 128, 128)))
    equal = np.isclose(operate("rotate", np.asarray(image), 1.0), expected).all(-1)
    assert equal.mean() > 0.97  # nearest neighbours at equal distance may differ


def test_shears_are_pillows():
    image = Image.fromarray(photograph(41, 41))
    for name, (a, b, d, e) in (("shear_x", (1, 0.3, 0, 1)), ("shear_y", (1, 0, 0.3, 1))):
        # Pillow counts from the corners of pixels, TensorFlow from their centres: half a pixel.
        centres = (a, b, 0.5 - 0.5 * (a + b), d, e, 0.5 - 0.5 * (d + e))
        expected = image.transform(image.size, Image.Transform.AFFINE, centres, fillcolor=(128, 128, 128))
        equal = np.isclose(operate(name, np.asarray(image), 1.0), np.asarray(expected)).all(-1)
        assert equal.mean() > 0.9


@pytest.mark.parametrize("name", sorted({*OPERATIONS} - {"auto_contrast", "equalize"}))  # these have no strength
def test_no_strength_changes_nothing(name):
    image = photograph().astype("float32")
    np.testing.assert_allclose(operate(name, image, 0.0), image, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_keep_shape_and_range(channels):
    for image in (photograph()[..., :channels], np.zeros((2, 3, channels), "uint8")):
        for name in OPERATIONS:
            for strength in (-1.0, 1.0):
                found = operate(name, image, strength)
                assert found.shape == image.shape
                assert 0 <= found.min() <= found.max() <= 255


def test_operations_are_drawn_equally_often(monkeypatch):
    count = len(OPERATIONS)
    for index, name in enumerate(OPERATIONS):
        monkeypatch.setitem(
            OPERATIONS, name, lambda image, strength, index=index: image + 2 * index + tf.cast(strength > 0, tf.float32)
        )
    found = draw(lambda seed: operations.rand_augment(tf.zeros((1, 1, 1)), numbers_of(seed, 2), 10), 1400).ravel()
    drawn = np.bincount(found.astype(int), minlength=2 * count)  # each operation in either direction
    assert len(drawn) == 2 * count
    assert np.all(np.abs(drawn - 50) < 28)  # four standard deviations


# colours


def test_hue_turns_round_the_circle():
    red = tf.constant([[[200.0, 0.0, 0.0]]])
    np.testing.assert_allclose(operations.adjust_hue(red, 1 / 3), [[[0, 200, 0]]], atol=1e-3)
    np.testing.assert_allclose(operations.adjust_hue(red, -1 / 3), [[[0, 0, 200]]], atol=1e-3)


def test_lighting_follows_the_principal_colours():
    image = tf.fill((2, 2, 3), 100.0)
    light = draw(lambda seed: distort_colours(image, numbers_of(seed, 8), seed, Augmentation(lighting=0.1)), 400) - 100
    assert np.ptp(light, (1, 2)).max() == 0  # all pixels alike
    # 255 * 0.1 times eigenvalue and eigenvector: the deviation along each principal colour.
    axes = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    found = (light[:, 0, 0] @ np.linalg.inv(axes).T).std(0)
    np.testing.assert_allclose(found, [5.546, 0.479, 0.115], rtol=0.15)  # four standard deviations of a deviation


@pytest.mark.parametrize(
    ("name", "channels"), [("brightness", 1), ("brightness", 3), ("contrast", 3), ("saturation", 3)]
)
def test_factors_are_drawn_evenly_within_their_range(name, channels):
    image = tf.constant([[[100.0, 100.0, 100.0], [120.0, 110.0, 90.0]]])[..., :channels]
    adjust = getattr(operations, f"adjust_{name}")
    found = draw(lambda seed: distort_colours(image, numbers_of(seed, 8), seed, Augmentation(**{name: 0.5})), 400)
    least, most = (adjust(image, factor).numpy()[0, 1, 0] for factor in (0.5, 1.5))
    share = (found[:, 0, 1, 0] - least) / (most - least)
    assert -1e-4 < share.min() < 0.03
    assert 0.97 < share.max() < 1.0001
    assert abs(share.mean() - 0.5) < 0.06  # four standard deviations of the mean


def test_distortions_come_in_every_order():
    image = tf.constant([[[250.0, 128.0, 10.0], [30.0, 60.0, 90.0]]])
    steps = (operations.adjust_brightness, operations.adjust_contrast, operations.adjust_saturation)
    what = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5)
    found = draw(lambda seed: distort_colours(image, numbers_of(seed, 8), seed, what), 40)
    orders = set()
    for number in range(40):
        numbers = numbers_of(seed_of(number), 8).numpy()
        order, factors = np.argsort(numbers[:3]), 0.5 + numbers[4:7]
        expected = image
        for index in order:
            expected = steps[index](expected, factors[index])
        np.testing.assert_allclose(found[number], expected, rtol=1e-5)
        orders.add(tuple(order))
    assert len(orders) == 6


# flips and moves


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
    what = Augmentation(**options)
    found = draw(lambda seed: operations.move(tf.constant(image), numbers_of(seed, 4), what), 200)[..., 0]
    return np.stack([(places * found).sum((1, 2)) / found.sum((1, 2)) for places in np.indices((41, 41))], -1) - 20


def test_move_shifts_by_up_to_its_share_of_the_side():
    distance = centroids(20, 20, shift=0.25)
    assert np.all(np.abs(distance) <= 0.25 * 41 + 0.01)
    assert np.all(np.abs(distance).max(0) > 9)
    assert np.all(np.abs(distance.mean(0)) < 1.7)  # four standard deviations of the mean


def test_move_shifts_alone_by_whole_pixels():
    image = np.random.default_rng(0).uniform(0, 255, (8, 8, 3)).astype("float32")
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), "symmetric")
    windows = {padded[row : row + 8, column : column + 8].tobytes() for row in range(5) for column in range(5)}
    moved = draw(lambda seed: operations.move(tf.constant(image), numbers_of(seed, 4), Augmentation(shift=0.25)), 300)
    assert {each.tobytes() for each in moved} == windows


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
    what = Augmentation(shift=0.5, zoom=0.5)
    np.testing.assert_allclose(draw(lambda seed: operations.move(image, numbers_of(seed, 4), what), 5), 77, rtol=1e-6)
