"""A trained network gets classifiers for other classes."""

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki


@pytest.mark.parametrize("options", [{}, {"aux_heads": False}, {"include_preprocessing": True}, {"dtype": "bfloat16"}])
def test_all_but_the_classifiers_stay(options, tmp_path):
    model = ki.GoogLeNet(architecture=TINY, classes=3, class_names=["a", "b", "c"], **options)
    model.record.preprocessing = "caffe"
    ki.freeze(model, "inception_4a")
    before = model.get_weights()
    changed = ki.change_classes(model, 5, ["v", "w", "x", "y", "z"])
    anew = {"loss3_classifier", "loss1_classifier", "loss2_classifier"}
    for layer in changed.layers:
        source = model.get_layer(layer.name)
        assert layer.trainable == source.trainable
        assert layer.output.dtype == source.output.dtype
        if layer.name in anew:
            assert layer.kernel.shape == (*source.kernel.shape[:1], 5)
        else:
            assert all(map(np.array_equal, layer.get_weights(), source.get_weights()))
            assert not {id(weight) for weight in layer.weights} & {id(weight) for weight in source.weights}
    assert (changed.output_names, changed.classes, changed.name) == (model.output_names, 5, model.name)
    assert (changed.class_names, model.class_names) == (["v", "w", "x", "y", "z"], ["a", "b", "c"])
    assert (changed.architecture, changed.preprocessing) == (model.architecture, model.preprocessing)
    assert changed.record.preprocessing == "caffe"
    assert changed.compiled
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    changed.save(tmp_path / "changed.keras")
    assert ki.load_model(tmp_path / "changed.keras").class_names == changed.class_names


def test_it_learns_the_new_classes():
    images, labels = images_and_labels()
    model = ki.change_classes(ki.GoogLeNet(architecture=TINY, classes=9), 2)
    assert model.class_names is None
    assert "val_main_accuracy" in model.fit(images, labels, validation_split=0.25, verbose=0).history


def test_what_has_no_classifiers_is_refused():
    with pytest.raises(ki.InputError, match="must have heads"):
        ki.change_classes(ki.GoogLeNet(architecture=TINY, include_top=False), 2)
    with pytest.raises(ki.InputError, match=r"`classes` must be an integer of at least 2\. Received: classes=1"):
        ki.change_classes(ki.GoogLeNet(architecture=TINY), 1)
    x = keras.Input((5,))
    model = ki.InceptionModel(x, keras.layers.Dense(3, activation="softmax", name="main")(x))
    for other in (model, ki.GoogLeNet(architecture=TINY, include_top=False, pooling="avg")):
        with pytest.raises(ki.InputError, match="must end in a classifier and its activation"):
            ki.change_classes(other, 2)
