"""`benchmarks/fine_tuning.py` on images that are made for it."""

import csv
import importlib
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY

import keras_inception

CLASSES = ("bird", "cat", "dog", "ship", "truck")


@pytest.fixture
def fine_tuning(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(keras_inception.__file__).parents[1] / "benchmarks")
    module = importlib.import_module("fine_tuning")
    monkeypatch.setattr(module, "MEASURED", 4)
    monkeypatch.setattr(module, "COUNTS", (6,))
    return module


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(0, 256, (32, 32, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


def test_no_image_is_in_two_parts_and_the_seed_decides(fine_tuning, folder):
    one, again, other = (fine_tuning.drawn(folder, CLASSES[2:], 6, seed) for seed in (1, 1, 2))
    assert one == again != other
    for name in CLASSES[2:]:
        assert len(set(one["train"][name])) == 6
        assert len(set(one["test"][name])) == 4
        assert not set(one["train"][name]) & set(one["test"][name])


def test_class_folders_hold_the_drawn_images(fine_tuning, folder, tmp_path):
    splits = fine_tuning.drawn(folder, CLASSES[2:], 6, 0)
    made = fine_tuning.linked(tmp_path / "made", splits)
    for split, classes in splits.items():
        assert sorted(path.name for path in (made / split).iterdir()) == list(CLASSES[2:])
        for name, paths in classes.items():
            found = {path.name: path.read_bytes() for path in (made / split / name).iterdir()}
            assert found == {path.name: path.read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:All weights of .* were loaded except", "ignore:suspicious_labels.png is left out")
def test_a_run_writes_the_accuracy_of_each_start(fine_tuning, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "NETWORK", {"architecture": TINY, "image_size": 10})
    monkeypatch.setitem(fine_tuning.STARTS["pretrained, frozen"], "freeze_through", "inception_4a")
    monkeypatch.setitem(fine_tuning.RECIPE, "precision", "float32")
    options = ["--images", str(folder), "--out", str(tmp_path / "out"), "--epochs", "2", "--fine-tuning-epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", *options, "--seeds", "0"])
    fine_tuning.main()
    with open(tmp_path / "out" / "fine_tuning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["images"], row["start"]) for row in rows] == [
        (count, start) for count in ("6",) for start in ("pretrained", "pretrained, frozen", "random")
    ]
    assert all(float(row["accuracy"]) * 12 == pytest.approx(round(float(row["accuracy"]) * 12)) for row in rows)
    printed = capsys.readouterr().out
    assert "bird, cat: 2 epochs" in printed
    fine_tuning.main()  # nothing is trained again
    assert capsys.readouterr().out == printed
