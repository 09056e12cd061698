"""What is no model is refused with what it is, whichever way a file was lost, cut or damaged."""

import os
import re
import zipfile

import keras
import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception.cli import main
from keras_inception.network import saved
from keras_inception.training.runs import load_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a sound `.keras` file."""
    path = tmp_path_factory.mktemp("whole") / "model.keras"
    ki.GoogLeNet(architecture=TINY, classes=2).save(path)
    assert load_model(path).classes == 2
    return path.read_bytes()


def rewritten(whole, path, **contents):
    """Writes the archive again with other contents of some members, by name without its ending; None leaves one out."""
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            content = contents.get(name.split(".")[0], content)
            if content is not None:
                archive.writestr(name, content)


def flipped(whole):
    """Returns the file with one bit of a weight changed."""
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


FILES = {
    "empty": (lambda path, whole: path.write_bytes(b""), "it is empty"),
    "text": (lambda path, whole: path.write_text("years of work"), "it is no .keras file, whatever its name says"),
    "half": (lambda path, whole: path.write_bytes(whole[: len(whole) // 2]), "it is truncated"),
    "start": (lambda path, whole: path.write_bytes(whole[:20]), "it is truncated"),
    "end": (lambda path, whole: path.write_bytes(whole[:-1]), "it is truncated"),
    "bit": (lambda path, whole: path.write_bytes(flipped(whole)), "its model.weights.h5 is damaged"),
    "no weights": (lambda path, whole: rewritten(whole, path, model=None), "a zip archive without model.weights.h5"),
    "other config": (lambda path, whole: rewritten(whole, path, config=b"{]"), "can be read here: "),
    "other weights": (lambda path, whole: rewritten(whole, path, model=b"no"), "can be read here: "),
    "empty config": (lambda path, whole: rewritten(whole, path, config=b"{}"), "can be read here: "),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_refused_with_what_is_wrong(whole, tmp_path, capsys, kind):
    write, reason = FILES[kind]
    path = tmp_path / "model.keras"
    write(path, whole)
    for given in (path, tmp_path):
        with pytest.raises(ki.InputError, match=rf"model\.keras is no Keras model that .*{re.escape(reason)}"):
            load_model(given)
    assert main(["predict", str(path), "rose.jpg"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "File not found" not in line


def test_a_file_with_one_damaged_byte_is_refused_in_one_line(tmp_path):
    """Wherever it is: what Python's zipfile makes of it is an error of one of many kinds."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    whole, reasons = path.read_bytes(), set()
    for index in range(len(whole)):
        for value in {0, 255, whole[index] ^ 1, whole[index] ^ 8} - {whole[index]}:
            path.write_bytes(whole[:index] + bytes([value]) + whole[index + 1 :])
            with pytest.raises(ki.InputError, match=re.escape(str(path))) as refused:
                saved.known(path)
            reasons.add(str(refused.value))
    assert any("it is damaged (That compression method is not supported)" in reason for reason in reasons)


def test_what_is_no_file_of_a_model_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "model.zip").write_bytes(b"PK")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    for name, reason in (
        ("", "a folder without one"),
        ("begun", "has not come to the end of an epoch; go on with `keras-inception train --resume"),
        ("nosuch.keras", "where nothing is"),
        ("pipe.keras", "which is no file"),
        ("model.h5", "an HDF5 file, from which Keras cannot load such a network"),
        ("model.zip", "a file whose name does not end in .keras"),
    ):
        with pytest.raises(ki.InputError, match=rf"A run is a folder with a model\.keras.*Received: .*{reason}"):
            load_model(tmp_path / name)
    for given in ("", None, 3, b"runs", "a\0b"):
        with pytest.raises(ki.InputError, match=r"`run` must be the path of a file or folder, and not empty"):
            load_model(given)


def test_a_file_that_may_not_be_read_is_not_called_damaged(whole, tmp_path, monkeypatch):
    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "model.keras").write_bytes(whole)
    monkeypatch.setattr("builtins.open", refuse)  # the tests may run as root, whom nothing is refused
    with pytest.raises(PermissionError, match="Permission denied"):
        load_model(tmp_path)


def test_foreign_models_and_hdf5_are_refused(tmp_path):
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Dense(2)(image)).save(tmp_path / "foreign.keras")
    with pytest.raises(ki.InputError, match="that keras-inception did not build"):
        load_model(tmp_path / "foreign.keras")
    for name in ("model.h5", "MODEL.HDF5"):
        with pytest.raises(ki.InputError, match=r"cannot load such a network from an HDF5 file. Save it as `\.keras`"):
            ki.GoogLeNet(architecture=TINY, classes=2).save(tmp_path / name)
        assert not (tmp_path / name).exists()
