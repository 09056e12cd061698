"""The operations of RandAugment are the paper's and Pillow's, drawn equally often."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import draw, photograph  # noqa: E402, after the skip

from keras_inception.data.augmentation.randaugment import OPERATIONS, rand_augment  # noqa: E402, after the skip


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
        ("color", 1.0, lambda image: ImageEnhance.Color(image).enhance(1.9)),
        ("contrast", -1.0, lambda image: ImageEnhance.Contrast(image).enhance(0.1)),
        ("brightness", -0.5, lambda image: ImageEnhance.Brightness(image).enhance(0.55)),
        ("sharpness", 1.0, lambda image: ImageEnhance.Sharpness(image).enhance(1.9)),
    ],
)
def test_operations_on_values_are_pillows(name, strength, pillows, mode):
    image = (photograph(mode=mode) // 2 + 40).astype("uint8")  # leaves room to stretch
    expected = np.asarray(pillows(Image.fromarray(np.squeeze(image)))).reshape(image.shape)
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
    grey = np.full((2, 4, 1), 128.0)
    np.testing.assert_array_equal(operate("translate_y", ramp(), 1.0), np.vstack([ramp()[2:], grey]))


def test_rotation_by_a_right_angle_goes_counter_clockwise():
    # OPERATIONS goes up to 30 degrees; three times its strength is a right angle.
    np.testing.assert_array_equal(operate("rotate", ramp(), 3.0), np.rot90(ramp().numpy()))
    image = Image.fromarray(photograph(41, 41))
    expected = np.asarray(image.rotate(30, fillcolor=(128, 128, 128)))
    equal = np.isclose(operate("rotate", np.asarray(image), 1.0), expected).all(-1)
    assert equal.mean() > 0.97  # nearest neighbours at equal distance may differ


def test_shears_are_pillows():
    image = Image.fromarray(photograph(41, 41))
    grey = {"fillcolor": (128, 128, 128)}
    for name, coefficients in (("shear_x", (1, 0.3, 0, 0, 1, 0)), ("shear_y", (1, 0, 0, 0.3, 1, 0))):
        # Pillow counts from the corners of pixels, TensorFlow from their centres: half a pixel.
        a, b, c, d, e, f = coefficients
        centres = (a, b, c - 0.5 * (a + b) + 0.5, d, e, f - 0.5 * (d + e) + 0.5)
        expected = np.asarray(image.transform(image.size, Image.Transform.AFFINE, centres, **grey))
        equal = np.isclose(operate(name, np.asarray(image), 1.0), expected).all(-1)
        assert equal.mean() > 0.9


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_strength_changes_nothing_but_what_has_no_strength(name):
    image = photograph().astype("float32")
    if name not in ("auto_contrast", "equalize"):
        np.testing.assert_allclose(operate(name, image, 0.0), image, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_keep_shape_and_range(channels):
    for image in (photograph()[..., :channels], np.zeros((2, 3, channels), "uint8")):
        for name in OPERATIONS:
            for strength in (-1.0, 1.0):
                found = operate(name, image, strength)
                assert found.shape == image.shape
                assert found.min() >= 0
                assert found.max() <= 255


def test_operations_are_drawn_equally_often(monkeypatch):
    count = len(OPERATIONS)
    for index, name in enumerate(OPERATIONS):
        monkeypatch.setitem(
            OPERATIONS, name, lambda image, strength, index=index: image + 2 * index + tf.cast(strength > 0, tf.float32)
        )
    found = draw(lambda seed: rand_augment(tf.zeros((1, 1, 1)), seed, 1, 10), 1400).ravel()
    drawn = np.bincount(found.astype(int), minlength=2 * count)  # each operation in either direction
    assert len(drawn) == 2 * count
    assert np.all(np.abs(drawn - 50) < 28)  # four standard deviations
