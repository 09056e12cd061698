"""The orientation in EXIF turns every image that is read, as Pillow's `exif_transpose` does."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import PngImagePlugin

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from image_bytes import (  # noqa: E402, after the skip
    as_pillow_shows,
    blocks,
    encode,
    exif,
    segment,
    turned,
    with_segments,
)

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data import catalog  # noqa: E402, after the skip
from keras_inception.data.augmentation import augment, example_seed, windows  # noqa: E402, after the skip
from keras_inception.data.decoding import decode_or_say_why  # noqa: E402, after the skip
from keras_inception.data.image_files import DAMAGED  # noqa: E402, after the skip
from keras_inception.data.orientation import orientation  # noqa: E402, after the skip
from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation  # noqa: E402, after the skip

IMAGE = blocks(24, 40)
ORIENTATIONS = range(1, 9)
APP1 = b"Exif\0\0"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", "<>")
def test_all_eight_orientations_are_pillows(kind, order):
    decode = tf.function(data.decode, input_signature=[tf.TensorSpec((), tf.string)])
    shown = {number: as_pillow_shows(turned(IMAGE, kind, number, order)).astype(int) for number in ORIENTATIONS}
    assert len({pixels.tobytes() for pixels in shown.values()}) == 8
    for number, expected in shown.items():
        found = decode(turned(IMAGE, kind, number, order)).numpy()
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_of_a_turned_jpeg_is_that_of_the_upright_image(channels):
    random = np.random.default_rng(0)
    decode_window = tf.function(
        lambda encoded, window: windows.decode_window(encoded, lambda size: window, channels),
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((4,), tf.int32)],
    )
    for number in ORIENTATIONS:
        encoded = encode(IMAGE, "JPEG", quality=90, exif=APP1 + exif(number))  # 4:2:0, whose chroma is interpolated
        whole = data.decode(encoded, channels).numpy()
        for _ in range(6):
            height, width = (int(random.integers(1, side + 1)) for side in whole.shape[:2])
            top, left = (
                int(random.integers(0, room + 1)) for room in (whole.shape[0] - height, whole.shape[1] - width)
            )
            found = decode_window(encoded, [top, left, height, width]).numpy()
            np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def test_an_augmented_image_is_that_of_the_upright_image():
    read = tf.function(
        lambda source, seed: augment(source, (12, 16, 3), seed, PAPER_DISTORTIONS), reduce_retracing=True
    )
    for number in ORIENTATIONS:
        encoded = turned(IMAGE, "JPEG", number)
        upright = encode(IMAGE, "PNG", exif=exif(number))
        assert orientation(encoded) == orientation(upright) == number
        seed = example_seed(0, 0, number)
        np.testing.assert_array_equal(read(tf.constant(encoded), seed), read(data.decode(encoded), seed))


def test_a_folder_is_read_upright_for_training_validation_and_evaluation(tmp_path):
    files = {}
    for number in ORIENTATIONS:
        for split in ("train", "validation", "test"):
            folder = tmp_path / split / f"class {number}"
            folder.mkdir(parents=True)
            files[number] = turned(IMAGE, ("JPEG", "PNG")[number % 2], number)
            (folder / "image").write_bytes(files[number])
    found = data.load(tmp_path, image_size=20, batch_size=3, augmentation=Augmentation())
    expected = {number: data.to_input(data.decode(file), (20, 20, 3), "inception") for number, file in files.items()}
    for batches in (found.train, found.validation, found.test):
        seen = {int(label) + 1: image for images, labels in batches for image, label in zip(images, labels)}
        assert set(seen) == set(ORIENTATIONS)
        for number in ORIENTATIONS:
            np.testing.assert_array_equal(seen[number], expected[number])
    for image, label in found.originals("test"):
        np.testing.assert_array_equal(image, data.decode(files[int(label) + 1]))
    assert found.original_side == 24


class Turned(tfds.core.GeneratorBasedBuilder):
    """The eight orientations as TFDS keeps files: byte by byte."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # TFDS looks for a package, and this file is in none

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=8),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        files = ((i, io.BytesIO(turned(IMAGE, "JPEG", number))) for i, number in enumerate(ORIENTATIONS))
        return {"train": ((i, {"image": file, "label": i}) for i, file in files)}

    def _generate_examples(self):
        raise NotImplementedError


def test_a_tfds_dataset_is_read_upright(tmp_path, monkeypatch):
    builder = Turned(data_dir=tmp_path)
    monkeypatch.setattr(catalog, "_builder", lambda name: builder)
    monkeypatch.setattr(catalog, "_check_reachable", lambda name, builder: None)
    found = data.load("turned", validation_fraction=0, test_fraction=0)
    for image, label in found.originals("train"):
        expected = as_pillow_shows(turned(IMAGE, "JPEG", int(label) + 1)).astype(int)
        assert image.shape == expected.shape
        assert np.abs(image - expected).max() <= 12


JPEG = encode(IMAGE, "JPEG")
# An ASCII and another entry.
OTHERS = [b"\x0f\x01\x02\x00\x04\x00\x00\x00abc\0", b"\x10\x01\x02\x00\x02\x00\x00\x00a\0\0\0"]


def behind_the_pixels(png):
    """A PNG whose EXIF comes last."""
    begin = png.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(png[begin : begin + 4])
    return png[:begin] + png[end:-12] + png[begin:end] + png[-12:]


def with_profile(tiff, *, compressed=False, heading="\nexif\n%8d\n", keyword="Raw profile type exif", **options):
    """A PNG whose EXIF is a text, as ImageMagick writes it: 36 bytes a line."""
    content = APP1 + tiff
    lines = (content[at : at + 36].hex() for at in range(0, len(content), 36))
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "A chunk before it")
    text.add_text(
        keyword, (heading % len(content) if "%" in heading else heading) + "\n".join(lines) + "\n", compressed
    )
    return encode(IMAGE, "PNG", pnginfo=text, **options)


@pytest.mark.parametrize(
    "encoded",
    [
        with_profile(exif(6)),
        with_profile(exif(6, ">", before=OTHERS)),
        with_profile(exif(6, before=OTHERS), compressed=True),
        with_profile(exif(3), exif=exif(6)),  # a chunk of EXIF goes before
        with_segments(JPEG, segment(0xE1, APP1 + exif(6, kind=8))),
        with_segments(JPEG, segment(0xE1, APP1 + exif(6, before=OTHERS))),
        with_segments(JPEG, segment(0xE1, APP1 + exif(6, kind=4))),
        with_segments(JPEG, segment(0xE1, APP1 + exif(6, ">", kind=4))),
        with_segments(JPEG, segment(0xFE, b"Exif\0\0 in a comment"), segment(0xE1, APP1 + exif(6))),
        with_segments(JPEG, segment(0xE2, bytes(65000)), segment(0xE2, bytes(65000)), segment(0xE1, APP1 + exif(6))),
        with_segments(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), segment(0xE1, APP1 + exif(6))),
        with_segments(JPEG, b"\xff\xff", segment(0xE1, APP1 + exif(6))),
        with_segments(JPEG, segment(0xE1, APP1 + exif(6)[:-14])),
        behind_the_pixels(turned(IMAGE, "PNG", 6)),
    ],
)  # fmt: skip
def test_exif_is_found_where_pillow_finds_it(encoded):
    assert orientation(encoded) == 6
    np.testing.assert_allclose(data.decode(encoded), as_pillow_shows(encoded), atol=12)


@pytest.mark.parametrize(
    "tiff",
    [
        exif(0), exif(9), exif(65535), exif(6, count=2), exif(6, kind=2), exif(None), b"", b"II*\0", exif(6)[:9],
        exif(6)[:20], b"II+\0" + exif(6)[4:], b"II*\0\xff\xff\xff\xff" + exif(6)[8:], b"II*\0\xfe\xff\xff\x7f",
        b"MM\0*" + exif(6)[4:], b"II*\0\x08\0\0\0\xff\xff",
    ],
)  # fmt: skip
def test_damaged_exif_leaves_the_image_as_it_is_stored(tiff):
    for encoded in (
        with_segments(JPEG, segment(0xE1, APP1 + tiff)),
        with_segments(JPEG, segment(0xFE, APP1 + exif(6))),
        JPEG[:-2] + segment(0xE1, APP1 + exif(6)) + JPEG[-2:],  # behind the pixels
    ):
        np.testing.assert_array_equal(data.decode(encoded), data.decode(JPEG))


@pytest.mark.parametrize(
    "encoded",
    [
        with_profile(exif(9)), with_profile(exif(1), compressed=True), with_profile(b""), with_profile(exif(6)[:9]),
        with_profile(exif(6), heading=""),
        with_profile(exif(6), keyword="Raw profile type exif2"),
        with_profile(exif(6)).replace(b"tEXtRaw", b"aBCdRaw"),
        b"\x89PNG\r\n\x1a\nRaw profile type exif\0", b"\x89PRaw profile type exif\0zz",
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXtRaw profile type exif\0\n\n\n4",
        b"\x89PNG\r\n\x1a\n\0\0\0\0zTXtRaw profile type exif\0",
        b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe1\x00\x08Exif\0\0",
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0", b"\x89PNG\r\n\x1a\neXIf", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffeXIf",
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffXXXXeXIf", b"\x89PNG\r\n\x1a\n\x80\0\0\0eXIf" + exif(6),
        b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xff" + exif(6), b"RIFF\0\0\0\0WEBPVP8XEXIF", b"RIFF", b"REXIF",
        b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000 + b"Exif\0\0",
    ],
)  # fmt: skip
def test_what_is_no_whole_file_has_no_orientation(encoded):
    assert tf.function(orientation)(tf.constant(encoded)) == 1


def test_a_compressed_profile_that_is_damaged_makes_the_file_damaged():
    encoded = bytearray(with_profile(exif(6), compressed=True))
    at = encoded.index(b"zTXtRaw") + 4 + len("Raw profile type exif") + 4
    encoded[at : at + 4] = b"zzzz"
    assert decode_or_say_why(bytes(encoded)) == DAMAGED
