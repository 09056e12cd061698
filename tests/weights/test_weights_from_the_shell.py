"""Published weights from the shell: conversion, prediction, fine-tuning."""

import json
import urllib.error

import keras
import numpy as np
import published_networks as published
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from keras_inception import preprocess_input
from keras_inception.cli import main
from keras_inception.training import runs


@pytest.fixture
def class_index(monkeypatch, tmp_path):
    """Names for ImageNet's classes without a download."""
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}))
    monkeypatch.setattr(keras.utils, "get_file", lambda *args, **kwargs: str(path))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(keras.utils, "get_file", refuse)


@pytest.mark.slow
def test_a_converted_network_predicts_files_as_the_model_does(caffemodel, class_index, tmp_path, capsys):
    out, image = tmp_path / "bvlc.keras", tmp_path / "noise.png"
    assert main(["convert", "bvlc", str(caffemodel), str(out)]) == 0
    assert f"next:  keras-inception predict {out} IMAGE" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype="uint8")
    Image.fromarray(pixels).save(image)
    assert main(["predict", str(out), str(image), "--json", "--top", "1"]) == 0
    (top,) = json.loads(capsys.readouterr().out)[0]["predictions"]
    model = runs.load_model(out)
    assert model.preprocessing == "caffe"
    expected = model.predict(preprocess_input(pixels[None], preprocessing="caffe"), verbose=0)[0][0]
    assert top["class"] == f"class_{expected.argmax()}"
    assert top["probability"] == pytest.approx(expected.max(), abs=1e-5)  # float32, another order of sums


@pytest.mark.slow
def test_conversion_without_the_class_names_says_so(caffemodel, no_network, tmp_path, capsys):
    out = tmp_path / "bvlc.keras"
    assert main(["convert", "bvlc", str(caffemodel), str(out)]) == 0
    assert "predictions will show numbers in place of the names" in capsys.readouterr().out
    assert runs.load_model(out).class_names is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bvlc", "nosuch.caffemodel", "out.keras"], "`path` must be a file of BVLC Caffe's"),
        (["bvlc", "nosuch.caffemodel", "out.h5"], "must end in .keras"),
        (["bvlc", "nosuch.caffemodel", "nosuch/out.keras"], "there is no folder nosuch"),
        (["bvlc", ".", "out.keras"], "`path` must be a file of BVLC Caffe's, and there is none"),
        (["flickr", "x", "out.keras"], "invalid choice: 'flickr'"),
    ],
)
def test_conversions_that_cannot_be_are_refused_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["convert", *arguments])
    except SystemExit as error:
        status = error.code
    printed = capsys.readouterr().err
    assert status == 2
    assert message in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def flowers(tmp_path):
    """Returns `flowers(aux_classes)`, a fine-tuned network's file of 5 classes with a renamed main classifier."""

    def flowers(aux_classes=None):
        layers = published.bvlc_tensors(classes=5)
        layers["loss3/flowers"] = layers.pop("loss3/classifier")
        for name in [name for name in layers if name.startswith(("loss1/", "loss2/"))]:
            if aux_classes is None:
                del layers[name]
            elif name.endswith("classifier"):
                layers[name] = [blob[:aux_classes] for blob in layers[name]]
        (tmp_path / "flowers.caffemodel").write_bytes(published.caffemodel(layers))
        return layers["loss3/flowers"][0].T

    return flowers


def test_a_network_of_other_classes_is_converted_with_them(flowers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kernel = flowers()
    (tmp_path / "names.txt").write_text("rose\ntulip\naster\niris\nlily\n")
    arguments = ["convert", "bvlc", "flowers.caffemodel", "flowers.keras", "--rename", "loss3/classifier=loss3/flowers"]
    assert main([*arguments, "--class-names", "names.txt"]) == 0
    assert "5 classes, heads main\n" in capsys.readouterr().out
    model = runs.load_model(tmp_path / "flowers.keras")
    assert model.class_names == ["rose", "tulip", "aster", "iris", "lily"]
    np.testing.assert_array_equal(model.get_layer("loss3_classifier").get_weights()[0], kernel)
    assert main([*arguments, "--overwrite"]) == 0
    assert (
        "show numbers in place of the names of the classes: the file does not hold the names" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("aux_classes", "options", "message"),
    [
        (None, [], "lacks 2 of the model's weights: `loss3/classifier[0]`"),
        (None, ["--rename", "loss3/flowers"], "--rename must be NAME=NAME. Received: loss3/flowers"),
        (None, ["--rename", "loss3/classifier=loss3/flowers", "--classes", "7"], "the file's, which has 5. Received: "),
        (None, ["--rename", "loss3/classifier=loss3/flowers", "--classes", "0"], "the file's, which has 5. Received: "),
        (3, ["--rename", "loss3/classifier=loss3/flowers"], "loss3_classifier 5, loss1_classifier 3, loss2_classifier"),
    ],
)
def test_no_classifier_is_made_up(aux_classes, options, message, flowers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flowers(aux_classes)
    assert main(["convert", "bvlc", "flowers.caffemodel", "out.keras", *options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["flowers.caffemodel"]


def test_an_existing_file_is_not_replaced_unless_told_to(caffemodel, no_network, tmp_path, capsys):
    out = tmp_path / "bvlc.keras"
    out.write_bytes(b"mine")
    assert main(["convert", "bvlc", str(caffemodel), str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"


def test_imagenet_weights_without_a_network_tell_the_way_out(no_network, image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    out = tmp_path / "run"
    assert main(["train", "--weights", "imagenet", "--dataset", str(image_folder), "--out", str(out)]) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith("keras-inception train: error: ")
    assert "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel" in said
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The weights of BVLC Caffe are for 1000 classes:UserWarning")
def test_fine_tuning_from_a_file_changes_only_what_is_not_frozen(caffemodel, image_folder, tmp_path):
    out = tmp_path / "run"
    arguments = ("--weights", caffemodel, "--freeze-through", "inception_4e", "--dataset", image_folder)
    assert main(["train", *map(str, arguments), "--epochs", "1", "--no-aux-heads", "--out", str(out)]) == 0
    tuned, start = runs.load_model(out), _published(caffemodel)
    assert (tuned.preprocessing, tuned.class_names) == ("caffe", ["dark", "light"])
    assert tuned.input_shape == (None, 224, 224, 3)
    for layer, frozen in (("conv1_7x7_s2", True), ("inception_4e_5x5", True), ("inception_5a_1x1", False)):
        before, after = start.get_layer(layer).get_weights()[0], tuned.get_layer(layer).get_weights()[0]
        assert np.array_equal(before, after) == frozen


def _published(caffemodel):
    from keras_inception import GoogLeNet

    return GoogLeNet(weights=caffemodel, aux_heads=False)


def test_weights_for_an_architecture_without_any_are_refused(capsys):
    assert main(["train", "--weights", "imagenet", "--architecture", "googlenet_bn"]) == 2
    assert "needs an architecture that weights were published for" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["runs/flower", "model.npy", "imagenet2"])
@pytest.mark.parametrize("architecture", ["googlenet_bn", "googlenet"])  # without and with a publisher
def test_weights_that_are_not_there_are_called_so(architecture, name, capsys):
    assert main(["train", "--weights", name, "--architecture", architecture]) == 2
    assert f"there is no such folder or file. Received: weights='{name}'" in capsys.readouterr().err
