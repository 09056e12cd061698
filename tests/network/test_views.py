"""`inference_model` and `features`: the same variables, nothing that a head or a map does not need."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception import architectures

HEADS = ("main", "aux1", "aux2")

# How many of the nine inception modules each head reads: 5b is the ninth, 4a the third, 4d the sixth.
MODULES = {"main": 9, "aux1": 3, "aux2": 6}
CLASSIFIER = {"main": "loss3", "aux1": "loss1", "aux2": "loss2"}


def modules(model):
    return [layer.name for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]


def assert_serves_as_trained(model, x):
    """Checks each head's model against the output of that name of the training model."""
    outputs = dict(zip(model.output_names, (keras.ops.convert_to_numpy(y) for y in model(x))))
    assert np.ptp(outputs["main"], axis=0).max() > 1e-3  # the images are told apart
    known = {id(variable) for variable in model.variables}
    for head in HEADS:
        classifier = ki.inference_model(model, head)
        assert {id(variable) for variable in classifier.variables} <= known
        found = keras.ops.convert_to_numpy(classifier(x))
        # The same operations; TensorFlow may fuse others in another graph.
        np.testing.assert_allclose(found, outputs[head], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_no_layer_is_there_that_the_head_does_not_need(googlenet, head):
    classifier = ki.inference_model(googlenet, head)
    assert len(modules(classifier)) == MODULES[head]
    assert {n[:5] for n in (layer.name for layer in classifier.layers) if n.startswith("loss")} == {CLASSIFIER[head]}
    assert set(classifier.layers) <= set(googlenet.layers)


def test_aux1_is_the_network_cut_after_4a(full_networks):
    classifier = ki.inference_model(full_networks("googlenet"), "aux1")
    layers = [layer.name for layer in classifier.layers]
    parts = ("ave_pool", "conv", "flatten", "fc", "drop_fc", "classifier")
    assert layers[layers.index("inception_4a_output") + 1 :] == [*(f"loss1_{part}" for part in parts), "aux1"]
    stem = 9_472 + 4_160 + 110_784  # 7x7x3x64, 1x1x64x64, 3x3x64x192, and the biases
    assert classifier.count_params() == stem + 163_696 + 388_736 + 376_176 + 3_188_840


def test_architecture_names_and_preprocessing_go_along():
    names = [f"class {i}" for i in range(4)]
    model = ki.GoogLeNet(architecture="googlenet_small", classes=4, class_names=names, name="digits")
    model.preprocessing = "caffe"
    for head, name in (("main", "digits"), ("aux2", "digits_aux2")):
        classifier = ki.inference_model(model, head)
        assert type(classifier) is ki.InceptionModel
        assert (classifier.class_names, classifier.architecture) == (names, architectures.GOOGLENET_SMALL)
        assert (classifier.preprocessing, classifier.name, classifier.compiled) == ("caffe", name, False)


def test_model_just_built(googlenet, images):
    assert_serves_as_trained(googlenet, images)


def test_model_fitted(fitted, images, tmp_path):
    assert_serves_as_trained(fitted.model, images)
    # The classifier was made before the training and has followed it.
    found = fitted.classifier.predict(images, verbose=0)
    np.testing.assert_allclose(found, fitted.model.predict(images, verbose=0)[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(found, fitted.before["predictions"][0], atol=1e-3)
    fitted.model.save(tmp_path / "model.keras")
    loaded = ki.inference_model(keras.models.load_model(tmp_path / "model.keras"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(images)), found, rtol=1e-4, atol=1e-6)


def test_classifier_itself_survives_a_keras_file(googlenet, images, tmp_path):
    classifier = ki.inference_model(googlenet, "aux1")
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    expected = classifier.predict(images, verbose=0)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow
def test_model_built_under_a_strategy(images):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = ki.GoogLeNet(input_shape=(79, 79, 3), classes=7)
    assert_serves_as_trained(model, images)


def test_classifier_compiles_and_evaluates_by_itself():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 10, 10, 3)).astype("float32")
    y = np.arange(5)
    model = ki.GoogLeNet(architecture="googlenet_small", input_shape=(10, 10, 3), classes=7)
    classifier = ki.compile_model(ki.inference_model(model))
    p = classifier.predict(x, verbose=0)
    logs = classifier.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "accuracy", "top_5_accuracy"}
    assert logs["loss"] == pytest.approx(-np.log(p[np.arange(5), y]).mean(), rel=1e-4)
    assert logs["accuracy"] == pytest.approx(np.mean(p.argmax(axis=1) == y))


def test_unknown_head_is_refused(googlenet):
    match = r"`head` must be one of the model's outputs, \['main', 'aux1', 'aux2'\]\. Received: head='softmax2'"
    with pytest.raises(ki.InputError, match=match):
        ki.inference_model(googlenet, "softmax2")
    with pytest.raises(ki.InputError, match=r"\['main'\]\. Received: head='aux1'"):
        ki.inference_model(ki.inference_model(googlenet), "aux1")


@pytest.mark.parametrize("architecture", ["googlenet", "googlenet_bn", "inception_v1_slim"])
def test_features_are_the_outputs_of_rows(architecture):
    trunk = ki.GoogLeNet(include_top=False, input_shape=(64, 64, 3), architecture=architecture)
    names = ["conv1_7x7_s2", "conv2_3x3", "pool2_3x3_s2", "inception_3b", "inception_4e", "inception_5b"]
    found = ki.features(trunk, names)(np.ones((2, 64, 64, 3), "float32"))
    assert set(found) == set(names)
    shapes = [(32, 64), (16, 192), (8, 192), (8, 480), (4, 832), (2, 1024)]
    assert [tuple(found[name].shape) for name in names] == [(2, size, size, filters) for size, filters in shapes]
    for name in names:
        assert keras.ops.convert_to_numpy(found[name]).min() >= 0, name  # behind the ReLU
    expected = keras.ops.convert_to_numpy(trunk(np.ones((2, 64, 64, 3), "float32")))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found["inception_5b"]), expected)


def test_features_share_the_weights_and_need_no_heads(googlenet, images):
    extractor = ki.features(googlenet, ["inception_3b", "inception_4a_3x3", "main"])
    assert extractor.preprocessing == "inception"
    assert not any(layer.name.startswith(("loss1", "loss2")) for layer in extractor.layers)
    for layer in extractor.layers:
        assert layer is googlenet.get_layer(layer.name)
    found = extractor.predict(images, verbose=0)
    assert found["inception_4a_3x3"].shape[-1] == 208
    np.testing.assert_allclose(found["main"], googlenet.predict(images, verbose=0)[0], rtol=1e-5, atol=1e-7)


def test_features_survive_the_keras_file(googlenet, images, tmp_path):
    extractor = ki.features(googlenet, ["inception_4e", "inception_3b"])
    extractor.save(tmp_path / "features.keras")
    read = keras.models.load_model(tmp_path / "features.keras")
    assert (read.preprocessing, read.architecture) == ("inception", architectures.GOOGLENET)
    found, expected = read(images), extractor(images)
    assert set(found) == {"inception_4e", "inception_3b"}
    for name in found:
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (found[name], expected[name])))


def test_features_train_under_another_head(googlenet, images):
    extractor = ki.features(googlenet, ["inception_5b"])
    x = keras.layers.GlobalMaxPooling2D()(extractor.output["inception_5b"])
    model = keras.Model(extractor.input, keras.layers.Dense(2)(x))
    assert model(images).shape == (4, 2)


def test_unknown_features_are_refused(googlenet):
    with pytest.raises(
        ki.InputError, match=r"rows of the network \(conv1_7x7_s2, .*inception_5b\) or layers.*'inception_6a'"
    ):
        ki.features(googlenet, ["inception_3b", "inception_6a"])
    for names in ([], "inception_3b"):
        with pytest.raises(ki.InputError, match="`names` must be a list of at least one name"):
            ki.features(googlenet, names)
