"""Requests that nobody should send, and that somebody will."""

import ctypes
import gc
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from encoded_images import encode, huge_png, photograph

from keras_inception.serving.classifier import Classifier

GOOD = [encode(photograph(seed=seed), kind) for seed, kind in ((1, "JPEG"), (2, "PNG"))]
BAD = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "truncated jpeg": encode(photograph(200, 150), "JPEG")[:2000],
    "truncated png": encode(photograph(200, 150), "PNG")[:-2000],
    "truncated gif": encode(photograph(200, 150), "GIF")[:2000],
    "start of a jpeg": b"\xff\xd8\xff",
    "start of a png": b"\x89PNG\r\n\x1a\n",
    "huge png": huge_png(),
    "hugest png": huge_png(2**31 - 1, 2**31 - 1),
    "tiff": encode(photograph(), "TIFF"),
    "bmp with coloured palette": encode(photograph().convert("P"), "BMP"),
}
FUZZ = Path(__file__).with_name("fuzz_requests.py")
WAYS = pytest.mark.parametrize("way", ["server", "loaded"])
# What Python raises for a request that does not fit the signature, and what the C API does.
REFUSED = (RuntimeError, TypeError, ValueError, tf.errors.OpError)


def memory():
    """Returns the largest memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@WAYS
@pytest.mark.parametrize("kind", BAD)
def test_an_image_that_cannot_be_read_fails_the_request_with_its_index(way, kind, request):
    call = request.getfixturevalue(way)
    before = memory()
    with pytest.raises((RuntimeError, tf.errors.OpError), match=r"by index in the batch:\] \[1\]"):
        call("serving_bytes", image_bytes=[GOOD[0], BAD[kind], GOOD[1]])
    with pytest.raises((RuntimeError, tf.errors.OpError), match=r"must be complete JPEG, PNG, BMP, GIF .*\[0 2\]"):
        call("serving_bytes", image_bytes=[BAD[kind], GOOD[0], BAD[kind]])
    assert memory() - before < 500e6


def test_masked_images_leave_the_others_as_they_are(server, masking_server):
    expected = server("serving_bytes", image_bytes=GOOD)["probabilities"]
    files = [*BAD.values(), GOOD[0], *BAD.values(), GOOD[1]]
    answer = masking_server("serving_bytes", image_bytes=files)
    good = np.isin(np.arange(len(files)), [len(BAD), len(files) - 1])
    np.testing.assert_allclose(answer["probabilities"][good], expected, rtol=0, atol=1e-6)
    assert np.isnan(answer["probabilities"][~good]).all()
    assert np.isnan(answer["scores"][~good]).all()
    assert (answer["classes"][~good] == b"").all()
    assert (answer["classes"][good] != b"").all()
    answer = masking_server("serving_bytes", image_bytes=list(BAD.values()))
    assert answer["probabilities"].shape == (len(BAD), 7)
    assert np.isnan(answer["probabilities"]).all()


def not_pixels():
    """Returns a batch of photographs, of which 8 is almost black and 9 sharpened, and the indices of what are none."""
    images = np.random.default_rng(0).uniform(0, 255, (12, 9, 7, 3)).astype("float32")
    for index, value in ((1, np.nan), (2, np.inf), (4, -np.inf), (5, 1e38)):
        images[index, 3, 2, 1] = value
    images[6] = images[6] / 127.5 - 1  # preprocessed
    images[7] /= 255
    images[8] = np.round(images[8] / 255)
    images[9] = images[9] * 1.2 - 25
    images[10] = images[10] / 58 - 2.1  # standardised
    images[11] = np.sign(images[11] - 128)
    return images, [1, 2, 4, 5, 6, 7, 10, 11]


@WAYS
@pytest.mark.parametrize("signature", ["serving_default", "features"])
def test_what_cannot_be_pixels_fails_the_request_with_its_index(way, signature, request):
    images, bad = not_pixels()
    call = request.getfixturevalue(way)
    with pytest.raises(
        (RuntimeError, tf.errors.OpError), match=r"must be pixels from 0 to 255.*batch:\] \[1 2 4 5 6 7 10 11\]"
    ):
        call(signature, images=images)
    answer = call(signature, images=np.delete(images, bad, 0))
    assert np.isfinite(answer["features" if signature == "features" else "probabilities"]).all()


def test_what_cannot_be_pixels_is_masked(server, masking_server, exiting_server):
    images, bad = not_pixels()
    is_bad = np.isin(np.arange(len(images)), bad)
    good = server("serving_default", images=images[~is_bad])
    answer = masking_server("serving_default", images=images)
    np.testing.assert_allclose(answer["probabilities"][~is_bad], good["probabilities"], rtol=0, atol=1e-6)
    assert np.isnan(answer["scores"][is_bad]).all()
    assert (answer["classes"][is_bad] == b"").all()
    exits = exiting_server("serving_default", images=images)["exit"]
    np.testing.assert_array_equal(exits == -1, is_bad)
    for head, rows in masking_server("all_heads", images=images).items():
        np.testing.assert_array_equal(np.isnan(rows).all(axis=1), is_bad, err_msg=head)


@WAYS
def test_an_empty_batch_has_an_empty_answer(way, request):
    call = request.getfixturevalue(way)
    empty = {
        "serving_bytes": {"image_bytes": tf.zeros(0, tf.string).numpy().tolist()},
        "serving_default": {"images": np.zeros((0, 16, 16, 3), "float32")},
        "serving_uint8": {"images": np.zeros((0, 9, 5, 3), "uint8")},
    }
    if way == "loaded":
        empty["serving_bytes"] = {"image_bytes": tf.zeros(0, tf.string)}
    for signature, inputs in empty.items():
        answer = call(signature, **inputs)
        assert {name: array.shape for name, array in answer.items()} == {
            "probabilities": (0, 7),
            "classes": (0, 5),
            "scores": (0, 5),
        }, signature
    assert call("features", images=np.zeros((0, 16, 16, 3), "float32"))["features"].shape[0] == 0


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        (
            "serving_default",
            {"images": np.zeros((16, 16, 3), "float32")},
            r"\[16,16,3\].*expected shape \[\?,\?,\?,3\]",
        ),
        ("serving_default", {"images": np.zeros((1, 16, 16, 1), "float32")}, r"images.*\[1,16,16,1\]"),
        ("serving_default", {"images": np.zeros((2, 0, 5, 3), "float32")}, r"with pixels.*\[2 0 5"),
        ("serving_default", {"images": np.zeros((1, 16, 16, 3), "float64")}, "float but double"),
        ("serving_default", {"images": np.zeros((1, 32, 32, 3), "uint8")}, "float but uint8"),
        ("serving_default", {"images": [b"text"]}, "float but string"),
        ("serving_bytes", {"image_bytes": np.zeros(3, "float32")}, "string but float"),
        ("features", {"images": np.zeros((3,), "float32")}, r"images.*\[3\]"),
    ],
)
def test_the_wrong_rank_or_type_is_refused(server, loaded, signature, inputs, message):
    before = server("serving_bytes", image_bytes=GOOD)
    with pytest.raises(RuntimeError, match=message):
        server(signature, **inputs)
    with pytest.raises(REFUSED):
        loaded(signature, **inputs)
    after = server("serving_bytes", image_bytes=GOOD)
    np.testing.assert_array_equal(after["probabilities"], before["probabilities"])


def requests(count, seed=0):
    """Yields signatures and inputs, every third of them bad."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        size = int(random.integers(0, 4))
        kind = random.integers(0, 6)
        if kind == 0:
            files = [list(BAD.values())[random.integers(len(BAD))] for _ in range(size)] + GOOD
            yield "serving_bytes", {"image_bytes": files}
        elif kind == 1:
            yield "serving_default", {"images": np.zeros((size, 16), "float32")}
        elif kind == 2:
            yield "serving_bytes", {"image_bytes": [GOOD[0]] * size}
        else:
            shape = (size, *random.integers(1, 60, 2), 3)
            pixels = random.integers(0, 256, shape).astype("uint8")
            yield (
                ("serving_uint8", {"images": pixels})
                if kind == 3
                else (
                    ("serving_default", "features")[kind - 4],
                    {"images": pixels.astype("float32")},
                )
            )


def resident():
    """Returns the memory that this process holds now, without garbage and what malloc keeps for later, in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["server", "masking_server"])
def test_ten_thousand_mixed_requests_leave_neither_traces_nor_memory(way, request):
    call = request.getfixturevalue(way)

    def send(count, seed):
        for signature, inputs in requests(count, seed):
            try:
                call(signature, **inputs)
            except RuntimeError:
                continue

    first = call("serving_bytes", image_bytes=GOOD)
    send(3000, seed=1)
    before = resident()
    send(10_000, seed=2)
    grown = resident() - before
    np.testing.assert_array_equal(call("serving_bytes", image_bytes=GOOD)["probabilities"], first["probabilities"])
    assert grown < 5e6  # half a kB a request; the smallest image is larger


def test_the_command_refuses_the_same_files(model, tmp_path):
    files = {**BAD, "good": GOOD[0]}
    paths = [tmp_path / name for name in files]
    for path, file in zip(paths, files.values()):
        path.write_bytes(file)
    said = {path.name: answer for path, answer in Classifier(model).predict_files(paths)}
    assert [name for name, answer in said.items() if not isinstance(answer, str)] == ["good"]
    assert said["huge png"] == said["hugest png"] == "it has more than 89,478,485 pixels; scale it down"
    assert said["text"] == said["tiff"] == "it is no JPEG, PNG, BMP, GIF or WebP image"
    assert said["truncated jpeg"] == said["truncated png"] == "it is damaged or truncated"


@pytest.mark.parametrize("way", ["server", "loaded"])
def test_bytes_at_random_do_no_harm(way, request, masking_server):
    random = np.random.default_rng(0)
    starts = [
        file[:30] for file in (*GOOD, BAD["huge png"], b"GIF89a", b"BM", b"RIFF....WEBPVP8 ", b"RIFF....WEBPVP8X", b"")
    ]
    files = [starts[index % len(starts)] + random.bytes(int(random.integers(0, 60))) for index in range(64)]
    assert np.isnan(masking_server("serving_bytes", image_bytes=files)["probabilities"]).all()
    with pytest.raises((RuntimeError, tf.errors.OpError), match="by index in the batch"):
        request.getfixturevalue(way)("serving_bytes", image_bytes=files)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_hundreds_of_mutants_do_no_harm(exports, version):
    """In a process of its own, which a crash or a hang would end."""
    command = [sys.executable, FUZZ, exports / version, "300"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-3000:]
    answered, most_memory = map(int, run.stdout.split())
    assert 20 < answered < 280
    assert most_memory < 1.5e9  # TensorFlow alone takes a third of it
