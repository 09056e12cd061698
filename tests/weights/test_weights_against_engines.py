"""Converted networks against independent engines that read the publishers' formats: OpenCV, TF-slim, PyTorch.

`KERAS_INCEPTION_WRITE_VECTORS=1 python -m pytest tests/weights -m slow` stores the engines' outputs for the ordinary
tests. With `-s` the largest differences are printed.
"""

import os
import warnings
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import published_networks as published
import pytest
from test_weights_numbers import HEADS, TOLERANCE, VECTORS, preprocessed

import keras_inception as ki
from keras_inception.weights import load_published_weights
from keras_inception.weights.torchvision import read

pytestmark = [
    pytest.mark.slow,
    # TensorFlow's own layers, as TF-slim calls them.
    pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated:UserWarning"),
]


def opencv(tensors, pixels):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'opencv-python-headless<5'")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 no longer reads Caffe's networks: pip install 'opencv-python-headless<5'")
    return published.opencv_outputs(cv2, tensors, pixels), f"OpenCV {cv2.__version__}"


def tf_slim(tensors, pixels):
    tensorflow = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    pytest.importorskip("tf_slim", reason="needs TF-slim: pip install tf_slim tf_keras")
    pytest.importorskip("tf_keras", reason="needs tf_keras, whose batch normalization TF-slim uses")
    name = f"TF-slim {version('tf-slim')} on TensorFlow {tensorflow.__version__}"
    return published.tf_slim_outputs(tensorflow, tensors, pixels), name


def torchvision(tensors, pixels):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch torchvision")
    try:
        name = f"torchvision {version('torchvision')} on PyTorch {version('torch')}"
    except PackageNotFoundError:
        pytest.skip("needs torchvision: pip install torch torchvision")
    return published.torchvision_outputs(torch, tensors, pixels), name


ENGINES = {"bvlc": opencv, "tf_slim": tf_slim, "torchvision": torchvision}


@pytest.mark.parametrize("source", ENGINES)
def test_networks_compute_what_the_engine_computes(loaded, any_size, outputs, tensors, source):
    stored = {}
    for size in (224, 299):
        expected, engine = ENGINES[source](tensors(source), published.images(size))
        if size == 224:
            model, heads = loaded(source), HEADS[source]
        else:
            heads = HEADS[source] if source == "torchvision" else ["main"]
            model = any_size(source)
        assert set(expected) == {*heads, "map"}
        found = outputs(model, preprocessed(model, size))
        for head in heads:
            largest = np.abs(found[head] - expected[head]).max()
            print(f"{source} {size} {head}: {largest:.1e} from {engine}, softmaxes up to {expected[head].max():.2f}")  # noqa: T201, figures of the README
            assert largest < TOLERANCE
            stored[f"{head}_{size}"] = expected[head].astype("float32")
        assert found["map"].shape == expected["map"].shape
        largest = np.abs(found["map"] - expected["map"]).max() / expected["map"].max()
        print(f"{source} {size} map: {largest:.1e} of the largest activation")  # noqa: T201, figures of the README
        assert largest < TOLERANCE
        stored[f"map_{size}"] = expected["map"][..., ::32].astype("float32")
    if os.environ.get("KERAS_INCEPTION_WRITE_VECTORS"):
        del stored["map_224"]
        np.savez_compressed(VECTORS / f"{source}.npz", engine=engine, **stored)
    known = np.load(VECTORS / f"{source}.npz")
    assert set(known) == {*stored, "engine"} - {"map_224"}
    for name in set(known) - {"engine"}:
        np.testing.assert_allclose(known[name], stored[name], rtol=1e-3, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_pytorch_wrote_are_read(loaded, tensors, tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    state = {name: torch.from_numpy(np.array(array)) for name, array in tensors("torchvision").items()}
    torch.save(state, tmp_path / "googlenet.pth", _use_new_zipfile_serialization=zipped)
    model = ki.GoogLeNet(architecture="inception_v1_torchvision")
    load_published_weights(model, "torchvision", tmp_path / "googlenet.pth")
    for found, expected in zip(model.get_weights(), loaded("torchvision").get_weights()):
        np.testing.assert_array_equal(found, expected)


class Malicious:
    """What executes a command when a careless reader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pytorch_file_is_not_executed(tensors, tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path, made = tmp_path / "googlenet.pth", tmp_path / "made"
    torch.save({"conv1.conv.weight": Malicious(made)}, path, _use_new_zipfile_serialization=zipped)
    model = ki.GoogLeNet(architecture="inception_v1_torchvision", include_top=False)
    with pytest.raises(ki.InputError, match="holds other things than tensors"):
        load_published_weights(model, "torchvision", path)
    assert not made.exists()


@pytest.mark.parametrize("damage", ["cut short", "a module", "text", "a list"])
def test_other_pytorch_files_are_refused(tmp_path, damage):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path = tmp_path / "googlenet.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"a module": torch.nn.Linear(2, 2), "a list": [1, 2]}.get(damage, {"x": torch.zeros(99)}), path)
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:200])
    if damage == "text":
        path.write_text("<html>404</html>")
    with pytest.raises(ki.InputError, match=r"torch.save\(model.state_dict\(\), path\).*googlenet.pth"):
        read(path)


@pytest.mark.parametrize("kind", ["meta", "sparse", "complex", "quantized", "expanded"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch gives quantized tensors up
def test_tensors_without_dense_real_values_are_named(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    tensor = {
        "meta": lambda: torch.zeros(3, device="meta"),
        "sparse": lambda: torch.eye(3).to_sparse(),
        "complex": lambda: torch.zeros(3, dtype=torch.complex64),
        "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        "expanded": lambda: torch.ones(1).expand(10**12),  # a terabyte in a file of some hundred bytes
    }[kind]()
    torch.save({"ok.weight": torch.ones(2), "bad.weight": tensor}, tmp_path / "googlenet.pth")
    with pytest.raises(
        ki.InputError, match=r"must be dense, with real values.*googlenet.pth', in which 'bad.weight' is"
    ):
        read(tmp_path / "googlenet.pth")
