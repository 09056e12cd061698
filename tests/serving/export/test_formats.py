"""Other engines: what is missing is said; what is written agrees with the SavedModel."""

import numpy as np
import pytest
from served_network import CLASS_NAMES, SERVED, SIDE, build

import keras_inception as ki
from keras_inception.errors import InputError, MissingPackageError
from keras_inception.serving.export import FORMATS, export_accuracy, export_format, formats
from keras_inception.serving.export.c_loader import Server

PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",), "openvino": ("openvino",)}


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_missing_package_is_named_with_what_to_install(model, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    message = rf'needs {" and ".join(PACKAGES[kind])}.*pip install "keras-inception\[{kind}\]"'
    with pytest.raises(MissingPackageError, match=message):
        export_format(model, tmp_path, kind)
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_needless_calibrations_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"`kind` must be one of.*kind='tflite'"):
        export_format(model, tmp_path, "tflite")
    with pytest.raises(InputError, match='`calibration` is for `kind="litert"`'):
        export_format(model, tmp_path, "onnx", calibration=[])


def test_what_gives_other_probabilities_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_convert", lambda network, path, kind, options: path.write_bytes(b""))
    wrong = formats.Format("model.onnx", (), lambda path: lambda images: np.full((len(images), 7), 1 / 7))
    monkeypatch.setitem(FORMATS, "onnx", wrong)
    with pytest.raises(InputError, match="onnx gives other probabilities than the SavedModel, so nothing was written"):
        export_format(model, tmp_path, "onnx")
    assert list(tmp_path.glob("[!.]*")) == []


def needs(kind):
    for package in PACKAGES[kind]:
        pytest.importorskip(package)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("architecture", [SERVED, "googlenet"])  # with batch norm, and with LRN
def test_an_engine_agrees_with_the_c_loader(architecture, kind, tmp_path):
    needs(kind)
    side = 79 if architecture == "googlenet" else SIDE
    model = build(architecture, input_shape=(side, side, 3), class_names=CLASS_NAMES)
    version, difference = export_format(model, tmp_path / kind, kind)
    server = Server(ki.export_saved_model(model, tmp_path / "served"))
    images = np.random.default_rng(0).uniform(0, 255, (3, side, side, 3)).astype("float32")
    answer = FORMATS[kind].load(version / FORMATS[kind].file)(images)
    expected = server("serving_default", images=images)["probabilities"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
    assert difference < 1e-5
    assert (version / "class_names.txt").read_text().split() == CLASS_NAMES


@pytest.mark.slow
def test_int8_is_smaller_and_near(model, tmp_path):
    needs("litert")
    random = np.random.default_rng(0)
    batches = [(random.uniform(-1, 1, (8, SIDE, SIDE, 3)).astype("float32"), np.arange(8) % 7) for _ in range(4)]
    plain, _ = export_format(model, tmp_path, "litert")
    small, difference = export_format(model, tmp_path, "litert", calibration=batches)
    sizes = [(version / "model.tflite").stat().st_size for version in (plain, small)]
    assert sizes[1] < 0.7 * sizes[0]  # not a quarter: so small a network is mostly its graph
    assert difference < 0.1
    labelled = [(images, ki.inference_model(model).predict(images, verbose=0).argmax(-1)) for images, _ in batches]
    assert export_accuracy(plain, "litert", labelled, model.preprocessing) == 1.0
    assert export_accuracy(small, "litert", labelled, model.preprocessing) > 0.7
    one_hot = [(images, np.eye(7)[labels]) for images, labels in labelled]
    assert export_accuracy(plain, "litert", one_hot, model.preprocessing) == 1.0
    with pytest.raises(InputError, match="`calibration` must hold at least one image"):
        export_format(model, tmp_path, "litert", calibration=[])
