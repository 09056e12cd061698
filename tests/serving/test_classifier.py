"""A classifier from a model or a path, in copies and other processes, and what it refuses."""

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from encoded_images import encode, photograph
from served_network import CLASS_NAMES, SERVED, build, random_images, random_pixels

import keras_inception as ki
from keras_inception.cli import main
from keras_inception.network.checks import check_images
from keras_inception.serving import exits, export


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A run's folder with a model, and an image."""
    path = tmp_path_factory.mktemp("run")
    model.save(path / "model.keras")
    (path / "rose.jpg").write_bytes(encode(photograph(), "JPEG"))
    return path


@pytest.fixture(scope="module", params=[np.nan, np.inf], ids=["NaN", "infinite"])
def damaged(request, tmp_path_factory):
    """A network of which one kernel of the main path holds such values, saved in a run's folder; and the folder."""
    network = build(class_names=CLASS_NAMES)
    kernel = network.get_layer("inception_4b_3x3").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 3, request.param, kernel))
    path = tmp_path_factory.mktemp("damaged")
    network.save(path / "model.keras")
    (path / "rose.jpg").write_bytes(encode(photograph(), "JPEG"))
    return network, path


FROM_THE_SHELL = """
import sys
sys.argv = ["keras-inception", "predict", *sys.argv[1:]]
sys.modules["matplotlib"] = sys.modules["sklearn"] = None  # Keras imports them where they are

from keras_inception.cli import main

code = main()
lazy = {"tensorflow_datasets", "keras_tuner", "keras_inception.data.loading", "keras_inception.serving.export"}
print(code, sorted(lazy & sys.modules.keys()))
"""


def predict_in_another_process(classifier):
    return classifier.predict(random_images(3))


def test_a_path_is_as_good_as_a_model(folder, model):
    expected = list(ki.Classifier(model).predict_files([folder / "rose.jpg"]))
    for path in (folder, str(folder), folder / "model.keras"):
        assert list(ki.Classifier(path).predict_files([folder / "rose.jpg"])) == expected
    for path in (folder / "nosuch.keras", "", folder / "rose.jpg"):
        with pytest.raises(ki.InputError, match=r"A run is a folder with a model|`run` must be the path"):
            ki.Classifier(path)


def test_an_answer_from_the_shell_imports_nothing_that_only_others_need(folder):
    command = [sys.executable, "-c", FROM_THE_SHELL, str(folder), str(folder / "rose.jpg")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.stdout.splitlines()[-1:] == ["0 []"], finished.stderr


@pytest.mark.parametrize("head", ["main", "aux1"])
def test_copies_answer_alike(model, head):
    classifier = ki.Classifier(model, head)
    expected = classifier.predict(random_images(3))
    for other in (copy.copy(classifier), copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_array_equal(other.predict(random_images(3)), expected)
        assert (other.class_names, other.model.name) == (CLASS_NAMES, classifier.model.name)


def test_without_graphs_it_answers_the_same(folder, model):
    classifier, eager = ki.Classifier(model, "aux1"), ki.Classifier(model, "aux1", run_eagerly=True)
    for other in (eager, pickle.loads(pickle.dumps(eager))):
        # A graph divides by a constant as it multiplies by the inverse.
        np.testing.assert_allclose(other.read(folder / "rose.jpg"), classifier.read(folder / "rose.jpg"), atol=1e-6)
        np.testing.assert_allclose(other.predict(random_images(3)), classifier.predict(random_images(3)), atol=1e-6)


@pytest.mark.slow
def test_it_works_in_another_process(model):
    classifier = ki.Classifier(model)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [found] = pool.map(predict_in_another_process, [classifier])
    np.testing.assert_allclose(found, classifier.predict(random_images(3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (random_images(1)[0], r"Images must be an array or tensor of shape \(None, 16, 16, 3\).*\(16, 16, 3\)"),
        (np.zeros((2, 8, 16, 3)), r"must be an array or tensor of shape"),
        (np.array(["rose.jpg"]), r"must be an array of numbers"),
        (None, r"must be an array of numbers. Received: NoneType"),
        (np.full((2, 16, 16, 3), np.nan), r"must hold finite numbers.* in 2 of the 2 images"),
        (np.where(np.arange(3) == 1, np.inf, random_images(1)), r"must hold finite numbers"),
    ],
)
def test_images_that_are_none_are_refused(model, images, message):
    with pytest.raises(ki.InputError, match=message):
        ki.Classifier(model).predict(images)
    assert ki.Classifier(model).predict(np.zeros((0, 16, 16, 3))).shape == (0, 7)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "uint8"])
def test_images_of_any_type_of_numbers_are_looked_at(dtype):
    classifier = ki.Classifier(build(include_preprocessing=True))
    images = tf.cast(random_pixels(2), dtype)
    np.testing.assert_allclose(classifier.predict(images), classifier.predict(random_pixels(2)), rtol=0, atol=0.02)
    if dtype != "uint8":
        for call in (classifier.predict, classifier.model.check_batch, check_images):
            with pytest.raises(ki.InputError, match="must hold finite numbers"):
                call(tf.concat([images, tf.fill(images.shape, tf.constant(np.nan, dtype))], 0))


@pytest.mark.parametrize("arguments", [{"paths": "rose.jpg"}, {"top": 0}, {"batch_size": 0}, {"top": 1.5}])
def test_arguments_that_name_no_files_or_numbers_are_refused(model, arguments):
    with pytest.raises(ki.InputError, match=r"must be a (list of paths|whole number of at least 1)"):
        list(ki.Classifier(model).predict_files(**{"paths": ["rose.jpg"], **arguments}))


def test_weights_that_are_not_finite_are_refused_by_whatever_answers_with_them(damaged, tmp_path):
    network, _ = damaged
    images, labels = random_images(4), np.arange(4)
    for function in (
        lambda: ki.Classifier(network),
        lambda: ki.export_saved_model(network, tmp_path / "served"),
        lambda: export.export_format(network, tmp_path / "served", "onnx"),
        lambda: export.early_exit_network(network, 0.5),
        lambda: ki.early_exit_model(network, 0.5),
        lambda: ki.calibrate_exits(network, (images, labels)),
        lambda: ki.explain(network, images[0]),
        lambda: ki.evaluation.evaluate(network, (images, labels)),
    ):
        with pytest.raises(ki.InputError, match=r"inception_4b_3x3/kernel holds .* values that are NaN or infinite"):
            function()
    assert not list(tmp_path.glob("served/[0-9]*"))
    assert ki.Classifier(network, "aux1").predict(images).shape == (4, 7)  # which lies before that row


@pytest.mark.parametrize("command", [["predict", "{}", "{}/rose.jpg"], ["export", "{}", "--out", "{}/out"]])
def test_the_commands_say_it_in_one_line(damaged, capsys, command):
    _, folder = damaged
    assert main([part.format(folder) for part in command]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert "inception_4b_3x3/kernel holds" in line


def test_weights_that_diverge_later_are_seen(damaged):
    broken, folder = damaged
    network, images = build(class_names=CLASS_NAMES), random_images(2)
    classifier, exits = ki.Classifier(network), ki.early_exit_model(network, 0.5)
    network.set_weights(broken.get_weights())  # a ReLU makes 0 of NaN: the probabilities are finite
    for function in (
        lambda: classifier.predict(images),
        lambda: list(classifier.predict_files([folder / "rose.jpg"])),
        lambda: exits(images),
        lambda: exits.predict(images, verbose=0),
    ):
        with pytest.raises(ki.InputError, match=r"inception_4b_3x3/kernel holds .* values that are NaN"):
            function()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 16, 16, 3), np.nan, "float32"), "must hold finite numbers"),
        (np.zeros((2, 16, 16, 1), "float32"), r"must be an array or tensor of shape \(None, 16, 16, 3\)"),
        (np.zeros((16, 16, 3), "float32"), r"must be an array or tensor of shape"),
    ],
)
def test_a_network_with_early_exits_refuses_them_too(model, images, message):
    exiting = exits.early_exit_model(model, 0.5)
    for call in (exiting, lambda x: exiting.predict(x, verbose=0)):
        with pytest.raises(ki.InputError, match=message):
            call(images)
    assert exiting.predict(np.zeros((0, 16, 16, 3), "float32"))["probabilities"].shape == (0, 7)


def test_numbers_that_are_none_are_null_in_json(model, folder, tmp_path):
    """A summary may hold the losses of a training that diverged."""
    version = ki.export_saved_model(model, tmp_path / "served", summary={"loss": float("nan"), "best": [1.0, np.inf]})
    for path in (version / "assets").glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    assert json.loads((version / "assets" / "training.json").read_text()) == {"loss": None, "best": [1.0, None]}


def test_networks_that_read_no_files_are_refused(channels_first):
    for options in ({}, {"input_shape": (3, None, None), "aux_heads": False}):
        with pytest.raises(ki.InputError, match=r"What serves (takes images of \(height|scales images)"):
            ki.Classifier(ki.GoogLeNet(architecture=SERVED, **options))


def test_networks_of_other_channels_classify_arrays_alone():
    classifier = ki.Classifier(build(input_shape=(16, 16, 2)))
    assert classifier.predict(np.zeros((1, 16, 16, 2)) - 1).shape == (1, 7)
    with pytest.raises(ki.InputError, match="Image files have 1, 3 or 4 channels"):
        list(classifier.predict_files(["rose.jpg"]))


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([np.full((2, 16, 16, 3), np.nan, "float32")], "must hold finite numbers"),
        ([np.zeros((2, 8, 16, 3), "float32")], "must be an array or tensor of shape"),
        (3, "`calibration` must be batches of images"),
    ],
)
def test_images_of_a_calibration_are_looked_at(model, tmp_path, monkeypatch, calibration, message):
    """The converter would crash the process."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    with pytest.raises(ki.InputError, match=message):
        export.export_format(model, tmp_path, "litert", calibration=calibration)


@pytest.mark.parametrize("summary", [3, {"a": object()}, {"images": np.zeros(3)}])
def test_summaries_that_json_cannot_hold_are_refused(model, tmp_path, summary):
    with pytest.raises(ki.InputError, match="`summary` must be a dict that JSON can hold"):
        ki.export_saved_model(model, tmp_path, summary=summary)
