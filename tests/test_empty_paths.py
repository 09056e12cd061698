"""An empty string is no path: as one it would be the current folder, with all that lies there."""

import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception import evaluation
from keras_inception.evaluation import report

pytestmark = pytest.mark.tensorflow

FUNCTIONS = {
    "data.load": lambda model, path: ki.data.load(path),
    "TrainConfig": lambda model, path: ki.TrainConfig.from_file(path),
    "train": lambda model, path: ki.train(ki.TrainConfig(), path if path is not None else 3),
    "study": lambda model, path: study().heads(None, path if path is not None else 3),
    "load_model": lambda model, path: runs().load_model(path),
    "Classifier": lambda model, path: ki.Classifier(path),
    "export": lambda model, path: ki.export_saved_model(model, path),
    "export_format": lambda model, path: serving().export.export_format(model, path, "onnx"),
    "check_export": lambda model, path: serving().export.check_export(path),
    "calibration": lambda model, path: serving().ExitCalibration.from_file(path),
    "report": lambda model, path: report.write(path, [model], evaluation.Predictions, facts={}, originals=[]),
    "GoogLeNet": lambda model, path: ki.GoogLeNet(weights=path if path is not None else 3),
    "load_weights": lambda model, path: model.load_weights(path),
    "load_published_weights": lambda model, path: ki.load_published_weights(
        ki.GoogLeNet(architecture="inception_v1_slim", input_shape=(64, 64, 3)),
        "tf_slim",
        path if path is not None else 3,
    ),
}


def runs():
    from keras_inception.training import runs

    return runs


def serving():
    from keras_inception import serving

    return serving


def study():
    from keras_inception import study

    return study


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_refused_by_whatever_takes_a_path_and_nothing_is_written(name, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "class").mkdir()
    monkeypatch.chdir(tmp_path)
    model = ki.GoogLeNet(architecture=TINY, classes=2)
    for path in ("", None, "a\0b"):
        with pytest.raises(ki.InputError, match=r"must be (the path of a file or folder, and not empty|a network)"):
            FUNCTIONS[name](model, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "config.json"]


def test_a_file_that_cannot_be_named_is_said_to_be_unreadable():
    classifier = ki.Classifier(ki.GoogLeNet(architecture=TINY, classes=2))
    for _, answer in classifier.predict_files(["", "a\0b", None]):
        assert "must be the path of a file or folder, and not empty" in answer
