"""The same answer everywhere: the command's classifier, Keras, Python and the C++ loader of TensorFlow Serving."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from encoded_images import encode, kinds, photograph
from PIL import Image, ImageOps
from served_network import CLASS_NAMES, SERVED, build

import keras_inception as ki
from keras_inception import data
from keras_inception.serving.classifier import Classifier
from keras_inception.serving.export.c_loader import Server

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
    assert len({round(float(answer[0]), 5) for answer in answers.values()}) > 8
    return answers


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations_give_what_pillow_shows(kind, model, server, loaded, tmp_path):
    shown = Image.fromarray(data.decode(encode(photograph(), kind)).numpy())
    files, expected = [], []
    for orientation in range(1, 9):
        exif = shown.getexif()
        exif[0x0112] = orientation
        files.append(encode(photograph(), kind, exif=exif))
        (tmp_path / str(orientation)).write_bytes(files[-1])
        pixels = np.asarray(ImageOps.exif_transpose(shown))
        expected.append(server("serving_uint8", images=pixels[None])["probabilities"][0])
    assert len({tuple(np.round(answer, 5)) for answer in expected}) == 8
    for call in (server, loaded):
        np.testing.assert_allclose(call("serving_bytes", image_bytes=files)["probabilities"], expected, **CLOSE)
    for (_, answer), wanted in zip(Classifier(model).predict_files(sorted(tmp_path.iterdir()), top=7), expected):
        np.testing.assert_allclose([dict(answer)[name] for name in CLASS_NAMES], wanted, **CLOSE)


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


@pytest.mark.parametrize(
    ("architecture", "channels", "names", "resize"),
    [
        (SERVED, 1, list(FILES), "crop"),
        (SERVED, 4, ["alpha png", "png"], "crop"),
        (dataclasses.replace(SERVED, preprocessing="caffe"), 3, ["jpeg", "alpha png", "the network's size"], "pad"),
        (SERVED, 3, ["jpeg"], "stretch"),
    ],
    ids=["grey", "alpha", "caffe and pad", "stretch"],
)
def test_networks_of_other_inputs_give_it_too(architecture, channels, names, resize, tmp_path):
    model = build(architecture, input_shape=(16, 16, channels))
    model.resize = resize
    server = Server(ki.export_saved_model(model, tmp_path / "served"))
    answer = server("serving_bytes", image_bytes=[FILES[name] for name in names])
    said = server("metadata")
    assert [said[key].item().decode() for key in ("preprocessing", "resize")] == [architecture.preprocessing, resize]
    classifier, network = Classifier(model), ki.inference_model(model)
    for name, row in zip(names, answer["probabilities"]):
        (tmp_path / "file").write_bytes(FILES[name])
        [(_, said)] = classifier.predict_files([tmp_path / "file"], top=7)
        image = data.to_input(
            data.decode(FILES[name], channels), model.input_shape[1:], architecture.preprocessing, resize
        )
        expected = np.asarray(network(keras.ops.expand_dims(image, 0), training=False))[0]
        np.testing.assert_allclose(row, expected, err_msg=name, **CLOSE)
        np.testing.assert_allclose([dict(said)[str(index)] for index in range(7)], expected, err_msg=name, **CLOSE)
