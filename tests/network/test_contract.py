"""What images must have gone through is recorded, checked against the first batch, and kept in every copy."""

import copy
import dataclasses
import pickle
import re

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception.network.preprocess import RANGES, contradiction

X, Y = images_and_labels()
PIXELS = (X + 1) * 127.5
CAFFE = dataclasses.replace(TINY, name="caffe", preprocessing="caffe")


def build(**arguments):
    return ki.GoogLeNet(**{"architecture": TINY, "classes": 2, "class_names": ["dark", "light"]} | arguments)


PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3)).astype("float32")
BRIGHT = PHOTOGRAPH / 3 + 135
STANDARDISED = ((PHOTOGRAPH / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype("float32")


def prepared(images, mode):
    return ki.preprocess_input(images, "channels_last", preprocessing=mode)


@pytest.mark.parametrize(
    "images",
    [
        np.floor(PHOTOGRAPH[:1] / 128),  # one image, almost black
        PHOTOGRAPH[:1] / 25,
        1.3 * PHOTOGRAPH - 30,  # the overshoot of a sharp resizing
        0.1 * PHOTOGRAPH - 1,
        0 * PHOTOGRAPH + 3,
    ],
)
def test_dark_pixels_and_those_of_a_sharp_resizing_pass(images):
    assert contradiction(images, "pixels") == ""
    assert not any(contradiction(image[None], "pixels") for image in images)


@pytest.mark.parametrize("mode", RANGES)
@pytest.mark.parametrize("images", [PHOTOGRAPH, 0.2 * PHOTOGRAPH, PHOTOGRAPH[:1], BRIGHT[:1], 0 * PHOTOGRAPH])
def test_preprocessed_images_pass(images, mode):
    assert contradiction(prepared(images, mode), mode) == ""


def test_overshoot_of_interpolation_and_what_is_not_known_pass():
    assert contradiction(1.3 * prepared(PHOTOGRAPH, "inception"), "inception") == ""
    assert contradiction(PHOTOGRAPH, None) == contradiction(PHOTOGRAPH[0, 0], "inception") == ""


@pytest.mark.parametrize(
    ("images", "mode", "received"),
    [
        (PHOTOGRAPH, "inception", "from 0 to 255"),
        (PHOTOGRAPH.astype("uint8"), "inception", "from 0 to 255"),
        (PHOTOGRAPH[:1] / 255, "inception", "from 0 to 1"),
        (0.6 * PHOTOGRAPH / 255 + 0.2, "inception", "from 0.2 to 0.8"),
        (PHOTOGRAPH / 58 - 2, "inception", "from -2 to 2.39655"),  # standardised
        (prepared(PHOTOGRAPH, "caffe"), "inception", "from -1[0-9.]+ to 1[0-9.]+"),
        (prepared(prepared(PHOTOGRAPH, "inception"), "inception"), "inception", "from -1.00784 to -0.992157"),
        (prepared(PHOTOGRAPH / 255, "inception"), "inception", "from -1 to -0.992157"),
        (PHOTOGRAPH, "caffe", "from 0 to 255"),
        (0.7 * PHOTOGRAPH, "caffe", "from 0 to 178.5"),
        (PHOTOGRAPH / 255, "caffe", "from 0 to 1"),
        (prepared(PHOTOGRAPH, "inception"), "caffe", "from -1 to 1"),
        (prepared(prepared(PHOTOGRAPH, "caffe"), "caffe"), "caffe", "from -2[0-9.]+ to"),
        (PHOTOGRAPH / 255, "pixels", "from 0 to 1"),
        (prepared(PHOTOGRAPH, "inception"), "pixels", "from -1 to 1"),
        (prepared(PHOTOGRAPH, "caffe"), "pixels", "from -1[0-9.]+ to 1[0-9.]+"),
        (STANDARDISED, "caffe", "from -2.1"),
        (STANDARDISED[:1], "pixels", "from -2.[0-9]+ to 2"),
        (STANDARDISED * 3, "pixels", "from -6.[0-9]+ to 7"),
        (STANDARDISED / 5, "pixels", "from -0.[0-9]+ to 0"),
        (PHOTOGRAPH / 80 - 0.4, "pixels", "from -0.4 to 2.7"),  # of mostly black images
        (PHOTOGRAPH / 80, "pixels", "from 0 to 3.1"),
        (np.sign(PHOTOGRAPH - 128), "pixels", "from -1 to 1"),
        (np.sign(PHOTOGRAPH[:1] - 128), "pixels", "from -1 to 1"),
        (np.floor(PHOTOGRAPH / 128), "pixels", "from 0 to 1"),
    ],
)
def test_images_of_another_range_contradict(images, mode, received):
    least, greatest = RANGES[mode]
    said = contradiction(images, mode)
    assert said.startswith(f"The images must be from {least:g} to {greatest:g}, as the model's `preprocessing` says.")
    assert re.search(rf"Received: images {received}.*, preprocessing='{mode}'", said)
    assert ("include_preprocessing=True" in said) == (mode != "pixels")


def reports(warnings):
    return sum("The images must be" in str(warning.message) for warning in warnings)


def test_each_way_in_reports_a_contradiction_once():
    model, match = build(), "The images must be from -1 to 1.*Received: images from "
    for call in (
        lambda: model.fit(PIXELS, Y, batch_size=8, epochs=2, shuffle=False, verbose=0),
        lambda: model.fit(X, Y, validation_data=(PIXELS, Y), epochs=2, verbose=0),
        lambda: model.evaluate(PIXELS / 255, Y, batch_size=8, verbose=0),
        lambda: model.predict(PIXELS, batch_size=8, verbose=0),
    ):
        with pytest.warns(UserWarning, match=match) as said:
            call()
        assert reports(said) == 1
    model.preprocessing = None  # other images are meant
    model.predict(PIXELS, verbose=0)


def fit_batch_by_batch(model):
    for start in (0, 8):
        model.train_on_batch(PIXELS[start : start + 8], Y[start : start + 8])


def fit_a_dataset(model):
    tf = pytest.importorskip("tensorflow")
    model.fit(tf.data.Dataset.from_tensor_slices((PIXELS, Y)).batch(8), shuffle=False, verbose=0)


@pytest.mark.parametrize(
    "use",
    [
        fit_batch_by_batch,
        fit_a_dataset,
        lambda model: ki.evaluation.evaluate(model, (PIXELS, Y)),
        pytest.param(lambda model: ki.Classifier(model).predict(PIXELS), marks=pytest.mark.tensorflow),
        pytest.param(lambda model: ki.explain(model, PIXELS[0]), marks=pytest.mark.tensorflow),
        pytest.param(lambda model: ki.calibrate_exits(model, (PIXELS, Y)), marks=pytest.mark.tensorflow),
        pytest.param(
            lambda model: ki.early_exit_model(model, 0.5).predict(PIXELS, batch_size=8, verbose=0),
            marks=pytest.mark.tensorflow,
        ),
        pytest.param(lambda model: ki.diagnosis.head_gradients(model, PIXELS, Y), marks=pytest.mark.tensorflow),
    ],
    ids=["batches", "dataset", "evaluation", "classifier", "explain", "exits", "early exits", "gradients"],
)
def test_pixels_are_reported_in_every_form(use):
    model = build()
    with pytest.warns(UserWarning, match="The images must be from -1 to 1") as said:
        use(model)
    assert reports(said) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.predict(PIXELS, verbose=0),
        lambda model: ki.evaluation.evaluate(model, (PIXELS, Y)),
        pytest.param(lambda model: ki.explain(model, PIXELS[0]), marks=pytest.mark.tensorflow),
    ],
    ids=["predict", "evaluation", "explain"],
)
def test_each_call_reports_anew_of_a_clone_too(use):
    model = build()
    for network in (model, model, keras.models.clone_model(model)):
        with pytest.warns(UserWarning, match="The images must be from -1 to 1") as said:
            use(network)
        assert reports(said) == 1


@pytest.mark.parametrize("record", [TINY, CAFFE], ids=lambda record: record.name)
def test_a_network_that_preprocesses_takes_pixels(record, tmp_path):
    arguments = {"architecture": record, "classifier_activation": None}
    model, plain = build(**arguments, include_preprocessing=True), build(**arguments)
    assert (model.preprocessing, plain.preprocessing) == ("pixels", record.preprocessing)
    plain.set_weights(model.get_weights())
    expected = plain.predict(prepared(PIXELS, record.preprocessing), verbose=0)[0]
    assert np.ptp(expected, axis=0).max() > 0.1
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert network.preprocessing == "pixels"
        np.testing.assert_allclose(network.predict(PIXELS, verbose=0)[0], expected, rtol=1e-5, atol=1e-4)
        again = ki.preprocess_input(PIXELS, preprocessing=network.preprocessing)
        np.testing.assert_array_equal(again, PIXELS)
    with pytest.warns(UserWarning, match="The images must be from 0 to 255.*The network preprocesses by itself"):
        model.predict(X, verbose=0)
    with pytest.raises(ki.InputError, match=r"The network preprocesses by itself.*Received: preprocessing='caffe'"):
        model.preprocessing = "caffe"


def test_pixels_keep_their_precision_under_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(include_preprocessing=True)
    output = model.get_layer("preprocessing").output
    assert output.dtype == "float32"
    found = keras.Model(model.input, output).predict(PIXELS, verbose=0)
    np.testing.assert_allclose(found, X, rtol=0, atol=1e-6)


COPIES = {
    "clone_model": keras.models.clone_model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "from_config": lambda model: ki.InceptionModel.from_config(model.get_config()),
    "inference_model": ki.inference_model,
    "InceptionModel": lambda model: ki.InceptionModel(model.input, model.get_layer("main").output),
    "inference_model of a clone": lambda model: ki.inference_model(keras.models.clone_model(model)),
    "clone of an inference_model": lambda model: keras.models.clone_model(ki.inference_model(model)),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("included", [False, True])
def test_a_copy_keeps_what_belongs_to_the_network(kind, included):
    model = build(architecture=CAFFE, include_preprocessing=included)
    model.class_names = ["night", "day"]
    other = COPIES[kind](model)
    assert type(other) is ki.InceptionModel
    assert (other.architecture, other.class_names) == (CAFFE, ["night", "day"])
    assert other.preprocessing == ("pixels" if included else "caffe")
    if other.compiled:
        assert other.get_compile_config()["loss_weights"] == [1.0, 0.3, 0.3]
    elif len(other.outputs) == 1 and "clone" not in kind:
        found, expected = (keras.ops.convert_to_numpy(y) for y in (other(PIXELS), model(PIXELS)[0]))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["clone_model", "deepcopy", "pickle", "from_config"])
def test_copies_of_views_and_of_frozen_networks_compute_the_same(kind):
    model = ki.freeze(build(), TINY.rows[1].name)
    views = (ki.features(model, [row.name for row in TINY.rows[1:]]), ki.inference_model(model, "aux1"))
    for view in (model, *views, build(include_top=False, pooling="avg", class_names=None)):
        other = COPIES[kind](view)
        other.set_weights(view.get_weights())
        assert (type(other), other.name, other.architecture) == (ki.InceptionModel, view.name, view.architecture)
        assert [layer.trainable for layer in other.layers] == [layer.trainable for layer in view.layers]
        for found, expected in zip(keras.tree.flatten(other(X)), keras.tree.flatten(view(X)), strict=True):
            found, expected = (keras.ops.convert_to_numpy(y) for y in (found, expected))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow
def test_models_of_old_files_load_and_copies_of_them_say_what_they_lack():
    image = keras.Input((10, 10, 3))
    outputs = keras.layers.Dense(2, "softmax", name="main")(keras.layers.GlobalMaxPooling2D()(image))
    config = ki.InceptionModel(image, outputs, architecture=TINY, preprocessing="caffe").get_config()
    model = ki.InceptionModel.from_config(config | {"class_names": ["same", "same"]})
    for known in (model, ki.inference_model(model), copy.deepcopy(model)):
        assert (known.preprocessing, known.class_names, known.architecture) == ("caffe", ["same", "same"], TINY)
    clone = keras.models.clone_model(model)
    assert (clone.preprocessing, clone.class_names, clone.architecture) == (None, None, None)
    for use in (ki.Classifier, lambda model: ki.data.load("digits", preprocessing=model.preprocessing)):
        with pytest.raises(ki.InputError, match=r"not known what the network's images went through.*Say it: "):
            use(clone)
    clone.preprocessing = "caffe"
    assert ki.Classifier(clone).predict(100 * X).shape == (24, 2)


def test_layers_before_the_network_make_its_images_unknown():
    image = keras.Input((10, 10, 3))
    model = build(input_tensor=keras.layers.Rescaling(1 / 127.5, -1)(image))
    assert model.preprocessing is None
    model.predict(PIXELS, verbose=0)  # without a warning
    assert build(input_tensor=keras.Input((10, 10, 3))).preprocessing == "inception"
    assert ki.load_trained_weights(model, build()).preprocessing is None


@pytest.mark.parametrize(
    "load",
    [
        lambda model, path: model.load_weights(path),
        lambda model, path: ki.load_trained_weights(model, path),
    ],
    ids=["load_weights", "load_trained_weights"],
)
def test_a_weights_file_says_what_its_images_went_through(load, tmp_path):
    model, path = build(class_names=["night", "day"]), tmp_path / "model.weights.h5"
    model.preprocessing, model.resize = "caffe", "pad"
    model.save_weights(path)
    other = build(class_names=None)
    load(other, path)
    assert (other.preprocessing, other.resize, other.class_names) == ("caffe", "pad", ["night", "day"])
    import h5py

    with h5py.File(path, "a") as file:
        del file["vars/known"]  # as in files of earlier versions
    other.preprocessing = "inception"
    load(other, path)
    assert (other.preprocessing, other.class_names) == ("inception", ["night", "day"])


def test_weights_that_do_not_fit_change_nothing_that_is_known(tmp_path):
    other = build(classes=3, class_names=None)
    other.preprocessing = "caffe"
    other.save_weights(tmp_path / "other.weights.h5")
    model = build()
    with pytest.raises(ki.InputError, match="Nothing was loaded"):
        model.load_weights(tmp_path / "other.weights.h5")
    assert (model.preprocessing, model.class_names) == ("inception", ["dark", "light"])


def test_models_with_outputs_of_their_own_on_one_network_have_their_own_class_names(tmp_path):
    model = build()
    pooled = keras.layers.GlobalMaxPooling2D()(model.get_layer("inception_4a_output").output)

    def on_top(classes):
        return ki.InceptionModel(model.input, keras.layers.Dense(classes, "softmax", name="main")(pooled))

    other, alike = on_top(3), on_top(2)
    assert (other.class_names, other.class_labels, alike.class_names) == (None, ["0", "1", "2"], None)
    other.class_names, alike.class_names = ["ant", "bee", "cow"], ["no", "yes"]
    alike.save(tmp_path / "alike.keras")
    names = [each.class_names for each in (model, ki.inference_model(model), other, alike)]
    assert names == [["dark", "light"], ["dark", "light"], ["ant", "bee", "cow"], ["no", "yes"]]
    assert keras.models.load_model(tmp_path / "alike.keras").class_names == ["no", "yes"]
    model.preprocessing = "caffe"  # of the input, which they share
    assert {each.preprocessing for each in (other, alike)} == {"caffe"}


@pytest.mark.parametrize(
    ("names", "received"),
    [
        ("ab", "class_names='ab'"),
        ({"a": 0, "b": 1}, "class_names={'a': 0, 'b': 1}"),
        (["a"], "1 names"),
        (["a", None], "None among them"),
        (["a", 1], "1 among them"),
        (["a", "b\n"], r"'b\\n' among them"),
        (["a\u2028b", "c"], r"'a\\u2028b' among them"),
        (["a", ""], "'' among them"),
        ([" ", "a"], "' ' among them"),
        (["a", "a"], "'a' 2 times"),
        (7, "class_names=7"),
    ],
)
def test_names_that_name_no_class_are_refused(names, received):
    match = f"`class_names` must hold one name for each of the 2 classes.*Received: {received}"
    with pytest.raises(ki.InputError, match=match):
        build(class_names=names)
    model = build()
    with pytest.raises(ki.InputError, match=match):
        model.class_names = names
    assert model.class_names == ["dark", "light"]
