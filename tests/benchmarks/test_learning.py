"""The images of `benchmarks/learning.py` for other backends, and runs of it on a folder that is made for it."""

import csv
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest

import keras_inception

BENCHMARKS = pathlib.Path(keras_inception.__file__).parents[1] / "benchmarks"


@pytest.fixture
def learning(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("learning")


def grey(learning, count, batch_size=4, seed=0):
    """Batches of images that are grey throughout, each in a grey of its own, which is its label as well."""
    labels = np.arange(count, dtype="int32")
    images = np.broadcast_to(labels[:, None, None, None], (count, 32, 32, 3)).astype("uint8")
    return learning.Crops(images, labels, batch_size, seed)


def test_each_epoch_gives_each_image_once_with_its_label_and_leaves_out_the_rest(learning):
    batches = grey(learning, 11)
    assert len(batches) == 2
    epochs = []
    for _ in range(2):
        images, labels = map(np.concatenate, zip(*(batches[index] for index in range(2))))
        assert images.shape == (8, 32, 32, 3)
        assert images.dtype == np.uint8
        assert len(set(labels)) == 8
        for image, label in zip(images, labels):
            assert set(np.unique(image)) <= {label, 127}
            assert (image == 127).any(axis=-1).sum() <= 64  # a square of 8x8, or what of it lies inside
        epochs.append(labels)
        batches.next_epoch()
    assert list(epochs[0]) != list(epochs[1])


def test_crops_are_windows_of_the_padded_image_some_mirrored(learning, monkeypatch):
    monkeypatch.setattr(learning, "CUT_OUT", 0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    batches = learning.Crops(np.stack([image] * 64), np.zeros(64, "int32"), 64, 0)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = {padded[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    found = [windows.get(crop.tobytes()) for crop in batches[0][0]]
    mirrored = [windows.get(crop[:, ::-1].tobytes()) for crop in batches[0][0]]
    assert all((one is None) != (other is None) for one, other in zip(found, mirrored))
    assert 15 < sum(place is None for place in found) < 49
    assert {place[0] for place in found if place} | {place[0] for place in mirrored if place} == set(range(9))


def test_a_batch_depends_on_seed_epoch_and_place_alone(learning):
    one, other, third = grey(learning, 8), grey(learning, 8), grey(learning, 8, seed=1)
    other[1]
    np.testing.assert_array_equal(one[0][0], other[0][0])
    assert not np.array_equal(one[0][0], third[0][0])


def test_a_tenth_is_kept_for_validation_by_the_seed(learning, image_folder):
    first, again, other = (learning.load(image_folder, None, seed) for seed in (3, 3, 4))
    assert first.class_names == ["dark", "light"]
    assert first.train[0].shape == (36, 32, 32, 3)
    assert first.validation[0].shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(first.validation[0], again.validation[0])
    assert not np.array_equal(first.validation[0], other.validation[0])
    everything = np.concatenate([first.train[0], first.validation[0]])
    assert len({image.tobytes() for image in everything}) == 40  # each image is in one part
    labels = np.concatenate([first.train[1], first.validation[1]])
    np.testing.assert_array_equal(labels, everything[:, 0, 0, 2] >= 150)
    assert len(learning.load(image_folder, 5, 0).train[1]) == 9


def test_an_archive_is_unpacked_once_whole_or_by_draw(learning, image_folder, tmp_path):
    archive = tmp_path / "images.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(image_folder, "train")
    whole = learning.unpacked(archive, tmp_path / "whole")
    assert sorted(path.name for path in whole.iterdir()) == ["dark", "light"]
    assert len(list(whole.rglob("*.png"))) == 40
    some = learning.unpacked(archive, tmp_path / "some", 3)
    assert len(list((some / "dark").iterdir())) == len(list((some / "light").iterdir())) == 3
    archive.unlink()
    assert learning.unpacked(archive, tmp_path / "some", 3) == some


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_run_writes_what_was_reached(image_folder, tmp_path, backend):
    if backend == "torch":
        pytest.importorskip("torch")
    options = ["--architecture", "googlenet_small", "--width", "0.1", "--image-size", "32", "--epochs", "2"]
    options += ["--train-image-size", "30", "--final-epochs", "1", "--batch-size", "12"]
    options += ["--precision", "float32", "--seeds", "5"]
    finished = subprocess.run(
        [sys.executable, BENCHMARKS / "learning.py", "cifar10", "--images", image_folder, "--out", tmp_path, *options],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    out = tmp_path / f"cifar10-googlenet_small-{backend}-5"
    result = json.loads((out / "measured.json").read_text())
    assert (result["epochs"], result["sizes"]["train"], result["sizes"]["validation"]) == (2, 36, 4)
    assert (result["seed"], result["part"], result["precision"]) == (5, "validation", "float32")
    assert set(result["accuracy"]) == {"main", "aux1", "aux2"}
    with open(out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["val_main_accuracy"]) == result["accuracy"]["main"] == result["validation"][1]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"| googlenet_small_0.1 | {result['backend']} | float32 | 5 | 2 | 4 validation |" in finished.stdout
