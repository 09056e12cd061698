"""Sends mutants of requests to a version in the C++ loader; ends with an error where an answer is not sound.

python fuzz_requests.py VERSION COUNT
"""

import pathlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from encoded_images import huge_png, kinds

from keras_inception.serving.export.c_loader import Server

DTYPES = (
    "float32",
    "float32",
    "float32",
    "uint8",
    "uint8",
    "float16",
    "float64",
    "int32",
    "int64",
    "bool",
    "complex64",
)


def mutated(random, files):
    """Returns the bytes of a file with bytes changed, cut out, put in, or taken from another file."""
    file = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(len(file) + 1)) if random.random() < 0.6 else int(random.integers(64))
        length = int(2 ** random.uniform(0, 9))
        other = files[random.integers(len(files))]
        kind = random.integers(5)
        if kind == 0:
            file[place : place + 4] = random.bytes(4)
        elif kind == 1:
            del file[place : place + length]
        elif kind == 2:
            file[place:place] = random.bytes(length)
        elif kind == 3:
            file[place : place + length] = other[place : place + length]
        else:
            file = file[:place]
    return bytes(file)


def pixels(random):
    """Returns an array of any rank, type and values, most of them near those of images."""
    rank = 4 if random.random() < 0.8 else int(random.integers(0, 6))
    shape = [int(random.integers(0, 5)), *(int(2 ** random.uniform(0, 7)) - 1 for _ in range(2)), 3][:rank]
    shape += [2] * (rank - len(shape))
    if shape and random.random() < 0.2:
        shape[-1] = int(random.integers(0, 6))
    array = random.uniform(-300 * (random.random() < 0.2), 255, shape)
    if array.size and random.random() < 0.4:
        special = (np.nan, np.inf, -np.inf, 1e38, -1e9, 1e-40, 256.0)
        array.flat[random.integers(array.size, size=3)] = special[random.integers(len(special))]
    with np.errstate(all="ignore"):
        return array.astype(DTYPES[random.integers(len(DTYPES))])


def assert_sound(answer, count):
    """Asserts that an answer has a row for each image: probabilities, or all of it blank."""
    assert all(len(rows) == count for rows in answer.values())
    if "features" in answer:
        return
    for name in {"probabilities", "main", "aux1", "aux2"} & set(answer):
        sums = answer[name].sum(axis=1)
        assert (np.isnan(sums) | np.isclose(sums, 1, atol=1e-4)).all(), name
    if "classes" in answer:
        blank = np.isnan(answer["probabilities"]).any(axis=1)
        assert ((answer["classes"] == b"").all(axis=1) == blank).all()


def main(version, count):
    server, random = Server(version), np.random.default_rng(0)
    files = [*kinds().values(), huge_png(), b"GIF89a", b""]
    good = {"image_bytes": [kinds()["jpeg"], kinds()["png"]]}
    before = server("serving_bytes", **good)["probabilities"]
    signatures = sorted(name for name in server.signatures if name != "metadata" and not name.startswith("__"))
    answered = 0
    for index in range(int(count)):
        signature = "serving_bytes" if index % 2 else signatures[random.integers(len(signatures))]
        is_files = (signature == "serving_bytes") != (random.random() < 0.05)
        value = [mutated(random, files) for _ in range(random.integers(0, 5))] if is_files else pixels(random)
        [name] = server.signatures[signature].inputs
        try:
            answer = server(signature, **{name: value})
        except RuntimeError:
            continue
        answered += 1
        assert_sound(answer, len(value))
        if index % 50 == 0:
            np.testing.assert_array_equal(server("serving_bytes", **good)["probabilities"], before)
    np.testing.assert_array_equal(server("serving_bytes", **good)["probabilities"], before)
    # Not `ru_maxrss`, which a process takes over from the one that started it.
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(f"{answered} {int(status['VmHWM'].split()[0]) * 1024}")


if __name__ == "__main__":
    main(*sys.argv[1:])
