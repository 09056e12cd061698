"""`kernel_initializer` and `bias_initializer`: which weights they make, what they keep, and what is refused."""

import math

import keras
import numpy as np
import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception.architectures import GOOGLENET, Convolution
from keras_inception.network.initializers import initializer

# The layers of the tiny network with weights, in the order in which they are made, with their kernels' shapes, for
# images of 10x10 pixels: maps of 10x10, and of 5x5 from the pooling on, of which the heads' 5x5 pooling leaves 1x1.
TRUNK = {
    "conv1_3x3_s1": (3, 3, 3, 8),
    "inception_4a_1x1": (1, 1, 8, 8),
    "inception_4a_3x3_reduce": (1, 1, 8, 8),
    "inception_4a_3x3": (3, 3, 8, 8),
    "inception_4a_5x5_reduce": (1, 1, 8, 8),
    "inception_4a_5x5": (5, 5, 8, 8),
    "inception_4a_pool_proj": (1, 1, 8, 8),
    "conv4_3x3": (3, 3, 32, 8),
}
HEADS = {
    "loss3_classifier": (8, 2),
    "loss1_conv": (1, 1, 32, 4),
    "loss1_fc": (4, 8),
    "loss1_classifier": (8, 2),
    "loss2_conv": (1, 1, 8, 4),
    "loss2_fc": (4, 8),
    "loss2_classifier": (8, 2),
}
# With biases instead of batch normalization.
BIASED = TINY.__class__.from_dict(
    {**TINY.to_dict(), "convolution": {"batch_norm": False, "gamma": True, "epsilon": 1e-3}}
)


def tiny(architecture=TINY, **options):
    keras.utils.set_random_seed(7)
    return ki.GoogLeNet(architecture=architecture, input_shape=(10, 10, 3), classes=2, **options)


def kernels(model):
    return {name: np.array(model.get_layer(name).kernel) for name in (*TRUNK, *HEADS)}


def test_weights_of_a_seed_are_those_that_keras_draws_layer_by_layer():
    """He's normal and, in classifiers, Glorot's uniform: bit by bit what Keras draws in this order from one seed."""
    found = kernels(tiny())
    keras.utils.set_random_seed(7)
    for name, shape in (TRUNK | HEADS).items():
        if name == "loss3_classifier":
            keras.layers.Dropout(0.4)  # each of them draws a seed of its own before the classifier
        kind = keras.initializers.GlorotUniform if name.endswith("classifier") else keras.initializers.HeNormal
        if name in ("loss1_classifier", "loss2_classifier"):
            keras.layers.Dropout(0.7)
        np.testing.assert_array_equal(found[name], np.array(kind()(shape)), err_msg=name)


def test_an_initializer_makes_all_kernels_and_each_anew():
    found = kernels(tiny(kernel_initializer="lecun_uniform"))
    assert {name: kernel.shape for name, kernel in found.items()} == TRUNK | HEADS
    for name, kernel in found.items():
        # Caffe's xavier: uniform with a variance of 1 / fan_in.
        limit = math.sqrt(3 / math.prod(kernel.shape[:-1]))
        assert 0.5 * limit < np.abs(kernel).max() <= limit, name
    # Layers of one shape do not begin alike.
    assert not np.array_equal(found["inception_4a_1x1"], found["inception_4a_pool_proj"])
    # Dropout draws the same whatever the kernels are drawn from.
    seeds = [np.array(tiny(kernel_initializer=kind).get_layer("loss1_drop_fc").seed_generator.state)
             for kind in (None, "lecun_uniform")]  # fmt: skip
    np.testing.assert_array_equal(*seeds)


@pytest.mark.parametrize(
    "value",
    [
        "random_normal(stddev=0.01)",
        " random_normal( mean = 0, stddev = 1e-2 ) ",
        {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.01}},
        keras.initializers.RandomNormal(stddev=0.01),
        keras.initializers.serialize(keras.initializers.RandomNormal(stddev=0.01)),
    ],
    ids=["text", "spaces", "config", "object", "serialized"],
)
def test_a_normal_of_001_may_be_written_in_several_ways(value):
    found = np.concatenate([kernel.ravel() for kernel in kernels(tiny(kernel_initializer=value)).values()])
    assert np.std(found) == pytest.approx(0.01, rel=0.05)  # of some 5,000 numbers


def test_names_are_those_of_keras_and_numbers_and_words_its_arguments():
    assert isinstance(initializer("kernel_initializer", "orthogonal"), keras.initializers.Orthogonal)
    found = initializer("kernel_initializer", "variance_scaling(scale=2.0, mode=fan_out, distribution='uniform')")
    assert isinstance(found, keras.initializers.VarianceScaling)
    assert (found.scale, found.mode, found.distribution) == (2.0, "fan_out", "uniform")


def test_biases_are_those_of_convolutions_and_hidden_layers_as_in_bvlc():
    """models/bvlc_googlenet/train_val.prototxt: 0.2 in convolutions and in loss1/fc, 0 in the three classifiers."""
    model = tiny(BIASED, kernel_initializer="lecun_uniform", bias_initializer="constant(value=0.2)")
    biases = {name: set(np.array(model.get_layer(name).bias).tolist()) for name in TRUNK | HEADS}
    ours = {name: {0.0} if name.endswith("classifier") else {np.float32(0.2)} for name in TRUNK | HEADS}
    assert biases == ours
    model = tiny(bias_initializer="constant(value=0.2)")  # of batch normalization, nothing changes
    names = {weight.path for weight in model.weights if "bias" in weight.path and np.array(weight).any()}
    assert names == {"loss1_fc/bias", "loss2_fc/bias"}


def test_copies_and_files_keep_the_initializers(tmp_path):
    model = tiny(BIASED, kernel_initializer="random_normal(stddev=0.01)", bias_initializer="constant(value=0.2)")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    copies = (again, keras.models.clone_model(model), type(model).from_config(model.get_config()))
    for copy in (*copies, ki.change_classes(model, 3)):
        for name in TRUNK | HEADS:
            layer = copy.get_layer(name)
            assert layer.kernel_initializer.get_config() == {"mean": 0.0, "stddev": 0.01, "seed": None}
            value = getattr(layer.bias_initializer, "value", 0)
            assert value == (0 if name.endswith("classifier") else 0.2)
    keras.utils.set_random_seed(0)
    assert np.std(np.array(keras.models.clone_model(model).get_layer("conv4_3x3").kernel)) < 0.012


EXAMPLES = '"lecun_uniform" or "random_normal(stddev=0.01)"'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lecun_unifrom", "Did you mean lecun_uniform? Received: kernel_initializer='lecun_unifrom'"),
        ("heNormal", "Did you mean HeNormal? Received: kernel_initializer='heNormal'"),
        ("random_normal(stddev=0.01", "This one does not do: it is not of the form name(argument=value, ...). "),
        ("random_normal(std=0.01)", "This one does not do: "),
        ("xyz", "or its config. Received: kernel_initializer='xyz'"),
        ("identity", "This one does not do: "),
        ("random_normal(seed=3)", "it has a seed, and layers of one shape would begin alike"),
        (keras.initializers.HeNormal(seed=1), "it has a seed, and layers of one shape would begin alike"),
        ("constant(value=nan)", "its weights are not finite numbers of the shape that is asked for"),
        (0.01, "Received: kernel_initializer=0.01"),
        (lambda shape, dtype=None: keras.ops.zeros(shape), "it is no `keras.Initializer`"),
        ({"class_name": "GlorotUnifrom", "config": {}}, "Did you mean GlorotUniform? Received"),
    ],
    ids=["typo", "case", "bracket", "name", "unknown", "shape", "seed", "seeded", "nan", "number", "function", "dict"],
)
def test_what_is_no_initializer_is_refused_in_one_line(value, message):
    with pytest.raises(ki.InputError) as error:
        tiny(kernel_initializer=value)
    text = str(error.value)
    assert text.startswith(f"`kernel_initializer` must be the name of an initializer of Keras, such as {EXAMPLES}")
    assert message in text
    assert "\n" not in text


def test_an_unknown_bias_is_refused_with_its_examples():
    with pytest.raises(
        ki.InputError, match=r'`bias_initializer` must be .*"constant\(value=0\.2\)".*Did you mean zero'
    ):
        tiny(bias_initializer="zerros")


def test_the_papers_graph_takes_bvlcs_initial_weights():
    assert GOOGLENET.convolution == Convolution()
    model = ki.GoogLeNet(
        kernel_initializer="lecun_uniform", bias_initializer="constant(value=0.2)", input_shape=(80, 80, 3), classes=10,
        width=0.1,
    )  # fmt: skip
    first = model.get_layer("conv1_7x7_s2")
    assert np.unique(np.array(first.bias)) == np.float32(0.2)
    assert np.abs(np.array(first.kernel)).max() <= math.sqrt(3 / (7 * 7 * 3))
