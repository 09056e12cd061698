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


def test_a_network_behind_other_layers_or_an_input_of_the_users_gets_new_classifiers():
    image = keras.Input((20, 20, 3), name="photo")
    for tensor in (keras.Input((10, 10, 3)), keras.layers.AveragePooling2D(2, name="half")(image)):
        model = ki.GoogLeNet(architecture=TINY, classes=3, input_tensor=tensor)
        changed = ki.change_classes(model, np.int64(5))  # as of `len(np.unique(labels))` or `labels.max() + 1`
        assert [layer.name for layer in changed.layers] == [layer.name for layer in model.layers]
        x = np.random.default_rng(0).uniform(-1, 1, (2, *model.input_shape[1:])).astype("float32")
        maps = [
            keras.ops.convert_to_numpy(ki.features(each, ["conv4_3x3"])(x)["conv4_3x3"]) for each in (model, changed)
        ]
        np.testing.assert_array_equal(*maps)
        assert (changed.classes, changed.preprocessing) == (5, model.preprocessing)


def test_new_classifiers_of_a_frozen_network_learn():
    model = ki.freeze(ki.GoogLeNet(architecture=TINY, classes=3), "main")
    changed = ki.change_classes(model, 5)
    learning = [layer.name for layer in changed.layers if layer.trainable and layer.weights]
    assert "loss3_classifier" in learning
    assert not {"conv1_3x3_s1", "conv4_3x3"} & set(learning)


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
