"""The same answer everywhere: the command's classifier, Keras, Python and the C++ loader of TensorFlow Serving."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from c_loader import Server
from encoded_images import kinds
from served_network import CLASS_NAMES, SERVED, build

import keras_inception as ki
from keras_inception import data
from keras_inception.serving.classifier import Classifier

FILES = kinds()
# Folded batch norm and other groupings of sums: float32 rounds probabilities differently by some 1e-7.
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def expected(model):
    """The softmax of the main head by file, from Keras after the package's own decoding and preprocessing."""
    network = ki.inference_model(model)
    side = model.input_shape[1]
    answers = {}
    for name, file in FILES.items():
        image = data.resize(data.decode(file), side, side)
        inputs = ki.preprocess_input(image[None], preprocessing=model.preprocessing)
        answers[name] = np.asarray(network(inputs, training=False))[0]
    return answers


def test_the_files_have_different_answers(expected):
    assert len({round(float(answer[0]), 5) for answer in expected.values()}) > 8


def test_the_command_gives_it(model, expected, tmp_path):
    paths = [tmp_path / f"{index}" for index in range(len(FILES))]
    for path, file in zip(paths, FILES.values()):
        path.write_bytes(file)
    answers = Classifier(model).predict_files(paths, top=7, batch_size=4)
    for name, (_, answer) in zip(FILES, answers):
        scores = dict(answer)
        np.testing.assert_allclose([scores[key] for key in CLASS_NAMES], expected[name], err_msg=name, **CLOSE)


@pytest.mark.parametrize("way", ["server", "masking_server", "loaded"])
def test_every_signature_gives_it(way, request, expected):
    call = request.getfixturevalue(way)
    answer = call("serving_bytes", image_bytes=list(FILES.values()))
    np.testing.assert_allclose(answer["probabilities"], list(expected.values()), **CLOSE)
    for name, file in FILES.items():
        pixels = data.decode(file).numpy()[None]
        for signature, images in (("serving_uint8", pixels), ("serving_default", pixels.astype("float32"))):
            answer = call(signature, images=images)
            np.testing.assert_allclose(answer["probabilities"][0], expected[name], err_msg=name, **CLOSE)


def test_a_batch_gives_what_its_images_give(server):
    images = np.random.default_rng(0).integers(0, 256, (5, 33, 47, 3)).astype("uint8")
    together = server("serving_uint8", images=images)
    alone = [server("serving_uint8", images=images[i : i + 1])["probabilities"][0] for i in range(5)]
    np.testing.assert_allclose(together["probabilities"], alone, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", list(ki.ARCHITECTURES))
def test_every_architecture_gives_it_from_the_c_loader(architecture, tmp_path):
    model = build(architecture)
    server = Server(ki.export_saved_model(model, tmp_path / architecture))
    assert server("features", images=np.zeros((2, 32, 32, 3), "float32"))["features"].shape == (2, 1024)
    files = list(FILES.values())
    images = [data.to_input(data.decode(file), model.input_shape[1:], model.preprocessing) for file in files]
    expected = ki.inference_model(model)(tf.stack(images), training=False)
    answer = server("serving_bytes", image_bytes=files)
    np.testing.assert_allclose(answer["probabilities"], expected, **CLOSE)
    server.close()


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_networks_give_it_too(channels, tmp_path):
    model = build(input_shape=(16, 16, channels))
    version = ki.export_saved_model(model, tmp_path / "served")
    names = list(FILES) if channels == 1 else ["alpha png", "png"]
    answer = Server(version)("serving_bytes", image_bytes=[FILES[name] for name in names])
    classifier, network = Classifier(model), ki.inference_model(model)
    for name, row in zip(names, answer["probabilities"]):
        path = tmp_path / "file"
        path.write_bytes(FILES[name])
        [(_, said)] = classifier.predict_files([path], top=7)
        image = data.to_input(data.decode(FILES[name], channels), model.input_shape[1:], model.preprocessing)
        expected = np.asarray(network(keras.ops.expand_dims(image, 0), training=False))[0]
        np.testing.assert_allclose(row, expected, err_msg=name, **CLOSE)
        np.testing.assert_allclose([dict(said)[str(index)] for index in range(7)], expected, err_msg=name, **CLOSE)


def test_networks_of_caffe_s_preprocessing_give_it(tmp_path):
    model = build(dataclasses.replace(SERVED, preprocessing="caffe"))
    server = Server(ki.export_saved_model(model, tmp_path / "served"))
    names = ["jpeg", "alpha png", "the network's size"]
    images = [data.to_input(data.decode(FILES[name]), model.input_shape[1:], "caffe") for name in names]
    expected = ki.inference_model(model)(tf.stack(images), training=False)
    answer = server("serving_bytes", image_bytes=[FILES[name] for name in names])
    np.testing.assert_allclose(answer["probabilities"], expected, **CLOSE)
    assert server("metadata")["preprocessing"].item() == b"caffe"
