"""A model that is not ours, or that lacks what a function needs, is refused in one line that says what to give."""

import importlib

import keras
import numpy as np
import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception import evaluation
from keras_inception.network import cost
from keras_inception.plots.network import graph
from keras_inception.weights import freeze

IMAGES, LABELS = np.zeros((2, 32, 32, 3), "float32"), np.array([0, 1])

CORE = {
    "inference_model": ki.inference_model,
    "features": lambda model: ki.features(model, ["inception_3a"]),
    "compile_model": ki.compile_model,
    "load_published_weights": lambda model: ki.load_published_weights(model, "bvlc", "/nowhere"),
    "freeze": lambda model: freeze(model, "inception_3a"),
    "cost.rows": cost.rows,
    "graph": graph,
    "evaluate": lambda model: evaluation.evaluate(model, (IMAGES, LABELS)),
    "evaluate, crops": lambda model: evaluation.evaluate([model], [(IMAGES[0], 0)], crops=1),
    "predict": lambda model: evaluation.predict(model, (IMAGES, LABELS)),
    "report": lambda model: importlib.import_module("keras_inception.evaluation.report").write(
        "/nowhere", [model], evaluation.Predictions(LABELS, {"main": np.eye(2)}), facts={}, originals=[]
    ),
}
TENSORFLOW = {
    "explain": ("", "explain", (IMAGES[0],)),
    "head_gradients": (".training.diagnosis.gradients", "head_gradients", (IMAGES, LABELS)),
    "Classifier": ("", "Classifier", ()),
    "export_saved_model": ("", "export_saved_model", ("/nowhere",)),
    "export_format": (".serving.export", "export_format", ("/nowhere", "onnx")),
    "early_exit_network": (".serving.export", "early_exit_network", (0.5,)),
    "serving_network": (".serving.export", "serving_network", ()),
    "calibrate_exits": ("", "calibrate_exits", ((IMAGES, LABELS),)),
    "early_exit_model": ("", "early_exit_model", (0.5,)),
    "exit_names": (".serving.exits", "exit_names", ()),
}


def foreign_models():
    image, other = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    mean, output = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax", name="main")
    sequential = keras.Sequential([image, mean, output], name="sequential")
    functional = keras.Model(image, {"main": output(mean(image))}, name="functional")
    two_inputs = ki.InceptionModel([image, other], output(mean(image + other)), name="two_inputs")
    subclass = type("Subclass", (keras.Model,), {"call": lambda self, x: x})()
    return sequential, functional, two_inputs, subclass, None, "runs/digits", 3, IMAGES


def assert_refused(function):
    for model in foreign_models():
        with pytest.raises(
            ki.InputError, match=r"must (be|know|have|hold|belong)|belong to|no Keras model|A run is"
        ) as error:
            function(model)
        assert "Received: " in str(error.value)
        assert len(str(error.value)) < 700


@pytest.mark.parametrize("name", CORE)
def test_what_is_no_network_of_ours_is_refused(name):
    assert_refused(CORE[name])


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", TENSORFLOW)
def test_what_is_no_network_of_ours_is_refused_by_what_needs_tensorflow(name):
    room, attribute, arguments = TENSORFLOW[name]
    function = getattr(importlib.import_module(f"keras_inception{room}"), attribute)
    assert_refused(lambda model: function(model, *arguments))


def test_networks_without_heads_are_refused_and_without_compilation_scored():
    model = ki.GoogLeNet(architecture=TINY, classes=2)
    for part in (ki.GoogLeNet(architecture=TINY, include_top=False), ki.features(model, [TINY.rows[-1].name])):
        for function in (ki.inference_model, ki.compile_model, CORE["predict"], CORE["evaluate"]):
            with pytest.raises(ki.InputError, match=r"must have heads, .*include_top=True.*Received: model=InceptionM"):
                function(part)
    images = np.zeros((2, *model.input_shape[1:]), "float32")
    scores = evaluation.evaluate(model, (images, LABELS))
    bare = evaluation.evaluate(ki.inference_model(model), (images, LABELS))
    assert bare["main"]["loss"] == pytest.approx(scores["main"]["loss"], rel=1e-5)
