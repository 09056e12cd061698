"""The script `examples/fine_tune.py`, on weights of the publisher's format and a folder of few images."""

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

import keras

EXAMPLE = Path(__file__).parents[2] / "examples" / "fine_tune.py"


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:The weights of BVLC Caffe are for 1000 classes:UserWarning")
def test_it_writes_a_network_of_the_folder_s_classes(caffemodel, image_folder, tmp_path, monkeypatch, capsys):
    arguments = [str(image_folder), str(tmp_path / "out.keras"), "--weights", str(caffemodel)]
    monkeypatch.setattr(sys, "argv", ["fine_tune.py", *arguments, "--epochs", "1", "--image-size", "64"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    model = keras.saving.load_model(tmp_path / "out.keras")
    assert (model.class_names, model.preprocessing, model.output_names) == (["dark", "light"], "caffe", ["main"])
    assert "test: {'main'" in capsys.readouterr().out
