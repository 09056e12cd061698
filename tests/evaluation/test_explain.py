"""Grad-CAM against closed forms and finite differences, and the plots of `keras-inception explain`."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

import keras_inception as ki
from keras_inception.architectures import AuxiliaryHead, Conv, Inception
from keras_inception.cli import main

# Maps as large as the images, so that nothing is scaled.
FLAT = replace(
    TINY,
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 8),
        Inception("inception_4a", 4, 4, 8, 2, 4, 4),
        Inception("inception_4d", 4, 4, 8, 2, 4, 4),
        Inception("inception_5b", 8, 4, 8, 2, 4, 4),
    ),
    auxiliary_heads=tuple(
        replace(head, tap=tap, conv=8, dense=16)
        for head, tap in zip(TINY.auxiliary_heads, ("inception_4a", "inception_4d"))
    ),
    image_size=8,
)


@pytest.fixture
def build():
    """Returns `build(*auxiliary_heads, **options)`, that network with seeded weights; by default with its heads."""

    def build(*auxiliary_heads, **options):
        keras.utils.set_random_seed(0)
        architecture = replace(FLAT, auxiliary_heads=auxiliary_heads or FLAT.auxiliary_heads)
        model = ki.GoogLeNet(architecture=architecture, classes=3, **{"class_names": ["ant", "bee", "cow"], **options})
        for layer in model.layers:  # statistics as after a training
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.moving_mean.assign(np.random.default_rng(1).normal(0, 0.1, layer.moving_mean.shape))
        return model

    return build


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype("float32")


def by_head(explanations):
    return {found.head: found for found in explanations}


def scaled_to_one(heatmap):
    return heatmap / heatmap.max()


def map_of(model, row, image):
    return ki.features(model, [row]).predict(image[None], verbose=0)[row][0]


def test_main_heads_map_is_the_class_activation_map(build, image):
    # Behind 5b there are only a mean over all places and a linear layer: the gradient of class c is w_c / places.
    model = build()
    kernel = model.get_layer("loss3_classifier").get_weights()[0]  # (channels, classes)
    activations = map_of(model, "inception_5b", image)
    for index, name in enumerate(("ant", "bee", "cow")):
        cam = np.maximum(activations @ kernel[:, index], 0)
        found = by_head(ki.explain(model, image, class_name=name))["main"]
        np.testing.assert_allclose(found.heatmap, scaled_to_one(cam), atol=1e-5)


def logit_by_hand(model, prefix, activations, index):
    """Computes an auxiliary head with one convolution and two linear layers in float64 NumPy; returns one logit."""
    conv = model.get_layer(f"{prefix}_conv").get_weights()[0][0, 0].astype("float64")
    norm = model.get_layer(f"{prefix}_conv_bn")
    gamma, beta, mean, variance = (weight.astype("float64") for weight in norm.get_weights())
    (fc, fc_bias), (last, last_bias) = (
        [weight.astype("float64") for weight in model.get_layer(f"{prefix}_{name}").get_weights()]
        for name in ("fc", "classifier")
    )
    windows = [activations[y : y + 5, x : x + 5].mean(axis=(0, 1)) for y in (0, 3) for x in (0, 3)]  # 8 -> 2 by 5x5/3
    x = np.stack(windows) @ conv
    x = np.maximum((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0).reshape(-1)
    return (np.maximum(x @ fc + fc_bias, 0) @ last + last_bias)[index]


@pytest.mark.parametrize(
    ("head", "row", "prefix"), [("aux1", "inception_4a", "loss1"), ("aux2", "inception_4d", "loss2")]
)
def test_an_auxiliary_heads_map_agrees_with_finite_differences(build, image, head, row, prefix):
    model = build()
    activations = map_of(model, row, image).astype("float64")
    # The mean over all places of the derivative is that along moving the whole channel, divided by their number.
    weights, step = np.zeros(activations.shape[-1]), 1e-5
    for channel in range(len(weights)):
        move = step * np.eye(len(weights))[channel]
        high, low = (logit_by_hand(model, prefix, moved, 1) for moved in (activations + move, activations - move))
        weights[channel] = (high - low) / (2 * step) / 64
    expected = scaled_to_one(np.maximum(activations @ weights, 0))
    found = by_head(ki.explain(model, image, class_name="bee"))[head]
    np.testing.assert_allclose(found.heatmap, expected, atol=1e-4)


HEADS = {"stem": "conv1_3x3_s1", "early": "inception_4a", "late": "inception_4d", "last": "inception_5b"}


def test_heads_of_any_number_at_any_rows_do_not_see_what_comes_after_their_row(build, image):
    model = build(*(AuxiliaryHead(name, tap, f"of_{name}", conv=8, dense=16) for name, tap in HEADS.items()))
    before = by_head(ki.explain(model, image, class_name="ant"))
    layer = model.get_layer("inception_4d_1x1")
    layer.set_weights([-3 * weight for weight in layer.get_weights()])
    after = by_head(ki.explain(model, image, class_name="ant"))
    assert list(after) == ["main", *HEADS]
    for head in ("stem", "early"):
        np.testing.assert_array_equal(before[head].heatmap, after[head].heatmap)
    for head in ("main", "late", "last"):
        assert np.abs(before[head].heatmap - after[head].heatmap).max() > 0.01


def test_the_classes_are_those_that_the_model_predicts(build, image):
    model = build()
    answers = dict(zip(model.output_names, model.predict(image[None], verbose=0)))
    for found in ki.explain(model, image, top=2):
        probabilities = answers[found.head][0]
        order = np.argsort(-probabilities)
        names = np.array(["ant", "bee", "cow"])[order]
        assert [name for name, _ in found.top] == list(names[:2])
        np.testing.assert_allclose([score for _, score in found.top], probabilities[order][:2], atol=1e-6)
        assert found.class_name == names[0]
        assert found.probability == found.top[0][1]


def test_logits_and_softmax_give_the_same(build, image):
    for softmax, logits in zip(ki.explain(build(), image), ki.explain(build(classifier_activation=None), image)):
        np.testing.assert_allclose(softmax.heatmap, logits.heatmap, atol=1e-6)
        assert softmax.probability == pytest.approx(logits.probability, abs=1e-6)


def test_models_cut_at_a_head_and_frozen_ones_explain_as_the_whole_does(build, image):
    model = build()
    whole = by_head(ki.explain(model, image))
    for head in ("main", "aux1", "aux2"):
        cut = ki.inference_model(model, head)
        cut.trainable = False
        [found] = ki.explain(cut, image)
        assert found.head == head
        np.testing.assert_allclose(found.heatmap, whole[head].heatmap, atol=1e-6)


def test_the_map_has_the_size_of_the_image_and_runs_from_0_to_1():
    # 32 pixels: maps of 16x16 at 4a and 4d, of 8x8 at 5b.
    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(architecture="googlenet_small", width=0.1, classes=3)
    for found in ki.explain(model, np.zeros((32, 32, 3), "float32") + np.linspace(-1, 1, 32)[:, None]):
        assert found.heatmap.shape == (32, 32)
        assert found.heatmap.dtype == np.float32
        assert found.heatmap.min() >= 0
        assert found.heatmap.max() == 1


def test_where_nothing_speaks_for_the_class_the_map_is_0(build, image):
    model = build()
    layer = model.get_layer("loss3_classifier")
    kernel, bias = layer.get_weights()
    layer.set_weights([-np.abs(kernel), bias])
    assert by_head(ki.explain(model, image))["main"].heatmap.max() == 0


def test_a_network_that_computes_in_bfloat16_is_explained(build, image):
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = build()
    keras.config.set_dtype_policy("float32")
    # bfloat16 keeps 8 bits, and the map is a sum of terms of both signs.
    for found, exact in zip(ki.explain(half, image, class_name="cow"), ki.explain(build(), image, class_name="cow")):
        assert found.heatmap.dtype == np.float32
        np.testing.assert_allclose(found.heatmap, exact.heatmap, atol=0.15)


@pytest.mark.parametrize("nothing", [None, "photo.png", [None]], ids=str)
def test_what_is_no_image_is_refused(build, nothing):
    with pytest.raises(ki.InputError, match=r"^`image` must be .*Received: (NoneType|str|list|image.shape=\(\))$"):
        ki.explain(build(), nothing)


def test_classes_without_names_go_by_their_numbers(build, image):
    found = ki.explain(build(class_names=None), image, class_name=2)
    assert {each.class_name for each in found} == {"2"}


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8, 3), {"class_name": "elk"}, r"one of the model's 3 classes, ant, bee, cow\. Received: class_name='elk'"),
        ((1, 8, 8, 3), {}, r"one image of shape \(8, 8, 3\). Received: image.shape=\(1, 8, 8, 3\)"),
        ((9, 8, 3), {}, r"Received: image.shape=\(9, 8, 3\)"),
        ((8, 8, 3), {"top": 0}, "`top` must be at least 1"),
    ],
)
def test_what_cannot_be_explained_is_refused(build, shape, options, message):
    with pytest.raises(ValueError, match=message):
        ki.explain(build(), np.zeros(shape), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_not_explained(build, image, value):
    image[2, 2, 0] = value
    with pytest.raises(ValueError, match="must hold finite numbers"):
        ki.explain(build(), image)
    model = build()
    kernel, bias = model.get_layer("loss1_classifier").get_weights()
    model.get_layer("loss1_classifier").set_weights([kernel, np.full_like(bias, value)])
    with pytest.raises(ValueError, match="weights must be finite"):
        ki.explain(model, np.zeros((8, 8, 3)))


def test_models_without_classifiers_and_channels_first_are_refused(build, image):
    with pytest.raises(ValueError, match=r"must end in classifiers.*Received: a model with outputs \['avg_pool'\]"):
        ki.explain(build(include_top=False, pooling="avg", class_names=None), image)
    model = build()
    keras.config.set_image_data_format("channels_first")
    with pytest.raises(ValueError, match=r"Grad-CAM reads.*Received: image_data_format='channels_first'"):
        ki.explain(model, image)


@pytest.fixture
def here(build, tmp_path, monkeypatch):
    """A folder with a model and two images, which is the current one."""
    monkeypatch.chdir(tmp_path)
    build().save("model.keras")
    for name in ("flower.jpg", "house.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), "uint8")).save(name)
    return tmp_path


def test_each_image_gets_a_plot_and_none_is_overwritten(here, capsys):
    assert main(["explain", "model.keras", "flower.jpg", "house.png"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("flower.jpg  main: ")
    assert "aux2: " in first
    assert first.endswith("wrote flower-explained.png")
    assert second.endswith("wrote house-explained.png")
    written = (here / "flower-explained.png").read_bytes()
    assert main(["explain", "model.keras", "flower.jpg", "--class", "bee", "--top", "2"]) == 0
    assert capsys.readouterr().out.endswith("wrote flower-explained-2.png\n")
    assert (here / "flower-explained.png").read_bytes() == written != (here / "flower-explained-2.png").read_bytes()
    with Image.open("flower-explained-2.png") as plot:
        assert plot.width > plot.height > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.keras", "tree.jpg"], "there is no file tree.jpg"),
        (["nothing", "flower.jpg"], "A run is a folder"),
        (["model.keras", "flower.jpg", "--class", "elk"], "one of the model's 3 classes, ant, bee, cow"),
        (["model.keras", "flower.jpg", "--out", "house.png"], "house.png is there already"),
        (["model.keras", "flower.jpg", "--out", "new.jpg"], "a .png file. Received: new.jpg"),
        (["model.keras", "flower.jpg", "house.png", "--out", "new.png"], "for 2 images"),
        (["model.keras", "flower.jpg", "--top", "0"], "`top` must be at least 1"),
    ],
)
def test_what_cannot_be_explained_is_one_line(here, refused, arguments, message):
    assert message in refused("explain", *arguments)
    assert not list(here.glob("*explained*"))


def test_the_plots_of_several_images_go_into_a_folder(here, capsys):
    for _ in range(2):
        assert main(["explain", "model.keras", "flower.jpg", "house.png", "--out", "some/plots"]) == 0
    assert capsys.readouterr().out.endswith("wrote some/plots/house-explained-2.png\n")
    found = sorted(path.name for path in (here / "some" / "plots").iterdir())
    expected = [f"{name}-explained{number}.png" for name in ("flower", "house") for number in ("", "-2")]
    assert found == sorted(expected)


def test_an_unreadable_image_does_not_keep_the_others_from_their_plots(here, capsys):
    (here / "broken.jpg").write_bytes(b"no image")
    assert main(["explain", "model.keras", "broken.jpg", "flower.jpg"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "keras-inception explain: error: broken.jpg: it is no JPEG, PNG, BMP, GIF or WebP image\n"
    assert printed.out.endswith("wrote flower-explained.png\n")
