"""Images and labels from the bundled digits, TFDS datasets and folders, bad ones included."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data import catalog, folder  # noqa: E402, after the skip


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def blocks(height=48, width=48):
    """An image of 8x8 blocks, which JPEG keeps nearly as it is."""
    colours = np.random.default_rng(7).integers(0, 256, (height // 8, width // 8, 3), dtype="uint8")
    return Image.fromarray(np.kron(colours, np.ones((8, 8, 1), "uint8")))


@pytest.fixture
def flowers(tmp_path):
    """Two classes of ten images each."""
    return make_classes(tmp_path / "flowers", {"daisy": 10, "rose": 10})


def make_classes(root, counts):
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (40, 36), (100 * number, 10 * index, 50)).save(root / name / f"{index}.png")
    return root


# images


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [
        ("RGB", "PNG", 0), ("RGB", "BMP", 0), ("RGB", "WEBP", 30), ("RGB", "JPEG", 12),
        ("L", "PNG", 0), ("L", "JPEG", 3), ("LA", "PNG", 0), ("RGBA", "PNG", 0),
        ("P", "PNG", 0), ("P", "GIF", 0), ("CMYK", "JPEG", 12), ("1", "PNG", 0),
    ],
)  # fmt: skip
def test_decode_agrees_with_pillow(mode, kind, tolerance):
    image = blocks().convert(mode)
    expected = np.asarray(Image.open(io.BytesIO(encode(image, kind))).convert("RGB"), int)
    decoded = data.decode(encode(image, kind)).numpy().astype(int)
    assert decoded.shape == (48, 48, 3)
    # JPEG and WebP decoders round differently at the edges of blocks.
    assert np.abs(decoded - expected).max() <= tolerance


def test_decode_keeps_the_high_byte_of_16_bits():
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], "uint16"))
    assert data.decode(encode(image, "PNG")).numpy()[0, :, 0].tolist() == [0, 0, 1, 255]


def test_decode_takes_the_first_frame_of_a_gif():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert data.decode(encoded).numpy()[0, 0].tolist() == [255, 0, 0]


def test_decode_to_one_channel_weighs_red_green_and_blue():
    encoded = encode(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG")
    assert data.decode(encoded, channels=1).numpy()[0, 0].tolist() == [76]  # ITU-R 601: 0.2989 * 255


def test_resize_cuts_the_centre_to_the_aspect_ratio_and_does_not_squash():
    image = np.zeros((20, 60, 3), "uint8")
    image[:, 20:40] = 200
    np.testing.assert_allclose(data.resize(image, 10, 10), np.full((10, 10, 3), 200.0), rtol=1e-6)


def test_resize_averages_when_it_scales_down():
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    resized = data.resize(np.repeat(checkers[..., None], 3, -1).astype("uint8"), 8, 8).numpy()
    assert np.abs(resized - 127.5).max() < 10  # without antialiasing single pixels would show: 0 or 255


def test_to_input_repeats_grey_and_preprocesses():
    grey = np.full((8, 8, 1), 255, "uint8")
    image = data.to_input(grey, (16, 16, 3), "inception")
    assert image.shape == (16, 16, 3)
    assert np.unique(image).tolist() == [1.0]
    caffe = data.to_input(grey, (16, 16, 3), "caffe").numpy()
    assert caffe[0, 0].tolist() == [151.0, 138.0, 132.0]  # 255 less blue, green, red


# digits and TFDS


def test_digits_are_all_1797_images_with_the_same_test_images_for_every_seed():
    assert data.load("digits").image_shape == (80, 80, 3)
    first, second = (data.load("digits", seed=seed, image_size=8) for seed in (0, 1))
    assert sum(first.sizes.values()) == 1797
    assert first.sizes["test"] == 360
    assert first.class_names == list("0123456789")
    assert first.original_side == 8
    np.testing.assert_array_equal(labels(first.test), labels(second.test))
    assert labels(first.validation).tolist() != labels(second.validation).tolist()


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected = np.round(load_digits().images.sum((1, 2)) * 255 / 16)
    builder = catalog.prepare("digits")
    found = [
        image.numpy().astype(int).sum()
        for split in ("train", "test")
        for image, _ in builder.as_dataset(split=split, as_supervised=True)
    ]
    # Each pixel is rounded to 8 bits, 64 pixels an image.
    np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=32)


def labels(batches):
    return np.concatenate([batch.numpy() for _, batch in batches])


class Untested(tfds.core.GeneratorBasedBuilder):
    """Ten numbered examples with a training split alone."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # TFDS looks for a package, and this file is in none

    def _info(self):
        features = {"image": tfds.features.Image(shape=(2, 2, 3)), "label": tfds.features.ClassLabel(num_classes=10)}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": ((i, {"image": np.full((2, 2, 3), i, "uint8"), "label": i}) for i in range(10))}

    def _generate_examples(self):
        raise NotImplementedError


@pytest.mark.parametrize("seed", range(4))
def test_splits_that_a_dataset_lacks_are_cut_out_of_its_training_examples(tmp_path, seed):
    builder = Untested(data_dir=tmp_path)
    builder.download_and_prepare()
    splits = catalog.splits(builder, seed, validation_fraction=0.2, test_fraction=0.3)
    found = {
        name: {int(label) for _, label in builder.as_dataset(split=split, as_supervised=True)}
        for name, split in splits.items()
    }
    assert {name: len(examples) for name, examples in found.items()} == {"validation": 2, "test": 3, "train": 5}
    assert set.union(*found.values()) == set(range(10))


def test_a_dataset_that_cannot_be_downloaded_is_refused_at_once(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setattr(catalog.socket, "create_connection", unreachable)
    for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=r"'mnist' must be downloaded.*no network.*or use a folder of images"):
        data.load("mnist")


def test_an_unknown_dataset_is_refused_with_a_guess():
    with pytest.raises(ValueError, match=r"neither a folder nor a dataset.*Did you mean.*'digits'.*dataset='digitz'"):
        data.load("digitz")


def test_a_dataset_without_class_labels_is_refused():
    with pytest.raises(ValueError, match=r"pairs of an image and a class label.*'coco'"):
        data.load("coco")


# folders


def splits_of(root, seed, validation_fraction=0.2, test_fraction=0.1):
    """Returns the paths and labels of a folder by split."""
    found = folder.read(root, seed, validation_fraction, test_fraction)
    splits = {split: [(path.numpy(), int(label)) for path, label in found.examples(split)] for split in found.sizes}
    assert found.sizes == {split: len(files) for split, files in splits.items()}
    return splits


def test_a_folder_of_class_folders_is_split_by_seed_and_by_class(flowers):
    first, again, other = (splits_of(flowers, seed) for seed in (0, 0, 1))
    assert {split: len(files) for split, files in first.items()} == {"train": 14, "validation": 4, "test": 2}
    for files in first.values():
        assert sum(label for _, label in files) == len(files) / 2
    assert len({path for files in first.values() for path, _ in files}) == 20
    assert first == again
    assert first != other


def test_a_divided_folder_keeps_its_splits(tmp_path):
    make_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    make_classes(tmp_path / "val", {"cat": 2, "dog": 2})
    files = splits_of(tmp_path, 0)
    assert {split: len(found) for split, found in files.items()} == {"train": 8, "validation": 4, "test": 2}


def test_a_folder_becomes_batches_of_preprocessed_images(flowers):
    loaded = data.load(flowers, image_size=96, batch_size=4)
    images, found = next(iter(loaded.train))
    assert (loaded.class_names, images.shape, images.dtype) == (["daisy", "rose"], (4, 96, 96, 3), tf.float32)
    assert set(found.numpy()) <= {0, 1}
    assert -1 <= float(tf.reduce_min(images)) <= float(tf.reduce_max(images)) <= 1


def test_an_epoch_holds_every_training_example_once_in_an_order_that_the_seed_decides(flowers):
    options = {"image_size": 8, "batch_size": 3, "validation_fraction": 0, "test_fraction": 0}
    orders = [list(data.load(flowers, seed=seed, **options).train.unbatch()) for seed in (3, 3, 4)]
    first, again, other = ([tuple(image[0, 0].numpy()) for image, _ in order] for order in orders)
    assert len(set(first)) == 20  # each image has a colour of its own
    assert first == again
    assert first != other
    assert set(first) == set(other)


def test_images_in_deeper_folders_count_and_hidden_files_do_not(flowers):
    (flowers / "rose" / "more").mkdir()
    Image.new("RGB", (40, 36)).save(flowers / "rose" / "more" / "deep.png")
    (flowers / "rose" / ".DS_Store").write_bytes(b"x")
    (flowers / "rose" / "Thumbs.db").write_bytes(b"x")
    assert sum(data.load(flowers).sizes.values()) == 21


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"hello", "no JPEG, PNG"), (encode(blocks(), "JPEG")[:300], "damaged or truncated")],
)
def test_bad_files_are_named_refused_or_skipped(flowers, content, reason):
    (flowers / "rose" / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.jpg: .*{reason}"):
        data.load(flowers)
    loaded = data.load(flowers, skip_bad_images=True)
    assert [path.endswith("bad.jpg") for path in loaded.skipped] == [True]
    assert sum(loaded.sizes.values()) == 20


def test_a_bmp_whose_palette_tensorflow_would_ignore_is_refused(flowers):
    blocks().convert("P").save(flowers / "rose" / "palette.bmp")
    with pytest.raises(ValueError, match=r"palette\.bmp: TensorFlow reads a BMP of 24 or 32 bits"):
        data.load(flowers)
    blocks().convert("L").save(flowers / "rose" / "palette.bmp")  # grey ones are read right
    assert sum(data.load(flowers).sizes.values()) == 21


def test_an_empty_folder_one_class_and_a_class_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least two class folders"):
        data.load(tmp_path)
    make_classes(tmp_path, {"one": 3})
    with pytest.raises(ValueError, match=r"at least two class folders.*\['one'\]"):
        data.load(tmp_path)
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match=r"Every class needs images.*without images of \['two'\]"):
        data.load(tmp_path)


# sizes and arguments


@pytest.mark.parametrize(
    ("side", "architecture", "aux_heads", "size"),
    [
        (8, "googlenet", True, 80),
        (28, "googlenet", True, 84),
        (32, "googlenet", True, 96),
        (32, "googlenet", False, 32),
        (32, "googlenet_small", True, 32),
        (500, "googlenet", True, 224),
        (150, "googlenet", True, 150),
        (500, "googlenet_small", True, 32),
    ],
)
def test_choose_image_size(side, architecture, aux_heads, size):
    assert data.choose_image_size(side, architecture, aux_heads) == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1. Received: batch_size=0"),
        ({"channels": 4}, "`channels` must be 1 or 3. Received: channels=4"),
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "together below 1"),
        ({"test_fraction": -0.1}, "must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)
