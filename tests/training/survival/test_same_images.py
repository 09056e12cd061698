"""A run goes on with the images, the splits and the checkpoint that it began with, or not at all."""

import json
import os
import shutil
import zlib
from argparse import Namespace
from dataclasses import replace

import keras
import pytest
from PIL import Image
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception import data, files
from keras_inception.cli.dataset import data_of
from keras_inception.errors import InputError
from keras_inception.study import heads
from keras_inception.training import distribute, runs
from keras_inception.training.config import TrainConfig, to_options
from keras_inception.training.loop import train


class Interrupt(keras.callbacks.Callback):
    """Interrupts a training within its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def interrupted(image_folder, tmp_path_factory):
    """A run folder after one of two epochs."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    config = TrainConfig.of(
        dataset=str(image_folder), architecture=TINY, epochs=2, batch_size=16, dropout=0.0, aux_dropout=0.0
    )
    with pytest.raises(KeyboardInterrupt, match=r"after 1 epoch; go on with `keras-inception train --resume .*/run`"):
        train(config, folder, verbose=0, report=lambda message: None, callbacks=[Interrupt()])
    return folder


@pytest.fixture
def run(interrupted, image_folder, tmp_path):
    """A copy of that run and of its images, `tmp_path / "images"`."""
    shutil.copytree(interrupted, tmp_path / "run")
    shutil.copytree(image_folder, tmp_path / "images")
    change_config(tmp_path / "run", dataset=str(tmp_path / "images"))
    return tmp_path / "run"


def change_config(run, **values):
    files.write_json(run / "config.json", files.read_json(run / "config.json") | values)


def go_on(run, report=lambda message: None):
    return train(folder=run, resume=True, verbose=0, report=report)


def test_a_run_notes_the_classes_and_the_files_of_each_split(interrupted, image_folder):
    record = json.loads((interrupted / "data.json").read_text())
    assert (record["source"], record["classes"], record["skipped"]) == ("folder", ["dark", "light"], [])
    assert {split: len(names) for split, names in record["splits"].items()} == {"train": 32, "validation": 4, "test": 4}
    marks = {name: mark for names in record["splits"].values() for name, mark in names.items()}
    contents = {path.relative_to(image_folder).as_posix(): path.read_bytes() for path in image_folder.rglob("*.png")}
    # Of so small a file beginning and end are the whole.
    assert marks == {name: f"{len(text)}-{zlib.crc32(2 * text):08x}" for name, text in contents.items()}


def rename_a_class(images):
    (images / "light").rename(images / "bright")


def rename_so_that_labels_swap(images):
    (images / "light").rename(images / "a light one")


def add_a_class(images):
    shutil.copytree(images / "dark", images / "middle")


def remove_a_file(images):
    (images / "dark" / "7.png").unlink()


def change_a_file(images):
    shutil.copy(images / "light" / "0.png", images / "dark" / "7.png")
    with open(images / "dark" / "7.png", "ab") as file:
        file.write(b"more")


def replace_a_file(images):
    path = images / "dark" / "7.png"
    status, size = path.stat(), len(path.read_bytes())
    image = Image.new("L", (40, 36), 3)
    image.save(path)
    path.write_bytes(path.read_bytes() + bytes(size - len(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_a_class, r"Classes \['dark', 'light'\] are now \['bright', 'dark'\]"),
        (rename_so_that_labels_swap, r"Classes \['dark', 'light'\] are now \['a light one', 'dark'\]"),
        (add_a_class, r"Classes .* are now \['dark', 'light', 'middle'\]"),
        (remove_a_file, r"1 file gone, 0 with another content, such as dark/7\.png"),
        (change_a_file, r"0 files gone, 1 with another content, such as dark/7\.png"),
        (replace_a_file, r"0 files gone, 1 with another content, such as dark/7\.png"),
    ],
)
def test_other_images_are_refused_with_what_is_different(change, message, run, tmp_path):
    change(tmp_path / "images")
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    resume = change is not rename_a_class  # otherwise the same command is repeated
    config = None if resume else TrainConfig.from_file(run / "config.json")
    with pytest.raises(InputError, match=rf"must be those that the run began with\. .*begin anew.*{message}"):
        train(config, run, resume=resume, verbose=0)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


@pytest.mark.slow
def test_a_run_keeps_the_size_that_it_chose_whatever_is_left_out(tmp_path):
    images = tmp_path / "images"
    for name, side, count in (("large", 40, 10), ("small", 32, 11)):
        (images / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (side, side), (side, 9 * index, 0)).save(images / name / f"{index}.png")
    config = TrainConfig.of(dataset=str(images), architecture=replace(TINY, image_size=64), aux_heads=False, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", verbose=0, report=lambda message: None, callbacks=[Interrupt()])
    (images / "small" / "3.png").unlink()
    left = data.load(images, architecture=config.architecture, aux_heads=False)
    assert left.image_shape[0] == 36
    finished = train(replace(config, skip_bad_images=True), tmp_path / "run", verbose=0, report=lambda message: None)
    assert (finished.model.input_shape[1], sum(finished.sizes.values())) == (32, 20)
    assert files.read_json(tmp_path / "run" / "config.json")["image_size"] == 32


@pytest.mark.slow
@pytest.mark.parametrize("change", [remove_a_file, lambda images: (images / "dark" / "7.png").write_bytes(b"PNG")])
def test_a_run_goes_on_without_what_was_damaged_or_removed_meanwhile(change, run, tmp_path):
    change(tmp_path / "images")
    config = replace(TrainConfig.from_file(run / "config.json"), skip_bad_images=True)
    finished = train(config, run, resume=True, verbose=0, report=lambda message: None)
    assert (sum(finished.sizes.values()), finished.epochs) == (39, 2)
    assert json.loads((run / "data.json").read_text())["skipped"] == ["dark/7.png"]


def test_workers_that_see_other_images_are_told_so(image_folder, tmp_path, monkeypatch):
    asked, said = [], []
    monkeypatch.setattr(distribute, "agree", lambda values, strategy=None: asked.append(values))
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1, batch_size=16)
    with pytest.raises(InputError, match=r"All workers must see the same images\. .*of which worker 0 sees"):
        train(config, tmp_path / "run", verbose=0, report=said.append)
    assert len(asked) == 2
    assert said == ["not every worker knows of the same unreadable images: all of them are decoded once"]
    assert not (tmp_path / "run").exists()


def test_two_files_of_one_size_and_time_that_change_places_are_noticed(image_folder, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(image_folder, images)
    for path in images.rglob("*.png"):
        path.write_bytes(path.read_bytes().ljust(300, b"\0"))
        os.utime(path, ns=(0, 0))
    record = data.load(images, architecture=TINY).record
    assert data.load(images, architecture=TINY, record=record).record == record
    (images / "dark" / "3.png").rename(tmp_path / "aside")
    (images / "light" / "3.png").rename(images / "dark" / "3.png")
    (tmp_path / "aside").rename(images / "light" / "3.png")
    with pytest.raises(InputError, match=r"0 files gone, 2 with another content, such as \w+/3\.png"):
        data.load(images, architecture=TINY, record=record)
    sizes = {split: dict.fromkeys(files, 300) for split, files in record["splits"].items()}
    of_earlier_version = record | {"splits": sizes}  # knew no contents
    again = data.load(images, architecture=TINY, record=of_earlier_version)
    assert {split: set(names) for split, names in again.record["splits"].items()} == {
        split: set(names) for split, names in sizes.items()
    }


@pytest.mark.slow
def test_files_that_came_later_are_left_out_and_the_run_keeps_its_splits(run, tmp_path):
    was = (run / "data.json").read_text()
    for index in range(30):  # with these, the splits would be drawn otherwise
        shutil.copy(tmp_path / "images" / "light" / "0.png", tmp_path / "images" / "light" / f"0-{index}.png")
    finished = go_on(run)
    assert finished.sizes == {"train": 32, "validation": 4, "test": 4}
    assert (run / "data.json").read_text() == was
    record = json.loads(was)
    again = data.load(tmp_path / "images", architecture=TINY, record=record)
    assert (len(again.added), again.sizes) == (30, finished.sizes)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on_as_it_was_and_says_that_it_cannot_know_its_images(run):
    (run / "data.json").unlink()
    config, reports = TrainConfig.from_file(run / "config.json"), []
    assert (config.dropout, config.aux_dropout) == (0, 0)  # None stands for the architecture's own
    finished = train(replace(config, dropout=0), run, verbose=0, report=reports.append)
    assert [report for report in reports if "did not note its images" in report]
    assert not any(layer.rate for layer in finished.model.layers if isinstance(layer, keras.layers.Dropout))


def test_a_run_is_evaluated_on_its_own_splits_whatever_came_later(run, tmp_path, capsys):
    shutil.copytree(tmp_path / "images", tmp_path / "copy")
    record = json.loads((run / "data.json").read_text())
    for index in range(30):
        shutil.copy(tmp_path / "images" / "dark" / "0.png", tmp_path / "images" / "dark" / f"0-{index}.png")
    arguments = Namespace(model=str(run), dataset=None, batch_size=4, skip_bad_images=False)
    model = runs.load_model(run)
    for dataset in (None, str(tmp_path / "copy" / ".." / "images")):
        arguments.dataset = dataset
        assert data_of(arguments, model).record == record
        assert "left out 30 files that are newer than the run" in capsys.readouterr().err
    arguments.dataset = str(tmp_path / "copy")  # other images are split anew
    assert data_of(arguments, model).sizes == {"train": 32, "validation": 4, "test": 4}
    arguments.dataset = None
    remove_a_file(tmp_path / "images")
    with pytest.raises(InputError, match=r"With `--skip-bad-images` .* it goes on without them\. 1 file gone"):
        data_of(arguments, model)
    arguments.skip_bad_images = True
    of = data_of(arguments, model)
    assert (sum(of.sizes.values()), [*map(os.path.basename, of.skipped)]) == (39, ["7.png"])
    assert "left out 1 unreadable or missing file: " in capsys.readouterr().err
    arguments.skip_bad_images = False
    (run / "data.json").unlink()
    data_of(arguments, model)
    assert "did not note its images" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": "folder", "classes": 3, "splits": {}}', "\x00"])
def test_a_damaged_note_is_refused(text, run):
    (run / "data.json").write_text(text)
    with pytest.raises(InputError, match=r"data\.json"):
        go_on(run)


def test_a_dataset_of_another_version_or_split_is_refused(tmp_path):
    record = data.load("digits", architecture=TINY).record
    assert record["source"] == "digits/1.0.0"
    assert data.load("digits", architecture=TINY, record=json.loads(json.dumps(record))).record == record
    for other in ({"source": "digits/0.9.0"}, {"sizes": {"train": 3}}, {"source": "folder"}):
        with pytest.raises(InputError, match=f"must be those that the run began with.*{next(iter(other))} .* is now"):
            data.load("digits", architecture=TINY, record=record | other)
    with pytest.raises(InputError, match=r"source .* is now"):
        data.load("digits", architecture=TINY, record=json.loads('{"source": "folder", "classes": [], "splits": {}}'))


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_without_its_checkpoint_does_not_begin_anew_over_its_epochs(resume, run):
    (run / "checkpoint.npz").unlink()
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    config = None if resume else TrainConfig.from_file(run / "config.json")
    with pytest.raises(
        InputError, match=r"lacks checkpoint\.npz, .*history\.csv, best\.keras, model\.keras.*--overwrite"
    ):
        train(config, run, resume=resume, verbose=0)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("gone", [(), ("data.json",)])
def test_a_run_that_was_killed_before_its_first_checkpoint_says_so_and_begins_anew(gone, run):
    for name in ("checkpoint.npz", "history.csv", "best.keras", "model.keras", *gone):
        (run / name).unlink()
    change_config(run, epochs=1)
    said = []
    assert go_on(run, said.append).results
    assert said[0] == f"{run} has no checkpoint yet: the training begins anew with the same options"
    assert not any("did not note its images" in text for text in said)


def test_a_study_s_trainings_see_the_same_images(run, tmp_path):
    options = {"dataset": str(tmp_path / "images"), "architecture": TINY, "epochs": 1, "batch_size": 16}
    begun = tmp_path / "study" / TINY.name / "none" / "seed-1"
    begun.mkdir(parents=True)
    config = TrainConfig.of(**options, seed=1, loss_weights=(1.0, 0.0, 0.0), gradient_flow=1, strategy="one")
    files.write_json(begun / "config.json", to_options(config))
    shutil.copy(run / "data.json", begun)
    shutil.copy(tmp_path / "images" / "dark" / "0.png", tmp_path / "images" / "dark" / "new.png")
    with pytest.raises(InputError, match=r"the same images, and these are others than those of .*seed-1\. Bring"):
        heads(TrainConfig.of(**options), tmp_path / "study", architectures=[TINY], variants=["none"], seeds=2)
    assert not (begun.with_name("seed-0") / "config.json").exists()
