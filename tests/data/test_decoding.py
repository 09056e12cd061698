"""The bytes of image files become the pixels that Pillow reads, in bounded memory, or a reason of a few words."""

import io
import resource
import struct

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")

from image_bytes import blocks, encode, turned  # noqa: E402, after the skip

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data.augmentation import windows  # noqa: E402, after the skip
from keras_inception.data.decoding import decode_or_say_why  # noqa: E402, after the skip
from keras_inception.data.images import centred_window  # noqa: E402, after the skip
from keras_inception.serving.export.requests import from_files  # noqa: E402, after the skip


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


def test_resize_pads_with_black_bars_on_two_sides():
    for shape in ((20, 40), (40, 20)):
        padded = data.resize(np.full((*shape, 3), 200, "uint8"), 12, 12, "pad").numpy()
        padded = padded if shape[0] < shape[1] else padded.swapaxes(0, 1)
        np.testing.assert_allclose(padded[3:9], 200, rtol=1e-6)
        assert not padded[[0, 1, 2, 9, 10, 11]].any()


def test_resize_stretches_the_whole_image():
    image = np.zeros((20, 60, 3), "uint8")
    image[:, 30:] = 200
    stretched = data.resize(image, 10, 10, "stretch").numpy()
    np.testing.assert_allclose(stretched[:, :4], 0, atol=1e-3)
    np.testing.assert_allclose(stretched[:, 6:], 200, rtol=1e-6)


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


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_its_first_frame(kind, mode):
    frames = [blocks(seed=seed).convert(mode) for seed in range(3)]
    options = {"GIF": {"comment": b"x" * 700, "loop": 0}, "WEBP": {"lossless": True}}[kind]
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(decode_or_say_why(encoded), expected)


def memory():
    """Returns the largest memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_other_frames_of_a_gif_take_no_memory():
    one = encode(Image.new("P", (2000, 2000)), "GIF")
    start = 13 + 3 * 2 ** (one[10] % 8 + 1)
    encoded = one[:start] + one[start:-1] * 1000 + b";"  # 4 GB of indices
    assert decode_or_say_why(one).shape == (2000, 2000, 3)
    before = memory()
    np.testing.assert_array_equal(decode_or_say_why(encoded)[::100], data.decode(one)[::100])
    assert memory() - before < 100e6


@pytest.mark.parametrize("size", [1, 2, 200])
def test_a_gif_may_have_blocks_of_any_size(size):
    encoded = encode(blocks(), "GIF")
    start = 13 + 3 * 2 ** (encoded[10] % 8 + 1)
    start = encoded.index(b"\x2c", start) + 11
    at, content = start, b""
    while encoded[at]:
        content += encoded[at + 1 : at + 1 + encoded[at]]
        at += 1 + encoded[at]
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    other = encoded[:start] + b"".join(bytes([len(part)]) + part for part in parts) + encoded[at:]
    np.testing.assert_array_equal(decode_or_say_why(other), data.decode(encoded))


def bmp(bits, compression=0, header=40, masks=(0xFF0000, 0xFF00, 0xFF)):
    """A sound BMP of 4x4 pixels without colours."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, 4, 4, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, 4, 4, 1, bits, compression, 0, 0, 0, 0, 0) + bytes(header - 40)
    extra = struct.pack("<III", *masks) if compression == 3 else bytes(4 * 2**bits) if bits <= 8 else b""
    pixels = bytes(4 * max(4, 4 * bits // 8))
    start = 14 + header + len(extra)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + extra + pixels


@pytest.mark.parametrize(
    "encoded",
    [bmp(1), bmp(4), bmp(16), bmp(16, 3, masks=(0xF800, 0x7E0, 0x1F)), bmp(24, header=12), bmp(8, header=12),
     encode(blocks().convert("P"), "BMP"),
     encode(blocks().convert("1"), "BMP")],
)  # fmt: skip
def test_a_sound_bmp_that_tensorflow_reads_wrongly_is_not_called_damaged(encoded):
    Image.open(io.BytesIO(encoded)).load()
    assert decode_or_say_why(encoded).startswith("TensorFlow reads a BMP of 24 or 32 bits, or of 8 in evenly spaced")
    with pytest.raises(tf.errors.InvalidArgumentError, match="TensorFlow reads a BMP of 24 or 32 bits"):
        data.decode(encoded)


@pytest.mark.parametrize("encoded", [bmp(24), bmp(32), bmp(32, 3), encode(blocks().convert("L"), "BMP")])
def test_other_bmps_are_read(encoded):
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(decode_or_say_why(encoded), expected)


def png_of(width, height):
    """A small PNG whose header says that it is larger."""
    return encode(blocks(), "PNG")[:16] + struct.pack(">II", width, height) + encode(blocks(), "PNG")[24:]


def gif_of(width, height):
    """A GIF on whose small screen lies a large frame."""
    encoded = encode(blocks(), "GIF")
    at = encoded.index(b"\x2c", 13 + 3 * 2 ** (encoded[10] % 8 + 1))
    return encoded[: at + 5] + struct.pack("<HH", width, height) + encoded[at + 9 :]


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (png_of(30_000, 30_000), "more than 89,478,485 pixels; scale it down"),
        (png_of(2**31 - 1, 2**31 - 1), "more than 89,478,485 pixels"),
        (png_of(1, 1_000_001), "a PNG of more than 1,000,000 pixels along a side is not read; scale it down"),
        (png_of(8_000_000, 1), "a PNG of more than 1,000,000 pixels along a side"),
        (bmp(24)[:18] + struct.pack("<ii", 100_000, -100_000) + bmp(24)[26:], "more than 89,478,485 pixels"),
        (bmp(32, 3, masks=(0xFF, 0xFF00, 0xFF0000)), "TensorFlow reads a BMP"),  # red and blue would change places
        (gif_of(65_535, 65_535), "damaged"),
        (encode(blocks(), "GIF")[:500], "damaged"),
        (encode(blocks(), "GIF")[:13], "damaged"),
        (b"", "empty"),
        (b"<html>", "no JPEG, PNG, BMP, GIF or WebP"),
    ],
)
def test_bombs_and_wrecks_have_a_reason_and_take_no_memory(encoded, reason):
    decode_or_say_why(b"?")
    before = memory()
    assert reason in decode_or_say_why(encoded)
    assert memory() - before < 50e6


def mutants(count):
    """Yields files with flipped bytes, lengths of nonsense, missing ends, and parts of other files."""
    random = np.random.default_rng(0)
    image = blocks(24, 40)
    frames = {"save_all": True, "append_images": [blocks(24, 40, seed) for seed in range(3)]}
    files = [turned(image, kind, 6) for kind in ("JPEG", "PNG", "WEBP")]
    files += [encode(image, "JPEG", progressive=True), encode(image.convert("P"), "PNG"), encode(image, "BMP")]
    files += [encode(image.convert("L"), "BMP"), encode(image, "GIF", **frames), encode(image, "WEBP", **frames)]
    for number in range(count):
        file = bytearray(files[number % len(files)])
        for _ in range(int(random.integers(1, 4))):
            at = int(random.integers(0, min(len(file), 10 ** int(random.integers(1, 5)))))
            match random.integers(0, 5):
                case 0:
                    file[at] ^= 1 << int(random.integers(8))
                case 1:
                    file[at : at + 4] = random.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4)])
                case 2:
                    file = file[: max(at, 1)]
                case 3:
                    file[at:at] = file[: int(random.integers(1, 100))]
                case 4:
                    del file[at : at + int(random.integers(1, 100))]
        yield bytes(file)


@pytest.mark.slow
def test_mutants_of_images_are_read_or_have_a_reason():
    window = tf.function(
        lambda encoded: windows.decode_window(encoded, lambda size: centred_window(size, 8, 8), 3),
        input_signature=[tf.TensorSpec((), tf.string)],
    )
    decode_or_say_why(b"?")
    before, files, readable = memory(), list(mutants(600)), []
    for place, encoded in enumerate(files):
        found = decode_or_say_why(encoded)
        if isinstance(found, str):
            assert len(found.splitlines()) == 1
        else:
            assert found.dtype == tf.uint8
            assert found.shape[2] == 3
            readable.append(place)
        try:
            assert window(encoded).shape[2] == 3
        except tf.errors.OpError:
            continue
    assert 50 < len(readable) < 550
    served = tf.function(lambda files: from_files(files, (8, 8, 3), "inception", "crop"), autograph=False)
    _, places = served(tf.constant(files))  # as in an exported graph
    assert places.numpy().tolist() == readable
    assert memory() - before < 1.2e9  # an image of as many pixels as are allowed takes 0.27
