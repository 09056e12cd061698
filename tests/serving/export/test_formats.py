"""Other engines: what is missing is said; what is written agrees with the SavedModel."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_network import CLASS_NAMES, SERVED, SIDE, build

import keras_inception as ki
from keras_inception.errors import InputError, MissingPackageError
from keras_inception.serving.export import (
    FORMATS,
    export_accuracy,
    export_format,
    export_seconds,
    formats,
    network_accuracy,
)
from keras_inception.serving.export.c_loader import Server

few_images = pytest.mark.filterwarnings("ignore:the 8 bits are calibrated on:UserWarning")
PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",), "openvino": ("openvino",)}


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_missing_package_is_named_with_what_to_install(model, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    message = rf'needs {" and ".join(PACKAGES[kind])}.*pip install "keras-inception\[{kind}\]"'
    with pytest.raises(MissingPackageError, match=message):
        export_format(model, tmp_path, kind)
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"`kind` must be one of.*kind='tflite'"):
        export_format(model, tmp_path, "tflite")


def test_openvino_in_int8_names_what_onnx_needs(model, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(MissingPackageError, match=r'pip install "keras-inception\[onnx,openvino\]". Missing: tf2onnx'):
        export_format(model, tmp_path, "openvino", calibration=[])


def test_what_gives_other_probabilities_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_convert", lambda network, path, kind, images: path.write_bytes(b""))
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


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (150, 150), (200, 200), (399, 200), (5000, 200)])
def test_int8_is_calibrated_on_images_of_all_classes(model, monkeypatch, count, expected):
    """Images of a folder come class by class; each of ten has a brightness of its own here."""
    monkeypatch.setattr(formats, "_pixels", lambda images, preprocessing: images)
    brightness = np.linspace(-1, 1, count, dtype="float32").reshape(-1, 1, 1, 1)
    batches = np.array_split(np.broadcast_to(brightness, (count, SIDE, SIDE, 3)), -(-count // 32))
    chosen = np.concatenate(formats._calibration_images(batches, model))[:, 0, 0, 0]
    assert len(chosen) == len(np.unique(chosen)) == expected
    gaps = np.diff([-1, *chosen, 1])  # the largest number of images that lie between two chosen ones, and at the ends
    assert gaps.max() <= 2 * 2 / max(expected - 1, 1) or count == 1


@pytest.mark.parametrize("count", [1, 99, 100, 250])
def test_a_calibration_on_few_images_brings_a_warning(model, tmp_path, monkeypatch, count):
    needs("onnx")
    used = []
    monkeypatch.setattr(formats, "_convert_in_int8", lambda network, path, kind, images: used.append(len(images)))
    uniform = formats.Format("model.onnx", (), lambda path: lambda images: np.full((len(images), 7), 1 / 7))
    monkeypatch.setitem(FORMATS, "onnx", uniform)
    text = f"the 8 bits are calibrated on {count} images? alone, .*: give at least 100, of which 200 are taken$"
    with pytest.warns(UserWarning, match=text) if count < 100 else contextlib.nullcontext():
        export_format(model, tmp_path, "onnx", calibration=[np.zeros((count, SIDE, SIDE, 3), "float32")])
    assert used == [min(count, 200)]


def test_a_calibration_that_never_ends_is_refused(model, tmp_path):
    needs("onnx")
    batches = tf.data.Dataset.from_tensors(np.zeros((1, SIDE, SIDE, 3), "float32")).repeat()
    with pytest.raises(InputError, match="`calibration` must end"):
        export_format(model, tmp_path, "onnx", calibration=batches)


def test_the_accuracy_in_float32_is_that_of_float32():
    """A network of float16 or bfloat16 is loaded as that; its SavedModel computes in float32 all the same."""
    model = build(class_names=CLASS_NAMES, dtype="mixed_bfloat16")
    images = np.random.default_rng(0).uniform(-1, 1, (64, SIDE, SIDE, 3)).astype("float32")
    float32 = build(class_names=CLASS_NAMES, dtype="float32")
    float32.set_weights(model.get_weights())
    labels = ki.inference_model(float32).predict(images, verbose=0).argmax(-1)
    assert network_accuracy(model, [(images, labels)]) == 1.0


@pytest.mark.slow
@few_images
@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino"])
def test_int8_answers_nearly_as_float32(model, tmp_path, kind):
    needs(kind)
    random = np.random.default_rng(0)
    batches = [(random.uniform(-1, 1, (8, SIDE, SIDE, 3)).astype("float32"), np.arange(8) % 7) for _ in range(4)]
    plain, _ = export_format(model, tmp_path, kind)
    small, difference = export_format(model, tmp_path, kind, calibration=batches)
    assert difference < 0.1
    labelled = [(images, ki.inference_model(model).predict(images, verbose=0).argmax(-1)) for images, _ in batches]
    assert export_accuracy(plain, kind, labelled, model.preprocessing) == 1.0
    assert export_accuracy(small, kind, labelled, model.preprocessing) > 0.7
    one_hot = [(images, np.eye(7)[labels]) for images, labels in labelled]
    assert export_accuracy(plain, kind, one_hot, model.preprocessing) == 1.0
    with pytest.raises(InputError, match="`calibration` must hold at least one image"):
        export_format(model, tmp_path, kind, calibration=[])


@pytest.mark.slow
@few_images
def test_int8_holds_integers_alone_where_it_multiplies(model, tmp_path):
    needs("onnx")
    import onnx

    images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype("float32")
    version, _ = export_format(model, tmp_path, "onnx", calibration=[images])
    graph = onnx.load(version / "model.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    source = {node.output[0]: node for node in graph.node}
    kernels = [source[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    layers = ki.inference_model(model).layers
    assert len(kernels) == sum(isinstance(layer, keras.layers.Conv2D) for layer in layers)
    assert {node.op_type for node in kernels} == {"DequantizeLinear"}
    assert {kinds[node.input[0]] for node in kernels} == {onnx.TensorProto.INT8}
    assert sorted(path.name for path in version.iterdir()) == ["class_names.txt", "model.onnx"]


@pytest.mark.slow
@few_images
def test_openvino_in_int8_holds_kernels_of_8_bits(model, tmp_path):
    needs("onnx")
    needs("openvino")
    import openvino

    images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype("float32")
    version, _ = export_format(model, tmp_path, "openvino", calibration=[images])
    operations = openvino.Core().read_model(version / "model.xml").get_ops()
    constants = [node.output(0) for node in operations if node.get_type_name() == "Constant"]
    kernels = [each for each in constants if len(each.shape) == 4 and each.element_type.to_string() == "i8"]
    layers = ki.inference_model(model).layers
    assert len(kernels) >= sum(isinstance(layer, keras.layers.Conv2D) for layer in layers)
    assert sorted(path.name for path in version.iterdir()) == ["class_names.txt", "model.bin", "model.xml"]


@pytest.mark.slow
def test_seconds_are_those_of_the_batch(model, tmp_path, monkeypatch):
    needs("onnx")
    version, _ = export_format(model, tmp_path, "onnx")
    sizes, clock = [], iter(range(100))
    load = FORMATS["onnx"].load
    watched = FORMATS["onnx"]._replace(load=lambda path: lambda images: sizes.append(len(images)) or load(path)(images))
    monkeypatch.setitem(FORMATS, "onnx", watched)
    monkeypatch.setattr(formats.time, "perf_counter", lambda: next(clock))
    assert export_seconds(version, "onnx", model, 5, repeats=3) == (1, 1)
    assert sizes == [5, 5, 5, 5]


@pytest.mark.slow
@few_images
def test_litert_in_int8_is_smaller(model, tmp_path):
    needs("litert")
    images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype("float32")
    plain, small = (export_format(model, tmp_path, "litert", calibration=given)[0] for given in (None, [images]))
    sizes = [(version / "model.tflite").stat().st_size for version in (plain, small)]
    assert sizes[1] < 0.7 * sizes[0]  # not a quarter: so small a network is mostly its graph
