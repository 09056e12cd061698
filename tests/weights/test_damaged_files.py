"""Damaged weights files of every format are loaded whole or refused in one line, and leave the model as it was."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import MissingFileError

HERE = pathlib.Path(__file__).parent
MUTANTS = 40  # of each of eleven files


@pytest.mark.slow
@pytest.mark.tensorflow
def test_no_mutant_of_a_weights_file_crashes_hangs_or_is_loaded_by_halves(tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(HERE / "mutants.py"), str(tmp_path), str(MUTANTS)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)  # a hang ends it
    assert process.returncode == 0, process.stderr[-2000:]  # negative after a crash
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["bad"] == []
    assert found["loaded"] + found["refused"] == 11 * MUTANTS
    assert found["refused"] > found["loaded"] > 11
    assert found["megabytes"] < 500


@pytest.fixture
def saved(three_heads, tmp_path):
    """A model, and the path of its weights file."""
    model = three_heads()
    model.save_weights(tmp_path / "three.weights.h5")
    return model, tmp_path / "three.weights.h5"


def damaged(path, damage):
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-3000])
    elif damage == "no HDF5":
        path.write_text("<html>404</html>")
    else:
        import h5py

        with h5py.File(path, "r+") as file:
            biases = []
            file.visititems(lambda name, item: biases.append(item) if getattr(item, "shape", None) == (7,) else None)
            if damage == "a weight less":
                del biases[-1].parent["1"]
            else:
                biases[-1][3] = float(damage)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut short", "truncated file"),
        ("no HDF5", "file signature not found"),
        ("a weight less", "expected 2 variables, but received 1"),
        ("nan", "aux2_dense/bias holds 1 values that are NaN or infinite"),
        ("inf", "aux2_dense/bias holds 1 values that are NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras, on its way to the error
def test_load_weights_loads_all_or_nothing(saved, damage, reason):
    model, path = saved
    damaged(path, damage)
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 3.0))
    message = r"of the same model.* must be finite\. Nothing was loaded\. Received: filepath='.*three\.weights\.h5'; "
    with pytest.raises(ki.InputError, match=f"{message}.*{reason}"):
        model.load_weights(path)
    assert all((np.array(weight) == 3).all() for weight in model.weights)


def test_load_weights_names_a_file_that_is_missing(saved, tmp_path):
    model, path = saved
    with pytest.raises(
        MissingFileError, match=r"no weights file of that name\. Received: filepath='.*none.weights.h5'"
    ):
        model.load_weights(tmp_path / "none.weights.h5")
    model.load_weights(path)


def test_weights_of_a_keras_file_are_taken(tmp_path):
    model = ki.GoogLeNet(input_shape=(64, 64, 3), classes=3, aux_heads=False)
    model.save(tmp_path / "model.keras")
    other = ki.GoogLeNet(input_shape=(64, 64, 3), classes=3, aux_heads=False, weights=tmp_path / "model.keras")
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert keras.saving.load_model(tmp_path / "model.keras").count_params() == other.count_params()
