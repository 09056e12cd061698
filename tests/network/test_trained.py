"""Fine-tuning from one's own training: what is loaded, what begins anew, and what is refused."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception.network import trained

NAMES = ["ant", "bee", "cow"]


def tiny(classes=3, **kwargs):
    return ki.GoogLeNet(architecture=TINY, classes=classes, **kwargs)


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(7)
    model = tiny(class_names=NAMES)
    for layer in model.layers:  # no layer as it was built, statistics and biases neither
        layer.set_weights([np.random.default_rng(1).uniform(0.1, 1, w.shape) for w in layer.get_weights()])
    model.preprocessing = "caffe"
    model.resize = "pad"
    return model


@pytest.fixture(scope="module")
def stored(source, tmp_path_factory):
    """The same weights in each form."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text(json.dumps({}))
    source.save(folder / "model.keras")
    source.save_weights(folder / "x.weights.h5")
    return {"run": folder, "keras": str(folder / "model.keras"), "h5": folder / "x.weights.h5", "model": source}


def same(model, source):
    """Returns the names of the layers that have the weights of those of the source."""
    layers = {layer.name: layer.get_weights() for layer in source.layers}
    return {
        layer.name
        for layer in model.layers
        if layer.weights and all(map(np.array_equal, layer.get_weights(), layers[layer.name]))
    }


def weighted(model):
    return {layer.name for layer in model.layers if layer.weights}


@pytest.mark.parametrize("form", ["run", "keras", "h5"])
def test_a_network_begins_with_the_weights_of_a_training(source, stored, form):
    model = tiny(weights=stored[form])
    assert same(model, source) == weighted(source)
    assert (model.class_names, model.preprocessing, model.resize) == (NAMES, "caffe", "pad")


def test_a_network_is_as_that_of_its_weights_where_nothing_else_is_said(source, stored, tmp_path):
    model = ki.GoogLeNet(weights=stored["run"], classes=3)
    assert (model.architecture, model.input_shape, same(model, source)) == (TINY, (None, 10, 10, 3), weighted(source))
    single = ki.GoogLeNet(weights=stored["keras"], classes=3, input_shape=(12, 12, 3), aux_heads=False)
    assert single.input_shape[1] == 12
    message = r"are of architecture='tiny'.* Leave out `architecture` and `width`.*architecture='googlenet'$"
    for call in (ki.GoogLeNet, ki.TrainConfig):
        with pytest.raises(ki.InputError, match=message):
            call(weights=str(stored["run"]), architecture="googlenet")
    config = ki.TrainConfig(weights=str(stored["run"]))
    assert (config.architecture, config.width, config.resolved_architecture) == (TINY, 1.0, TINY)

    narrow = ki.GoogLeNet(architecture="googlenet_small", width=0.05, aux_heads=False, classes=2)
    narrow.save(tmp_path / "narrow.keras")
    for options in ({}, {"architecture": "googlenet_small"}, {"width": 0.05}):
        config = ki.TrainConfig(weights=str(tmp_path / "narrow.keras"), **options)
        assert (config.architecture, config.width) == ("googlenet_small", 0.05)
    with pytest.raises(ki.InputError, match=r"are of architecture='googlenet_small_0\.05'"):
        ki.TrainConfig(weights=str(tmp_path / "narrow.keras"), width=0.5)


CLASSIFIERS = {"loss3_classifier", "loss1_classifier", "loss2_classifier"}


@pytest.mark.parametrize("form", ["run", "h5"])
def test_classifiers_of_another_number_of_classes_begin_anew_and_it_is_said(source, stored, form):
    anew = "loss3_classifier, loss1_classifier, loss2_classifier"
    with pytest.warns(UserWarning, match=f"except those of {anew}, which begin anew"):
        model = tiny(2, weights=stored[form])
    assert same(model, source) == weighted(source) - CLASSIFIERS


def test_classifiers_of_other_classes_begin_anew(source, stored):
    with pytest.warns(UserWarning, match="which begin anew"):
        model = tiny(3, weights=stored["run"], class_names=["x", "y", "z"])
    assert (same(model, source), model.class_names) == (weighted(source) - CLASSIFIERS, ["x", "y", "z"])


@pytest.mark.parametrize("form", ["run", "h5"])
def test_weights_move_between_models_with_heads_and_without(source, stored, form, tmp_path):
    for options in ({"aux_heads": False}, {"aux_heads": ["aux2"]}, {"include_top": False, "pooling": "avg"}):
        model = tiny(weights=stored[form], **options)
        assert same(model, source) == weighted(model)
    single = tiny(weights=stored[form], aux_heads=False)
    path = tmp_path / ("one.keras" if form == "run" else "one.weights.h5")
    (single.save if form == "run" else single.save_weights)(path)
    with pytest.warns(UserWarning, match=r"except those of loss1_conv, .*loss2_classifier, which begin anew"):
        model = tiny(weights=path)
    assert same(model, source) == weighted(single)
    assert model.class_names == NAMES  # of the main classifier, which is loaded


def test_heads_for_images_of_another_size_begin_anew_but_for_what_fits(source):
    with pytest.warns(UserWarning, match="except those of loss1_fc, loss2_fc, which begin anew"):
        model = trained.load_trained_weights(tiny(input_shape=(24, 24, 3)), source)
    assert same(model, source) == weighted(source) - {"loss1_fc", "loss2_fc"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 2.0}, "must be of the model's architecture and width, and these are of architecture='tiny'"),
        ({"input_shape": (10, 10, 1)}, "Nothing was loaded: conv1_3x3_s1 is .*and there it is"),
    ],
)
def test_weights_of_another_trunk_are_refused_and_nothing_is_loaded(source, options, message):
    model = tiny(**options)
    before = model.get_weights()
    with pytest.raises(ki.InputError, match=message):
        trained.load_trained_weights(model, source)
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_files_that_hold_no_such_weights_are_refused(stored, tmp_path):
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(ki.InputError, match=r"must be what `save_weights` wrote.*text.weights.h5"):
        tiny(weights=tmp_path / "text.weights.h5")
    with pytest.raises(ki.InputError, match=r"There is no weights file of that name.*none.weights.h5"):
        tiny(weights=tmp_path / "none.weights.h5")
    with pytest.raises(ki.InputError, match=r"A run is a folder with a model\.keras"):
        tiny(weights=tmp_path)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)]).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ki.InputError, match=r"Nothing was loaded: conv1_3x3_s1 .* missing; .*; and \d+ more"):
        tiny(weights=tmp_path / "other.weights.h5")
    within = keras.Sequential([keras.Input((10, 10, 3)), tiny(aux_heads=False)])
    within.save_weights(tmp_path / "within.weights.h5")
    with pytest.raises(ki.InputError, match=r"Nothing was loaded: conv1_3x3_s1 .* missing; .*; and \d+ more"):
        tiny(weights=tmp_path / "within.weights.h5")
    for other in (within, keras.Model(within.layers[0].input, within.layers[0].output, name="plain")):
        with pytest.raises(ki.InputError, match=rf"of a model around one, give that one\. .*{other.name}"):
            trained.load_trained_weights(tiny(), other)
    for nothing in (None, 3, ""):
        with pytest.raises(ki.InputError, match=r"`weights` must be the path"):
            trained.load_trained_weights(tiny(), nothing)


def test_weights_that_are_not_finite_are_refused(source):
    broken = keras.models.clone_model(source)
    broken.set_weights([np.full_like(weight, np.nan) for weight in source.get_weights()])
    with pytest.raises(ki.InputError, match="conv1_3x3_s1 holds values that are NaN or infinite"):
        trained.load_trained_weights(tiny(), broken)


def test_a_model_is_loaded_from_a_run_a_file_and_the_hub(source, stored, monkeypatch, tmp_path):
    """A repository of the hub holds what `save` writes with `zipped=False`; it is not downloaded here."""
    source.save(tmp_path, zipped=False)
    hub = SimpleNamespace(snapshot_download=lambda repo_id, **options: str(tmp_path))
    monkeypatch.setattr("keras.src.saving.saving_lib.huggingface_hub", hub)
    images = images_and_labels(2)[0]
    expected = keras.ops.convert_to_numpy(source(images)[0])
    loaded = [ki.load_model(place) for place in (stored["run"], stored["keras"], "hf://someone/flowers")]
    for model in (*loaded, keras.saving.load_model("hf://someone/flowers")):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)[0]), expected, rtol=1e-5)
        assert (model.class_names, model.compiled) == (NAMES, True)
    assert not ki.load_model(stored["run"], compiled=False).compiled


def test_the_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("keras.src.saving.saving_lib.huggingface_hub", None)
    with pytest.raises(ki.InputError, match=r"hf://someone/flowers needs a package.*`huggingface_hub`"):
        ki.load_model("hf://someone/flowers")
    with pytest.raises(ki.InputError, match=r"hf://someone/flowers needs a package.*`huggingface_hub`"):
        tiny(weights="hf://someone/flowers")
