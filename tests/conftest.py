"""What the tests share: the networks, built once a session, and the rules under which every test runs."""

import gc
import os
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY

import keras_inception as ki

# 79x79 is the smallest image that `googlenet` accepts with its auxiliary heads (`test_model.py` pins it).
SMALL_IMAGE = (79, 79, 3)

EXPECTED_WARNINGS = (
    # Keras 3.15 turns variables into NumPy arrays through `__array__` without the argument `copy`.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # Keras, with any model that was compiled and not fitted: its optimizer is saved before it is built.
    "ignore:Skipping variable loading for optimizer:UserWarning",
)


def pytest_configure(config):
    # Each process of `-n` has one core; a second thread would wait for it, and spin.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    config.addinivalue_line("markers", "tensorflow: needs TensorFlow as the backend of Keras")
    config.addinivalue_line("filterwarnings", "error")
    for warning in EXPECTED_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        return
    for item in items:
        if item.get_closest_marker("tensorflow"):
            item.add_marker(pytest.mark.skip(reason=f"needs TensorFlow, Keras runs on {keras.backend.backend()}"))


@pytest.fixture(autouse=True, scope="module")
def _few_objects_to_collect():
    # Imports leave 460,000 objects, and tests some more. A full collection, of which KerasTuner asks in each trial,
    # would look at all of them again: 0.3 seconds of CPU time instead of 0.005, and up to a minute of wall-clock time
    # where the machine has taken their memory away.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts():
    """Lets Ctrl-C raise, which it does not in what a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _same_start_for_every_test():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True, scope="session")
def _home_of_keras(tmp_path_factory):
    """What is learned of images is kept there, and read by the commands that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield


@pytest.fixture
def refused(capsys):
    """Returns `refused(*arguments)`, which runs the command, expects exit code 2, and returns its one line."""

    def refused(*arguments):
        from keras_inception.cli import main

        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse's way
            status = error.code
        # On a slow machine the check of a folder shows how far it is; a run may warn of what it cannot know.
        passed_over = ("checked ", "warning: ")
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(passed_over)]
        assert (status, len(lines)) == (2, 1), lines
        assert lines[0].startswith("keras-inception")
        return lines[0]

    return refused


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")


@pytest.fixture(scope="session")
def googlenet():
    """The paper's network at its smallest image size, 7 classes, no dropout; never trained, never compiled again."""
    keras.utils.set_random_seed(0)
    return ki.GoogLeNet(input_shape=SMALL_IMAGE, classes=7, dropout=0, aux_dropout=0)


@pytest.fixture(scope="session")
def full_networks():
    """Returns `network(architecture)`, the training model at the architecture's image size with 1000 classes."""
    built = {}

    def network(architecture):
        if architecture not in built:
            built[architecture] = ki.GoogLeNet(architecture=architecture)
        return built[architecture]

    return network


@pytest.fixture(scope="session")
def images():
    """Four preprocessed images of noise for `googlenet`."""
    return np.random.default_rng(0).uniform(-1, 1, (4, *SMALL_IMAGE)).astype("float32")


@pytest.fixture(scope="session")
def fitted(images):
    """The paper's network after one step of `fit` on four images, without dropout, and what was known before it.

    Tracing the training step of the whole network takes ten seconds and more, so it is done once.
    """
    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(input_shape=SMALL_IMAGE, classes=7, dropout=0, aux_dropout=0)
    classifier = ki.inference_model(model)
    labels = np.array([0, 3, 6, 2])
    before = {"predictions": model.predict(images, verbose=0), "weights": model.get_weights()}
    logs = model.fit(images, labels, verbose=0).history
    return SimpleNamespace(model=model, classifier=classifier, labels=labels, before=before, logs=logs)


@pytest.fixture
def three_heads():
    """Returns `build(classes, activation)`: three linear classifiers with output names and compilation of GoogLeNet.

    What training from plain data must do does not depend on the depth of the network, and this one is traced at once.
    """

    def build(classes=7, activation="softmax"):
        x = keras.Input((5,))
        outputs = []
        for name in ("main", "aux1", "aux2"):
            y = keras.layers.Dense(classes, bias_initializer="normal", name=f"{name}_dense")(x)
            outputs.append(keras.layers.Activation(activation, name=name)(y))
        return ki.compile_model(ki.InceptionModel(x, outputs, name="three_heads"))

    return build


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of two classes of 20 images of one colour each, dark ones and light ones."""
    root = tmp_path_factory.mktemp("images")
    for name, least in (("dark", 0), ("light", 150)):
        (root / name).mkdir()
        for index in range(20):
            Image.new("RGB", (40, 36), (least + 5 * index, least + index, least)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def run(image_folder, tmp_path_factory):
    """A training of the tiny network, two short epochs on those images."""
    from keras_inception.training import TrainConfig, train

    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=2, batch_size=8)
    # So short a training may well be diagnosed: after 8 steps the statistics of batch normalization lag.
    return train(config, tmp_path_factory.mktemp("runs") / "run", verbose=0, report=lambda message: None)
