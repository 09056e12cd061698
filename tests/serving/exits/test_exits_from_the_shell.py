"""`keras-inception exits RUN`: what it writes and prints, and what it refuses."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from served_network import build, random_pixels

import keras_inception as ki
from keras_inception.cli import main
from keras_inception.serving import exits


@pytest.fixture
def write_run(image_folder, tmp_path):
    """Returns `write(test_fraction=0.3, validation_fraction=0.4, **model options)`, which gives a run folder."""

    def write(name="run", test_fraction=0.3, validation_fraction=0.4, **options):
        folder = tmp_path / name
        folder.mkdir()
        build(classes=2, class_names=["dark", "light"], **options).save(folder / "model.keras")
        config = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
        (folder / "config.json").write_text(json.dumps({"dataset": str(image_folder), **config}))
        return folder

    return write


@pytest.mark.slow
def test_exits_are_calibrated_on_validation_images_and_scored_on_test_images(write_run, capsys):
    run = write_run()
    assert main(["exits", str(run), "--max-accuracy-loss", "1"]) == 0
    printed = capsys.readouterr().out
    for text in ("16 validation images, 12 test images", "points of accuracy on the test", "% of the multiply-adds"):
        assert text in printed
    calibration = exits.ExitCalibration.from_file(run / "exits.json")
    model = ki.early_exit_model(build(classes=2), calibration)
    assert model.thresholds == calibration.thresholds != {}
    with open(run / "exits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(calibration.table)
    assert [row["chosen"] for row in rows].count("True") == 1
    assert float(rows[0]["multiply_adds"]) == calibration.multiply_adds
    assert {"aux1_threshold", "aux2_share", "test_accuracy"} <= set(rows[0])
    for name in ("exits.png", "exits-images.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")

    out = run.parent / "served"
    assert main(["export", str(run), "--early-exit", "--out", str(out)]) == 0
    pixels = random_pixels(5)
    served = tf.saved_model.load(out / "1").signatures["serving_uint8"](images=tf.constant(pixels))
    found = model(ki.preprocess_input(pixels))
    np.testing.assert_array_equal(served["exit"], found["exit"])
    facts = tf.saved_model.load(out / "1").signatures["metadata"]()
    assert [name.decode() for name in facts["exit_names"].numpy()] == list(model.exit_names)
    assert ", ".join(f"{i} is `{name}`" for i, name in enumerate(model.exit_names)) in (out / "1/README.md").read_text()
    np.testing.assert_allclose(served["probabilities"], found["probabilities"], atol=1e-5)


@pytest.mark.slow
def test_where_no_image_may_leave_it_says_so(write_run, capsys, monkeypatch):
    run, calibrate = write_run(test_fraction=0.0), exits.calibrate_exits

    def calibrate_to_none(*arguments, **options):
        found = calibrate(*arguments, **options)
        return dataclasses.replace(found, thresholds={}, chosen=found.table[0])

    monkeypatch.setattr(exits, "calibrate_exits", calibrate_to_none)
    assert main(["exits", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "no image may leave early: on 16 validation images" in printed
    assert "chosen:" not in printed
    assert "next:" not in printed
    assert main(["export", str(run), "--early-exit", "--out", str(run.parent / "served")]) == 2
    assert "no image leaves early" in capsys.readouterr().err
    assert not (run.parent / "served").exists()


@pytest.mark.slow
def test_what_cannot_be_calibrated_is_refused_in_one_line(write_run, capsys):
    run = write_run()
    for arguments, text in (
        (["exits", run / "model.keras"], "is none"),
        (["exits", write_run("cut", aux_heads=False)], "Early exits need the main head and an auxiliary head"),
        (["exits", write_run("bare", validation_fraction=0.0)], "there are no validation images"),
        (["exits", run, "--max-accuracy-loss", "20"], "`max_accuracy_loss` must be a share"),
        (["export", run, "--early-exit"], "--early-exit needs thresholds"),
    ):
        assert main(list(map(str, arguments))) == 2
        *_, line = capsys.readouterr().err.splitlines()  # a warning says that the run did not note its images
        assert text in line
