"""`keras-inception exits RUN`: what it writes and prints, and what it refuses."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from small_network import IMAGE, build

pytest.importorskip("tensorflow")

import tensorflow as tf

import keras_inception as ki
from keras_inception.cli import main
from keras_inception.serving import exits


def write_run(folder, image_folder, model, **config):
    folder.mkdir()
    model.class_names = ["dark", "light"]
    model.save(folder / "model.keras")
    config = {"dataset": str(image_folder), "architecture": "small", "validation_fraction": 0.4, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def small_run(image_folder, tmp_path):
    return write_run(tmp_path / "run", image_folder, build(classes=2), test_fraction=0.3)


def refusal(capsys, *arguments):
    assert main(["exits", *map(str, arguments)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.slow
def test_exits_are_calibrated_on_validation_images_and_scored_on_test_images(small_run, capsys):
    assert main(["exits", str(small_run), "--timed-images", "4", "--max-accuracy-loss", "1"]) == 0
    printed = capsys.readouterr().out
    assert "16 validation images, 12 test images" in printed
    assert "of accuracy lost on the test images" in printed
    assert "times fewer multiply-adds" in printed
    assert "times faster at batch 1" in printed
    calibration = exits.ExitCalibration.from_file(small_run / "exits.json")
    assert calibration.chosen.milliseconds.keys() == {1}
    model = ki.early_exit_model(build(classes=2), calibration)
    assert model.thresholds == calibration.thresholds != {}
    with open(small_run / "exits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(calibration.table)
    assert [row["chosen"] for row in rows].count("True") == 1
    assert float(rows[0]["multiply_adds"]) == calibration.multiply_adds
    assert {"aux1_threshold", "aux2_share", "test_accuracy", "milliseconds_batch_1"} <= set(rows[0])
    assert (small_run / "exits.png").read_bytes().startswith(b"\x89PNG")

    out = small_run.parent / "served"
    assert main(["export", str(small_run), "--early-exit", "--out", str(out)]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (5, *IMAGE), "uint8")
    served = tf.saved_model.load(out / "1").signatures["serving_uint8"](images=tf.constant(pixels))
    found = model(ki.preprocess_input(pixels))
    np.testing.assert_array_equal(served["exit"], found["exit"])
    np.testing.assert_allclose(served["probabilities"], found["probabilities"], atol=1e-5)


@pytest.mark.slow
def test_where_no_image_may_leave_it_says_so(image_folder, tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path / "run", image_folder, build(classes=2), test_fraction=0.0)
    calibrate = exits.calibrate_exits

    def calibrate_to_none(*arguments):
        found = calibrate(*arguments)
        return dataclasses.replace(found, thresholds={}, chosen=found.table[0])

    monkeypatch.setattr(exits, "calibrate_exits", calibrate_to_none)
    assert main(["exits", str(folder), "--timed-images", "0"]) == 0
    printed = capsys.readouterr().out
    assert "no image may leave early: on 16 validation images" in printed
    assert "faster" not in printed


@pytest.mark.slow
def test_what_cannot_be_calibrated_is_refused_in_one_line(small_run, image_folder, tmp_path, capsys):
    assert "is none" in refusal(capsys, small_run / "model.keras")
    cut = write_run(tmp_path / "cut", image_folder, build(classes=2, aux_heads=False))
    assert "Early exits need the main head and an auxiliary head" in refusal(capsys, cut)
    bare = write_run(tmp_path / "bare", image_folder, build(classes=2), validation_fraction=0.0)
    assert "there are no validation images" in refusal(capsys, bare)
    assert main(["export", str(small_run), "--early-exit"]) == 2
    assert "--early-exit needs thresholds" in capsys.readouterr().err
    assert "`max_accuracy_loss` must be a share" in refusal(capsys, small_run, "--max-accuracy-loss", "20")
