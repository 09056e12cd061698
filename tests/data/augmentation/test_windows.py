"""A training image from a file: crops as the paper says, the pixels of the whole image, shape, type and range."""

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from photographs import STRONG, augmented, draw, encode, numbers_of, photograph, seed_of  # noqa: E402, after the skip

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data.augmentation import augment, windows  # noqa: E402, after the skip
from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation  # noqa: E402, after the skip


def random_windows(size, count, area=(0.08, 1)):
    return draw(lambda seed: windows.random_window(size, numbers_of(seed, 4), area, (3 / 4, 4 / 3)), count)


@pytest.fixture(scope="module")
def crops():
    """2000 windows of an image of 3750x5000 pixels."""
    return random_windows((3750, 5000), 2000).astype(float)


def test_the_area_of_crops_is_drawn_evenly_from_8_to_100_percent(crops):
    area = crops[:, 2] * crops[:, 3] / (3750 * 5000)
    assert area.min() > 0.0799
    assert area.max() <= 1
    # Kolmogorov and Smirnov: 2000 draws of an even distribution stay within 1.63 / sqrt(2000) with 99%.
    expected = (np.sort(area) - 0.08) / 0.92
    assert np.abs(expected - np.linspace(0, 1, len(area))).max() < 0.037


def test_the_aspect_of_crops_is_within_3_to_4_and_4_to_3(crops):
    aspect = crops[:, 3] / crops[:, 2]
    assert aspect.min() > 0.749
    assert aspect.max() < 1.335
    small = aspect[crops[:, 2] * crops[:, 3] < 0.5 * 3750 * 5000]  # these fit with any aspect
    assert abs(np.mean(np.log(small))) < 0.03  # drawn evenly in the logarithm: 0 on average, 0.166 / sqrt(900) each


def test_crops_lie_in_the_image_and_anywhere_in_it(crops):
    top, left, height, width = crops.T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 3750) & (left + width <= 5000))
    room = height < 3000
    assert abs(np.mean(top[room] / (3750 - height[room])) - 0.5) < 0.03
    assert abs(np.mean(left[room] / (5000 - width[room])) - 0.5) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 40), (300, 20), (20000, 30000)])
def test_images_of_any_shape_have_crops(size):
    found = random_windows(size, 50)
    assert np.all(found[:, 2:] >= 1)
    assert np.all(found[:, :2] >= 0)
    assert np.all(found[:, :2] + found[:, 2:] <= size)


def test_a_panorama_gets_crops_as_large_as_fit():
    found = random_windows((100, 1000), 20, area=(0.9, 1.0))
    assert found[:, 2:].tolist() == [[100, 133]] * 20


JPEGS = {
    "4:2:0": {"quality": 90},
    "4:4:4": {"quality": 90, "subsampling": 0},
    "progressive": {"quality": 75, "progressive": True},
}


@pytest.mark.parametrize("kind", [*JPEGS, "CMYK", "grey"])
@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((37, 53), 3),
        pytest.param((37, 53), 1, marks=pytest.mark.slow),
        *(pytest.param(size, channels, marks=pytest.mark.slow) for size in ((48, 64), (8, 8)) for channels in (1, 3)),
    ],
)
def test_a_window_of_a_jpeg_has_the_pixels_of_the_whole_image(size, kind, channels):
    mode = {"CMYK": "CMYK", "grey": "L"}.get(kind, "RGB")
    encoded = encode(Image.fromarray(photograph(*size)).convert(mode), **JPEGS.get(kind, {}))
    whole = data.decode(encoded, channels).numpy()

    @tf.function(input_signature=[tf.TensorSpec((4,), tf.int32)])
    def decode_window(window):
        return windows.decode_window(encoded, lambda size: window, channels)

    random = np.random.default_rng(0)
    for _ in range(25):
        height, width = (int(random.integers(1, side + 1)) for side in size)
        top, left = int(random.integers(0, size[0] - height + 1)), int(random.integers(0, size[1] - width + 1))
        found = decode_window([top, left, height, width]).numpy()
        np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_gives_the_image_that_its_pixels_give(kind):
    encoded = encode(photograph(), kind)
    for number in range(4):
        from_file = augmented(encoded, seed_of(number))
        np.testing.assert_array_equal(from_file, augmented(data.decode(encoded), seed_of(number)))


@pytest.mark.parametrize(
    ("size", "mode"),
    [((48, 64), "crop"), ((64, 48), "crop"), ((8, 8), "crop"), ((48, 64), "pad"), ((64, 48), "stretch")],
)
def test_without_augmentation_training_sees_what_validation_sees(size, mode):
    image = tf.constant(photograph(*size))
    for source in (image, encode(image.numpy(), "PNG")):
        found = augmented(source, seed_of(0), Augmentation(), (20, 16, 3), mode)
        np.testing.assert_array_equal(found, data.resize(image, 20, 16, mode))


@pytest.mark.parametrize("at_least", [10, 20, 40, 80, 81, 320])
def test_a_large_window_of_a_jpeg_is_decoded_at_a_fraction(at_least):
    image = photograph(480, 640)
    decode_window = tf.function(
        lambda window: windows.decode_window(encode(image), lambda size: window, 3, at_least),
        input_signature=[tf.TensorSpec((4,), tf.int32)],
    )
    top, left, height, width = window = np.array([96, 32, 160, 240], "int32")
    # The largest of 1, 2, 4, 8 by which both sides keep `at_least` pixels.
    fraction = {10: 8, 20: 8, 40: 4, 80: 2}.get(at_least, 1)
    found = decode_window(window).numpy().astype(float)
    assert found.shape == (height // fraction, width // fraction, 3)
    part = image[top : top + height, left : left + width].astype(float)
    means = part.reshape(height // fraction, fraction, width // fraction, fraction, 3).mean((1, 3))
    assert np.sqrt(np.mean((found - means) ** 2)) < 3  # the loss of JPEG


def test_a_small_crop_of_which_one_side_shrinks_is_antialiased():
    """Its area grows, but columns of stripes would be taken one by one."""
    stripes = tf.constant(np.tile([0.0, 255.0], (16, 40))[..., None], tf.float32)
    found = windows.resize_by_scale(stripes, 80, 16, antialias=True)
    assert float(tf.math.reduce_std(found[:, 1:-1])) < 13  # 128 where columns are taken one by one


@pytest.mark.parametrize(("antialias", "distance"), [(True, 0.5), (False, 3)])
def test_a_crop_is_scaled_as_if_it_were_antialiased(antialias, distance):
    image = tf.constant(photograph(48, 64))
    larger = windows.resize_by_scale(image, 60, 70, antialias=antialias)
    np.testing.assert_allclose(larger, tf.image.resize(image, (60, 70), antialias=True), atol=1e-3)
    smaller = windows.resize_by_scale(image, 30, 36, antialias=antialias)
    expected = np.asarray(Image.fromarray(image.numpy()).resize((36, 30), Image.Resampling.BILINEAR))
    assert np.sqrt(np.mean((smaller - expected) ** 2.0)) < distance


@pytest.mark.parametrize(("side", "method"), [(16, "bilinear"), (96, "bilinear"), (97, "area")])
def test_small_crops_are_antialiased(side, method):
    image = tf.constant(photograph(side + 40, side + 40))
    crops = Augmentation(crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    found = augment(image, (side, side, 3), seed_of(0), crops)
    expected = tf.image.resize(image, (side, side), method, antialias=method == "bilinear")
    np.testing.assert_allclose(found, tf.cast(expected, tf.float32), atol=1e-3)


def test_the_draws_of_a_step_do_not_depend_on_how_many_follow():
    assert numbers_of(seed_of(3), 18).numpy().tolist() == numbers_of(seed_of(3), 30).numpy().tolist()[:18]


def test_interpolations_are_drawn_equally_often():
    image = tf.constant(photograph(9, 9), tf.float32)
    expected = [
        tf.clip_by_value(tf.image.resize(image, (5, 5), method, antialias=True), 0, 255).numpy()
        for method in ("bilinear", "area", "nearest", "bicubic")
    ]
    found = draw(lambda seed: windows.resize_randomly(image, 5, 5, numbers_of(seed, 1)[0]), 400)
    equal = np.array([[np.array_equal(image, wanted) for wanted in expected] for image in found])
    assert np.all(equal.sum(1) == 1)
    assert np.all(np.abs(equal.sum(0) - 100) < 35)  # four standard deviations


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
