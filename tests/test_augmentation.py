"""Augmentation: what may happen to an image happens as often and as strongly as it says, and always the same."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_datasets")

from keras_inception import data  # noqa: E402
from keras_inception.data import augmentation  # noqa: E402
from keras_inception.data.augmentation import NONE, OPERATIONS, PAPER, Augmentation  # noqa: E402
from keras_inception.losses import SparseCategoricalCrossentropy  # noqa: E402

pytestmark = pytest.mark.slow  # hundreds of draws, to see distributions

STRONG = replace(PAPER, shift=0.2, rotation_degrees=30, zoom=0.2, randaugment=(2, 9), hue=0.2)


def photograph(height=48, width=64, mode="RGB", seed=0):
    """A smooth image of all colours, as an array."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype="uint8")
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    return np.asarray(image).reshape(height, width, -1)


def encode(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seed_of(number):
    return augmentation.example_seed(0, 0, number)


def draw(function, count):
    """Returns what `function` gives for the seeds of the first examples."""
    dataset = tf.data.Dataset.range(count).map(lambda number: function(seed_of(number))).batch(count)
    return next(iter(dataset)).numpy()


def augmented(image, seed, what=STRONG, shape=(24, 24, 3)):
    return augmentation.augment(tf.convert_to_tensor(image), shape, seed, what).numpy()


# Configuration


def test_the_defaults_are_the_papers():
    # Section 6: patches of 8% to 100% of the area, aspect ratio in [3/4, 4/3].
    assert (PAPER.crop_area, PAPER.crop_aspect) == ((0.08, 1.0), (0.75, 4 / 3))
    assert PAPER.random_interpolation
    assert PAPER.flip
    assert (PAPER.randaugment, PAPER.mixup, PAPER.cutmix) == (None, None, None)
    assert Augmentation() == PAPER


def test_an_augmentation_survives_json():
    what = replace(STRONG, mixup=0.2, cutmix=1.0)
    assert Augmentation.from_config(json.loads(json.dumps(what.get_config()))) == what


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_area": (0, 1)}, r"`crop_area` must be None or two shares.*Received: crop_area=\(0, 1\)"),
        ({"crop_area": (0.5, 1.1)}, r"0 < smallest <= largest <= 1\. Received: crop_area=\(0.5, 1.1\)"),
        ({"crop_area": (0.5, 0.2)}, "`crop_area` must be"),
        ({"crop_area": 0.5}, "`crop_area` must be"),
        ({"crop_aspect": (-1, 2)}, r"`crop_aspect` must be two ratios of width to height.*crop_aspect=\(-1, 2\)"),
        ({"crop_aspect": None}, "`crop_aspect` must be"),
        ({"flip": 1}, "`flip` must be True or False. Received: flip=1"),
        ({"random_interpolation": "cubic"}, "`random_interpolation` must be True or False"),
        ({"shift": 1}, "`shift` must be at least 0 and below 1. Received: shift=1"),
        ({"zoom": -0.1}, "`zoom` must be at least 0 and below 1. Received: zoom=-0.1"),
        ({"rotation_degrees": 181}, "a number from 0 to 180. Received: rotation_degrees=181"),
        ({"brightness": 1.5}, "`brightness` must be a number from 0 to 1. Received: brightness=1.5"),
        ({"contrast": math.nan}, "`contrast` must be a number from 0 to 1. Received: contrast=nan"),
        ({"saturation": True}, "`saturation` must be a number"),
        ({"hue": 0.6}, "`hue` must be a number from 0 to 0.5. Received: hue=0.6"),
        ({"lighting": -0.1}, "`lighting` must be a finite number of at least 0. Received: lighting=-0.1"),
        ({"randaugment": (0, 9)}, r"`randaugment` must be None or \(layers, magnitude\).*randaugment=\(0, 9\)"),
        ({"randaugment": (2, 11)}, "a number from 0 to 10"),
        ({"randaugment": (1.5, 9)}, "a whole number from 1"),
        ({"randaugment": 2}, "`randaugment` must be"),
        ({"mixup": 0}, "`mixup` must be None or a finite number above 0. Received: mixup=0"),
        ({"cutmix": math.inf}, "`cutmix` must be None or a finite number above 0. Received: cutmix=inf"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match=r"has the fields crop_area, .*cutmix\. Received: cutout"):
        Augmentation.from_config({"flip": True, "cutout": 16})


# Seeds


def stream(first_epoch=0, seed=5, parallel=None):
    """Batches of (example's number, image, soft labels) of ten images, shuffled in each epoch."""
    images = tf.constant(np.stack([photograph(20, 20, seed=number) for number in range(10)]))
    # A step of each kind: the full set of colours, or RandAugment, would take seconds to trace.
    what = replace(PAPER, contrast=0, saturation=0, shift=0.1, mixup=0.2, cutmix=1.0)

    def one_epoch(epoch):
        def example(position, number):
            image_seed = augmentation.example_seed(seed, epoch, position)
            return number, augmentation.augment(images[number], (12, 12, 3), image_seed, what)

        def mixed(batch, example):
            numbers, images = example
            batch_seed = augmentation.batch_seed(seed, epoch, batch)
            return numbers, *augmentation.mix(images, numbers % 3, 3, batch_seed, what)

        order = tf.data.Dataset.range(10).shuffle(
            10, seed=augmentation.order_seed(seed, epoch), reshuffle_each_iteration=False
        )
        return order.enumerate().map(example, parallel).batch(4).enumerate().map(mixed)

    return augmentation.stream_epochs(one_epoch, first_epoch)


def batches(dataset, count):
    return [tuple(part.numpy() for part in batch) for batch in dataset.take(count)]


def same(first, second):
    return all(np.array_equal(a, b) for left, right in zip(first, second, strict=True) for a, b in zip(left, right))


def test_a_stream_is_a_function_of_seed_epoch_and_position():
    epochs = batches(stream(), 9)  # three epochs of three batches
    tf.random.set_seed(9)  # the tests begin with 0
    assert same(epochs, batches(stream(parallel=tf.data.AUTOTUNE), 9)), "threads or the global seed change the images"
    assert same(epochs[6:], batches(stream(first_epoch=2), 3)), "a resumed training sees other images"
    assert not same(epochs[:3], batches(stream(seed=6), 3))
    for epoch in range(3):
        numbers = np.concatenate([batch[0] for batch in epochs[3 * epoch : 3 * epoch + 3]])
        assert sorted(numbers) == list(range(10))
    assert not same(epochs[:3], epochs[3:6])


def test_the_same_image_differs_from_epoch_to_epoch_and_from_position_to_position():
    image = photograph()
    seen = [
        augmented(image, augmentation.example_seed(seed, epoch, position)).tobytes()
        for seed in range(2)
        for epoch in range(2)
        for position in range(3)
    ]
    assert len(set(seen)) == 12
    assert augmented(image, augmentation.example_seed(1, 1, 2)).tobytes() == seen[-1]


def test_seeds_do_not_repeat():
    seeds = {
        tuple(make(seed, epoch, number).numpy())
        for make in (augmentation.example_seed, augmentation.batch_seed)
        for seed in (0, 1, 2**40)
        for epoch in range(5)
        for number in range(10)
    }
    assert len(seeds) == 2 * 3 * 5 * 10


def test_the_images_of_a_seed_stay_what_they_are_from_release_to_release():
    # A resumed training, perhaps under another release, must see the same images; these numbers were written down.
    assert augmentation.example_seed(1, 2, 3).numpy().tolist() == GOLDEN_SEED
    window = augmentation.random_window((375, 500), augmentation.example_seed(1, 2, 3))
    assert window.numpy().tolist() == GOLDEN_WINDOW


GOLDEN_SEED = [7464880146280614444, 3]
GOLDEN_WINDOW = [0, 9, 374, 486]


# Crops


@pytest.fixture(scope="module")
def windows():
    return draw(lambda seed: augmentation.random_window((3750, 5000), seed), 2000).astype(float)


def test_the_area_of_crops_is_drawn_evenly_from_8_to_100_percent(windows):
    area = windows[:, 2] * windows[:, 3] / (3750 * 5000)
    assert area.min() > 0.0799
    assert area.max() <= 1
    # Kolmogorov and Smirnov: 2000 draws of an even distribution stay within 1.63 / sqrt(2000) with 99%.
    expected = (np.sort(area) - 0.08) / 0.92
    assert np.abs(expected - np.linspace(0, 1, len(area))).max() < 0.037


def test_the_aspect_of_crops_is_within_3_to_4_and_4_to_3(windows):
    aspect = windows[:, 3] / windows[:, 2]
    assert aspect.min() > 0.749
    assert aspect.max() < 1.335
    small = aspect[windows[:, 2] * windows[:, 3] < 0.5 * 3750 * 5000]  # these fit with any aspect
    assert abs(np.mean(np.log(small))) < 0.03  # drawn evenly in the logarithm: 0 on average, 0.166 / sqrt(900) each


def test_crops_lie_in_the_image_and_anywhere_in_it(windows):
    top, left, height, width = windows.T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 3750) & (left + width <= 5000))
    room = height < 3000
    assert abs(np.mean(top[room] / (3750 - height[room])) - 0.5) < 0.03
    assert abs(np.mean(left[room] / (5000 - width[room])) - 0.5) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 40), (300, 20), (20000, 30000)])
def test_images_of_any_shape_have_crops(size):
    found = draw(lambda seed: augmentation.random_window(size, seed), 50)
    assert np.all(found[:, 2:] >= 1)
    assert np.all(found[:, :2] >= 0)
    assert np.all(found[:, :2] + found[:, 2:] <= size)


def test_a_panorama_gets_crops_as_large_as_fit():
    found = draw(lambda seed: augmentation.random_window((100, 1000), seed, area=(0.9, 1.0)), 20)
    assert found[:, 2:].tolist() == [[100, 133]] * 20


JPEGS = {
    "4:2:0": {"quality": 90},
    "4:4:4": {"quality": 90, "subsampling": 0},
    "progressive": {"quality": 75, "progressive": True},
}


@pytest.mark.parametrize("size", [(48, 64), (37, 53), (8, 8)])
@pytest.mark.parametrize("kind", [*JPEGS, "CMYK", "grey"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_of_a_jpeg_has_the_pixels_of_the_whole_image(size, kind, channels):
    mode = {"CMYK": "CMYK", "grey": "L"}.get(kind, "RGB")
    encoded = encode(Image.fromarray(photograph(*size)).convert(mode), **JPEGS.get(kind, {}))
    whole = data.decode(encoded, channels).numpy()

    @tf.function(input_signature=[tf.TensorSpec((4,), tf.int32)])
    def decode_window(window):
        return augmentation.decode_window(encoded, lambda size: window, channels)

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


def test_one_pipeline_reads_jpeg_and_png():
    image = photograph()
    files = tf.data.Dataset.from_tensor_slices([encode(image), encode(image, "PNG")])
    first, second = files.map(lambda file: augmentation.augment(file, (16, 16, 3), seed_of(0), NONE))
    assert np.abs(first - second).mean() < 5  # JPEG's loss


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (8, 8)])
def test_without_augmentation_training_sees_what_validation_sees(size):
    image = tf.constant(photograph(*size))
    for source in (image, encode(image.numpy(), "PNG")):
        found = augmented(source, seed_of(0), NONE, (20, 16, 3))
        np.testing.assert_array_equal(found, data.resize(image, 20, 16))


def test_interpolations_are_drawn_equally_often():
    image = tf.constant(photograph(9, 9), tf.float32)
    expected = [
        tf.clip_by_value(tf.image.resize(image, (5, 5), method, antialias=True), 0, 255).numpy()
        for method in ("bilinear", "area", "nearest", "bicubic")
    ]
    found = draw(lambda seed: augmentation.resize_randomly(image, 5, 5, seed), 400)
    equal = np.array([[np.array_equal(image, wanted) for wanted in expected] for image in found])
    assert np.all(equal.sum(1) == 1)
    assert np.all(np.abs(equal.sum(0) - 100) < 35)  # four standard deviations


# Flip and move


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


# Colours


@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (augmentation.adjust_brightness, ImageEnhance.Brightness),
        (augmentation.adjust_contrast, ImageEnhance.Contrast),
        (augmentation.adjust_saturation, ImageEnhance.Color),
        (augmentation.sharpen, ImageEnhance.Sharpness),
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
    np.testing.assert_allclose(augmentation.adjust_hue(red, 1 / 3), [[[0, 200, 0]]], atol=1e-3)
    np.testing.assert_allclose(augmentation.adjust_hue(red, -1 / 3), [[[0, 0, 200]]], atol=1e-3)


def test_lighting_follows_the_principal_colours():
    image = tf.fill((2, 2, 3), 100.0)
    lighter = augmentation.add_lighting(image, (-0.1, 0.0, 0.0)).numpy()
    # 255 * 0.1 * 0.2175 * (0.5675, 0.5808, 0.5836)
    np.testing.assert_allclose(lighter - image, np.broadcast_to([3.147, 3.221, 3.237], (2, 2, 3)), atol=1e-2)


@pytest.mark.parametrize(
    ("name", "channels"), [("brightness", 1), ("brightness", 3), ("contrast", 3), ("saturation", 3)]
)
def test_factors_are_drawn_evenly_within_their_range(name, channels):
    image = tf.constant([[[100.0, 100.0, 100.0], [120.0, 110.0, 90.0]]])[..., :channels]
    adjust = getattr(augmentation, f"adjust_{name}")
    found = draw(lambda seed: augmentation.distort_colours(image, seed, **{name: 0.5}), 400)
    least, most = (adjust(image, factor).numpy()[0, 1, 0] for factor in (0.5, 1.5))
    share = (found[:, 0, 1, 0] - least) / (most - least)
    assert -1e-4 < share.min() < 0.03
    assert 0.97 < share.max() < 1.0001
    assert abs(share.mean() - 0.5) < 0.06  # four standard deviations of the mean


def test_distortions_come_in_every_order():
    image = tf.constant([[[250.0, 128.0, 10.0], [30.0, 60.0, 90.0]]])
    amounts = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5}
    orders = set()
    for number in range(40):
        seeds = tf.random.split(seed_of(number), 3)
        orders.add(tuple(np.argsort(tf.random.stateless_uniform((3,), seeds[0]))))
        order = np.argsort(tf.random.stateless_uniform((3,), seeds[0]))
        factors = 1 + 0.5 * tf.random.stateless_uniform((3,), seeds[1], -1.0, 1.0)
        expected = image
        for index in order:
            expected = getattr(augmentation, f"adjust_{list(amounts)[index]}")(expected, factors[index])
        found = augmentation.distort_colours(image, seed_of(number), **amounts)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(orders) == 6


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


def test_identity_changes_nothing():
    np.testing.assert_array_equal(operate("identity", ramp(), 1.0), ramp())


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
    found = draw(lambda seed: augmentation.rand_augment(tf.zeros((1, 1, 1)), seed, 1, 10), 1400).ravel()
    drawn = np.bincount(found.astype(int), minlength=2 * count)  # each operation in either direction
    assert len(drawn) == 2 * count
    assert np.all(np.abs(drawn - 50) < 28)  # four standard deviations


# The whole of it


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_augmented_images_keep_shape_type_and_range(mode, channels):
    image = tf.constant(photograph(mode=mode))
    found = draw(lambda seed: augmentation.augment(image, (14, 18, channels), seed, STRONG), 60)
    assert found.shape == (60, 14, 18, channels)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert len({one.tobytes() for one in found}) == 60


def test_grey_images_are_repeated_and_colours_become_grey():
    colour, grey = photograph(), photograph(mode="L")
    repeated = augmented(grey, seed_of(0), NONE, (8, 8, 3))
    np.testing.assert_array_equal(repeated, np.repeat(augmented(grey, seed_of(0), NONE, (8, 8, 1)), 3, -1))
    np.testing.assert_allclose(augmented(colour, seed_of(0), NONE, (8, 8, 1)), repeated[..., :1], atol=1)
    assert augmented(encode(colour), seed_of(0), NONE, (8, 8, 1)).shape == (8, 8, 1)


def test_the_static_shape_is_known_in_a_pipeline():
    files = tf.data.Dataset.from_tensors(encode(photograph()))
    dataset = files.map(lambda file: augmentation.augment(file, (14, 18, 3), seed_of(0), PAPER))
    assert dataset.element_spec == tf.TensorSpec((14, 18, 3), tf.float32)


# Batches


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
