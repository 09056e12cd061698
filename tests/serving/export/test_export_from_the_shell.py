"""`keras-inception export` as people type it."""

import json
import re
import shutil

import numpy as np
import pytest
from encoded_images import encode, photograph
from served_network import build

from keras_inception.cli import main
from keras_inception.serving.export import formats
from keras_inception.serving.export.c_loader import Server


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A run folder with a model and what is known of its training."""
    folder = tmp_path_factory.mktemp("runs") / "animals"
    folder.mkdir()
    model.save(folder / "model.keras")
    (folder / "results.json").write_text(json.dumps({"main": {"accuracy": 0.75}}))
    (folder / "config.json").write_text(json.dumps({"dataset": "digits"}))
    return folder


def refused(capsys, *arguments):
    """Returns the one line with which the command refuses its arguments."""
    assert main(["export", *map(str, arguments)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_run_becomes_versions_that_a_server_loads(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(saved), "--on-bad-image", "mask", "--top", "2"]) == 0
    printed = capsys.readouterr().out
    assert "wrote saved_models/animals/1: " in printed
    assert f"--model_name=animals --model_base_path={tmp_path / 'saved_models/animals'}" in printed
    server = Server(tmp_path / "saved_models" / "animals" / "1")
    answer = server("serving_bytes", image_bytes=[encode(photograph(), "PNG"), b""])
    assert answer["scores"].shape == (2, 2)
    assert np.isnan(answer["scores"][1]).all()
    training = json.loads(server("metadata")["training"].item())
    assert training["results"]["main"]["accuracy"] == 0.75
    assert training["config"]["dataset"] == "digits"
    assert "0.75" in (tmp_path / "saved_models/animals/1/README.md").read_text()


def test_a_keras_file_and_the_options_are_taken(saved, tmp_path, capsys):
    out = tmp_path / "served"
    options = ("--all-heads", "--precision", "bfloat16", "--version", "7", "--out", str(out))
    assert main(["export", str(saved / "model.keras"), *options]) == 0
    assert f"wrote {out}/7: " in capsys.readouterr().out
    assert "all_heads" in Server(out / "7").signatures
    assert "exists, and a version is never replaced" in refused(capsys, saved, "--out", out, "--version", 7)


def test_what_cannot_be_exported_is_refused_in_one_line(saved, tmp_path, capsys, monkeypatch):
    assert "--top must be at least 1. Received: 0" in refused(capsys, saved, "--top", 0)
    assert "Received: /nowhere" in refused(capsys, "/nowhere")
    assert "--int8 is for --format onnx, litert, openvino" in refused(capsys, saved, "--int8")
    assert "--all-heads is for a SavedModel" in refused(capsys, saved, "--format", "onnx", "--all-heads")
    (tmp_path / "file").write_text("")
    assert "must be a folder, and this is a file" in refused(capsys, saved, "--out", tmp_path / "file")
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "keras-inception[onnx]"' in refused(capsys, saved, "--format", "onnx", "--out", tmp_path / "x")


@pytest.mark.slow
@pytest.mark.filterwarnings("always:the 8 bits are calibrated on:UserWarning")
@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino"])
def test_int8_prints_accuracy_and_time_before_and_after(run, tmp_path, capsys, kind):
    for package in formats.FORMATS[kind].packages:
        pytest.importorskip(package)
    arguments = ("--format", kind, "--int8", "--out", str(tmp_path / "int8"))
    assert main(["export", str(run.folder), *arguments]) == 0
    printed, warned = capsys.readouterr()
    assert "accuracy on 4 test images: " in printed
    assert [line for line in warned.splitlines() if line.startswith("warning: the 8 bits are calibrated on 4 images")]
    assert "% in float32, " in printed
    assert re.search(r"\na batch of 1: [0-9.]+ ms, [0-9.]+ of the SavedModel's time in (float32|bfloat16)\n", printed)
    assert "\na batch of 16: " in printed
    assert (tmp_path / "int8" / "1" / formats.FORMATS[kind].file).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("damaged_split", ["validation", "test"])
def test_int8_names_an_image_that_is_damaged_within_and_writes_nothing(damaged_split, image_folder, tmp_path, capsys):
    for package in formats.FORMATS["onnx"].packages:
        pytest.importorskip(package)
    for split in ("train", "validation", "test"):
        shutil.copytree(image_folder, tmp_path / "images" / split)
    damaged = sorted((tmp_path / "images" / damaged_split).rglob("*.png"))[-1]
    content = bytearray(damaged.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(8)
    damaged.write_bytes(content)
    folder = tmp_path / "run"
    folder.mkdir()
    build(classes=2, class_names=["dark", "light"]).save(folder / "model.keras")
    (folder / "config.json").write_text(json.dumps({"dataset": str(tmp_path / "images")}))
    line = refused_after_warnings(capsys, folder, "--format", "onnx", "--int8", "--out", tmp_path / "int8")
    assert str(damaged) in line
    assert not (tmp_path / "int8").exists()


def refused_after_warnings(capsys, *arguments):
    """Returns the last line, before which a warning says that the run did not note its images."""
    assert main(["export", *map(str, arguments)]) == 2
    return capsys.readouterr().err.splitlines()[-1]
