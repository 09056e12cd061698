"""The command as people type it: what it prints, its exit codes, its one-line errors."""

import json
import os
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception.cli import dataset, main
from keras_inception.training import runs

SMALL_TRAINING = ("--architecture", "googlenet_small", "--width", 0.25, "--epochs", 1, "--batch-size", 8)


def command(*arguments, **options):
    """Runs the command as a process of its own."""
    line = [sys.executable, "-m", "keras_inception", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=900, **options)


def test_train_says_what_it_did_and_what_to_type_next(image_folder, tmp_path, capfd):
    out, config = tmp_path / "a run", tmp_path / "tiny.json"
    config.write_text(json.dumps({"architecture": TINY.to_dict()}))
    small = ("--config", config, "--epochs", 1, "--batch-size", 16)
    # With a schedule of our own, which whoever loads the model must know.
    finished = command("train", "--dataset", image_folder, *small, "--warmup-fraction", 0.5, "--out", out)
    assert finished.returncode == 0, finished.stderr
    # No noise of TensorFlow; so short a training may be diagnosed, and a slow machine says how far the check is.
    said = [line for line in finished.stderr.splitlines() if line]
    assert [line for line in said if not line.startswith(("warning: ", "checked "))] == []
    assert "32 training, 4 validation, 4 test images of 2 classes" in finished.stdout
    assert "images are scaled to 10x10" in finished.stdout
    assert "epoch 1/1: " in finished.stdout  # a line an epoch where no terminal shows a bar
    for head in ("main", "aux1", "aux2"):
        assert f"{head} " in finished.stdout.split("test accuracy:")[1].splitlines()[0]
    assert f"next:  keras-inception predict '{out}' '{out}/samples'" in finished.stdout
    assert main(["predict", str(out), str(out / "samples")]) == 0
    predicted = capfd.readouterr()
    assert predicted.err == ""
    assert predicted.out.count("%") == 2 * len(list((out / "samples").iterdir()))


def test_small_images_are_scaled_up_and_it_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--image-size", "64"]) == 2
    printed = capsys.readouterr()
    assert "1,293 training, 144 validation, 360 test images of 10 classes" in printed.out
    assert "images of 8 pixels are scaled up to 64x64" in printed.out
    assert "must be at least 79x79 for the auxiliary heads" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_predict_prints_the_classes_of_files_folders_and_globs(run, image_folder, capsys):
    image, folder, pattern = image_folder / "dark" / "3.png", image_folder / "light", image_folder / "dark" / "1*.png"
    assert main(["predict", str(run.folder), str(image), str(folder), str(pattern)]) == 0
    lines = capsys.readouterr().out.splitlines()
    paths = [image, *sorted(folder.iterdir()), *sorted((image_folder / "dark").glob("1*.png"))]
    assert [line.split("  ")[0] for line in lines] == [str(path) for path in paths]
    assert "dark " in lines[0]
    assert "light " in lines[0]


def test_predict_json_is_the_model_s_answer(run, image_folder, capsys):
    image = image_folder / "dark" / "3.png"
    assert main(["predict", str(run.folder), str(image), "--json", "--top", "1", "--head", "aux2"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    pixels = Image.open(image).resize((10, 10), Image.Resampling.BOX)  # one colour: any way of scaling agrees
    x = [[[channel / 127.5 - 1 for channel in pixels.getpixel((0, 0))]] * 10] * 10
    expected = run.model.predict(np.array([x], "float32"), verbose=0)[2][0]
    assert answer["file"] == str(image)
    (top,) = answer["predictions"]
    assert top["class"] == ["dark", "light"][expected.argmax()]
    assert top["probability"] == pytest.approx(expected.max(), abs=1e-5)  # float32, another order of sums


def test_predict_goes_on_after_a_bad_image_and_says_so(run, image_folder, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    missing = tmp_path / "missing.jpg", tmp_path / "none" / "*"
    assert main(["predict", str(run.folder), *map(str, (*missing, bad)), str(image_folder / "dark" / "3.png")]) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"keras-inception predict: error: {bad}: it is no JPEG, PNG, BMP, GIF or WebP image",
        f"keras-inception predict: error: there is no file {missing[0]}",
        f"keras-inception predict: error: no image matches {missing[1]}",
    ]
    assert printed.out.startswith(str(image_folder / "dark" / "3.png"))


def test_summary_prints_table_1_beside_the_paper(capsys, tmp_path):
    plot = tmp_path / "graph.png"
    assert main(["summary", "--plot", str(plot)]) == 0
    table = capsys.readouterr().out
    assert "6,998,552" in table
    assert "13,378,280" in table
    assert "1,582.7M" in table
    (row,) = (line for line in table.splitlines() if line.strip().startswith("inception_5a") and "1072K" in line)
    assert all(cell in row for cell in ("7x7x832", "1,043,456", "1072K", "54M", "5x5 reduce of 48"))
    assert "naive" in table
    with Image.open(plot) as image:
        assert min(image.size) > 500


def test_summary_of_a_run(run, capsys):
    assert main(["summary", str(run.folder)]) == 0
    assert "tiny, Table 1 as built for 10x10x3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--architecture", "vgg"], "Received: architecture='vgg'"),
        (["train", "--architecture", "googlenet@0.5"], "width"),
        (["train", "--epochs", "0"], "`epochs` must be a whole number of at least 1. Received: epochs=0"),
        (["train", "--epochs", "many"], "invalid int value: 'many'"),
        (["train", "--dataset", "nosuch"], "neither a folder nor a dataset of this name"),
        (["train", "--config", "nosuch.json"], "is missing or no JSON file"),
        (["predict", "nosuch", "x.png"], "A run is a folder"),
        (["evaluate", "nosuch"], "A run is a folder"),
        (["summary", "nosuch"], "A run is a folder"),
        (["summary", "--classes", "1"], "`classes` must be an integer of at least 2. Received: classes=1"),
        (["summary", "--plot", "graph.doc"], "--plot writes .png, .svg or .pdf"),
        (["summary", "--plot", "nosuch/graph.png"], "There is no folder to write graph.png into"),
        (["summary", "--image-size", "0"], "Received: input_shape=(0, 0, 3)"),
        (["summary", "--width", "nan"], "Received: width=nan"),
        (["juggle"], "invalid choice: 'juggle'"),
        (["trian"], "Did you mean train? (see `keras-inception --help`)"),
        (["train", "--epoch", "3"], "train: error: unrecognized arguments: --epoch 3. Did you mean --epochs? (see"),
        (["predict", "x", "y", "--tops=3"], "unrecognized arguments: --tops=3. Did you mean --top?"),
        (["train", "--recipe", "modrn"], "Did you mean modern?"),
        (["train", "--architecture", "googlnet"], "Did you mean googlenet? Received: architecture='googlnet'"),
        ([], "required: COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_an_unknown_head_and_a_missing_image_are_refused(run, refused):
    assert "`head` must be one of the model's outputs" in refused(
        "predict", run.folder, run.folder / "samples", "--head", "aux3"
    )
    assert "there is no file nosuch.png" in refused("predict", run.folder, "nosuch.png")
    assert "--top must be at least 1" in refused("predict", run.folder, run.folder / "samples", "--top", 0)


def test_train_refuses_bad_images_and_skips_them_when_told_to(image_folder, tmp_path, refused, capsys):
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    (folder / "dark" / "notes.txt").write_text("no image")
    out = tmp_path / "run"
    message = refused("train", "--dataset", folder, *SMALL_TRAINING, "--out", out)
    assert "notes.txt: it is no JPEG, PNG, BMP, GIF or WebP image" in message
    assert "--skip-bad-images" in message
    assert not out.exists()
    # Far too small a size ends the second try after the data is loaded and told about.
    status = main(["train", "--dataset", str(folder), "--image-size", "20", "--out", str(out), "--skip-bad-images"])
    printed = capsys.readouterr()
    assert f"left out 1 unreadable or missing file: {folder / 'dark' / 'notes.txt'}" in printed.out
    assert status == 2
    assert "must be at least 79x79" in printed.err


def test_a_folder_that_cannot_be_written_is_refused(image_folder, tmp_path, refused):
    place = tmp_path / "file"
    place.write_text("in the way")
    message = refused("train", "--dataset", image_folder, "--architecture", "googlenet_small", "--out", place / "run")
    assert str(place) in message


@pytest.mark.slow
def test_a_training_ends_well_on_a_terminal_of_ascii(image_folder, tmp_path):
    folder, out = tmp_path / "häuser", tmp_path / "rün"
    shutil.copytree(image_folder, folder)
    (folder / "light").rename(folder / "hell und schön")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    finished = command("train", "--dataset", folder, *SMALL_TRAINING, "--out", out, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert "test accuracy: main" in finished.stdout
    assert runs.load_model(out).class_names == ["dark", "hell und schön"]


@pytest.mark.slow
def test_a_full_disk_ends_the_training_with_one_line_and_the_last_whole_model(image_folder, tmp_path):
    def limit_files():  # as good as a full disk: no file may grow beyond 1 MB, and the model is larger
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))

    out = tmp_path / "run"
    finished = command("train", "--dataset", image_folder, *SMALL_TRAINING, "--out", out, preexec_fn=limit_files)
    assert finished.returncode == 2
    # So short a training may be diagnosed before the disk is full.
    said = [line for line in finished.stderr.splitlines() if line]
    (message,) = (line for line in said if not line.startswith(("warning: ", "checked ")))
    assert message.startswith("keras-inception train: error: ")
    assert not (out / "model.keras").exists()  # never half a model under its name


def test_what_is_left_out_is_named_on_one_line():
    data = SimpleNamespace(skipped=["a/two\nlines.png"], added=["b/\x1b[2J.png", "b/é.png"])
    assert dataset.left_out(data) == [
        r"left out 1 unreadable or missing file: a/two\nlines.png",
        r"left out 2 files that are newer than the run: b/\x1b[2J.png, b/é.png",
    ]
