"""`GoogLeNet(...)`: its arguments, what it refuses, and what survives saving."""

import inspect
import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception import architectures
from keras_inception.network import sizes
from keras_inception.network.labels import check_class_names

HEADS = ["main", "aux1", "aux2"]
CLASS_NAMES = ["daisy", "dandelion", "roses", "sunflowers", "tulips", "violets", "nothing"]

# The same operations on the same machine; a graph may fuse what another one did not.
SAME = {"rtol": 1e-5, "atol": 1e-6}


def numpy_outputs(model, x):
    outputs = model(x, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def assert_same_outputs(model, other, x):
    pairs = list(zip(numpy_outputs(model, x), numpy_outputs(other, x)))
    assert len(pairs) == len(model.outputs) == len(other.outputs)
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, **SAME)
    assert np.ptp(pairs[0][0], axis=0).max() > 1e-3  # images are told apart: equal constants would prove nothing


def small(**kwargs):
    """The network that is built and run fastest, with both heads."""
    return ki.GoogLeNet(**{"architecture": "googlenet_small", "classes": 7, **kwargs})


def test_signature_is_that_of_keras_applications():
    parameters = inspect.signature(ki.GoogLeNet).parameters
    positional = {n: p.default for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == [
        ("include_top", True),
        ("weights", None),
        ("input_tensor", None),
        ("input_shape", None),
        ("pooling", None),
        ("classes", 1000),
        ("classifier_activation", "softmax"),
        ("name", None),
    ]
    reference = list(inspect.signature(keras.applications.ResNet50).parameters)
    assert list(positional) == reference[:8]
    assert all(p.kind is p.KEYWORD_ONLY for n, p in parameters.items() if n not in positional)


@pytest.mark.parametrize("architecture", ["googlenet", "googlenet_bn", "googlenet_small", "inception_v1_torchvision"])
def test_outputs_are_named_main_aux1_aux2(full_networks, architecture):
    model = full_networks(architecture)
    assert model.output_names == [output._keras_history.operation.name for output in model.outputs] == HEADS
    assert model.output_shape == [(None, 1000)] * 3
    record = architectures.ARCHITECTURES[architecture]
    assert (model.name, model.architecture, model.preprocessing) == (architecture, record, "inception")


def test_slim_has_one_head(full_networks):
    model = full_networks("inception_v1_slim")
    assert (model.output_names, model.output_shape) == (["main"], (None, 1000))
    with pytest.raises(ki.InputError, match=r"names among \[\] for architecture='inception_v1_slim'.*\['aux1'\]"):
        ki.GoogLeNet(architecture="inception_v1_slim", aux_heads=["aux1"])


@pytest.mark.parametrize(
    ("classes", "metrics"), [(2, ["accuracy"]), (5, ["accuracy"]), (6, ["accuracy", "top_5_accuracy"])]
)
def test_model_is_compiled_as_the_paper_trains(classes, metrics):
    config = small(classes=classes).get_compile_config()
    assert config["loss_weights"] == [1.0, 0.3, 0.3]
    assert [[metric["config"]["name"] for metric in head] for head in config["metrics"]] == [metrics] * 3
    losses = [(loss["class_name"], loss["config"]["from_logits"]) for loss in config["loss"]]
    assert losses == [("SparseCategoricalCrossentropy", False)] * 3
    assert config["optimizer"]["class_name"] == "Adam"
    assert config["optimizer"]["config"]["learning_rate"] == pytest.approx(3e-4)
    assert config["metrics"][0][-1]["config"].get("k") == (5 if classes == 6 else None)


@pytest.mark.parametrize(
    ("aux_heads", "names"),
    [(False, ["main"]), (["aux1"], ["main", "aux1"]), ("aux2", ["main", "aux2"]), (["aux2", "aux1"], HEADS)],
)
def test_auxiliary_heads_come_in_the_order_of_the_network(aux_heads, names):
    model = small(aux_heads=aux_heads)
    assert model.output_names == names
    assert model.get_compile_config()["loss_weights"] == [1.0, 0.3, 0.3][: len(names)]
    assert {layer.name[:5] for layer in model.layers} & {"loss1", "loss2"} == {f"loss{n[-1]}" for n in names[1:]}


@pytest.mark.parametrize(("pooling", "shape"), [(None, (4, 1, 1, 1024)), ("avg", (4, 1024)), ("max", (4, 1024))])
def test_trunk_without_top(pooling, shape):
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    trunk = small(include_top=False, pooling=pooling, input_shape=(8, 8, 3))
    (output,) = numpy_outputs(trunk, x)
    # 8 pixels after the stem, 4 after pool3, 2 after pool4.
    assert output.shape == ((4, 2, 2, 1024) if pooling is None else shape)
    assert not trunk.compiled
    assert not any(layer.name.startswith("loss") for layer in trunk.layers)
    if pooling is not None:
        features = keras.Model(trunk.input, trunk.get_layer("inception_5b_output").output)
        reduce = np.mean if pooling == "avg" else np.max
        np.testing.assert_allclose(output, reduce(numpy_outputs(features, x)[0], axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_input_tensor_is_built_upon():
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    image = keras.Input((32, 32, 3), name="pixels")
    model = small(input_tensor=ki.preprocess_input(image), input_shape=(32, 32, 3))
    assert model.input is image
    plain = small()
    plain.set_weights(model.get_weights())
    for found, expected in zip(numpy_outputs(model, x), numpy_outputs(plain, x / 127.5 - 1)):
        np.testing.assert_allclose(found, expected, **SAME)


@pytest.mark.parametrize("architecture", ["googlenet", "inception_v1_slim", "inception_v1_torchvision"])
def test_images_of_any_size_without_flattening_heads(architecture):
    # Logits, because the softmax of an untrained network may be 1 for the same class of every image.
    options = {"classes": 4, "classifier_activation": None, "aux_heads": architecture == "inception_v1_torchvision"}
    model = ki.GoogLeNet(architecture=architecture, input_shape=(None, None, 3), **options)
    x = np.random.default_rng(0).normal(size=(2, 33, 62, 3)).astype("float32")
    fixed = ki.GoogLeNet(architecture=architecture, input_shape=(33, 62, 3), **options)
    fixed.set_weights(model.get_weights())
    assert_same_outputs(model, fixed, x)
    assert numpy_outputs(model, np.ones((1, 64, 48, 3), "float32"))[0].shape == (1, 4)


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels):
    model = small(input_shape=(16, 16, channels))
    assert tuple(model.get_layer("conv1_3x3_s1").kernel.shape) == (3, 3, channels, 64)
    assert numpy_outputs(model, np.ones((1, 16, 16, channels), "float32"))[0].shape == (1, 7)


def test_logits_are_what_the_softmax_is_taken_of():
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    logits, softmax = small(classifier_activation=None), small()
    logits.set_weights(softmax.get_weights())
    for z, p in zip(numpy_outputs(logits, x), numpy_outputs(softmax, x)):
        exponential = np.exp(z - z.max(axis=1, keepdims=True))
        np.testing.assert_allclose(p, exponential / exponential.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    assert [loss["config"]["from_logits"] for loss in logits.get_compile_config()["loss"]] == [True] * 3


def test_other_activations_are_built_and_not_compiled():
    model = small(classifier_activation="sigmoid")
    assert not model.compiled
    assert model.get_layer("main").activation is keras.activations.sigmoid


@pytest.mark.usefixtures("channels_first")
@pytest.mark.parametrize("architecture", ["googlenet", "googlenet_bn", "inception_v1_slim", "inception_v1_torchvision"])
def test_channels_first_network_equals_channels_last(architecture):
    aux_heads = architecture != "inception_v1_slim"
    model = ki.GoogLeNet(architecture=architecture, classes=5, input_shape=(3, 79, 79), aux_heads=aux_heads)
    assert model.input_shape == (None, 3, 79, 79)
    assert model.get_layer("inception_4a_output").output.shape[1] == 512
    assert model.get_layer("inception_5b_output").output.shape[1] == 1024
    if keras.backend.backend() == "tensorflow":
        return  # TensorFlow has no channels_first convolution on the CPU: built, not run.
    keras.config.set_image_data_format("channels_last")
    other = ki.GoogLeNet(architecture=architecture, classes=5, input_shape=(79, 79, 3), aux_heads=aux_heads)
    other.set_weights(model.get_weights())  # Keras flattens in the order of channels_last under either format
    x = np.random.default_rng(0).normal(size=(2, 79, 79, 3)).astype("float32")
    for found, expected in zip(numpy_outputs(model, x.transpose(0, 3, 1, 2)), numpy_outputs(other, x)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # other memory layout, other order of sums


@pytest.mark.parametrize(
    ("architecture", "aux_heads", "size"),
    [
        ("googlenet", True, 79),
        ("googlenet", ["aux1"], 79),
        ("googlenet", False, 31),
        ("googlenet_bn", True, 79),
        ("googlenet_small", True, 10),
        ("googlenet_small", False, 4),
        ("inception_v1_torchvision", True, 15),
        ("inception_v1_slim", True, 1),
    ],
)
def test_the_smallest_images_work_and_smaller_ones_are_refused(architecture, aux_heads, size):
    def build(shape):
        return ki.GoogLeNet(architecture=architecture, aux_heads=aux_heads, classes=2, input_shape=shape)

    for output in numpy_outputs(build((size, size, 3)), np.ones((1, size, size, 3), "float32")):
        assert output.shape == (1, 2)
        assert np.isfinite(output).all()
    for shape in ((size - 1, size + 9, 3), (size + 9, size - 1, 3)):
        with pytest.raises(ki.InputError, match=f"`input_shape` must be at least {size}x{size} for"):
            build(shape)


def test_images_too_small_for_the_heads_are_refused_with_the_ways_out():
    with pytest.raises(ki.InputError) as error:
        ki.GoogLeNet(input_shape=(64, 96, 3))
    assert str(error.value) == (
        "`input_shape` must be at least 79x79 for the auxiliary heads, whose 5x5 average pooling would not fit into "
        "the map of aux1. Use `aux_heads=False` (from 31x31 on), larger images, or "
        '`architecture="googlenet_small"`. Received: input_shape=(64, 96, 3)'
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            {"architecture": "vgg"},
            r"must be an `Architecture` or one of googlenet, .*Received: architecture='vgg'",
        ),
        ({"classes": 1}, r"`classes` must be an integer of at least 2\. Received: classes=1"),
        ({"classes": 2.5}, r"`classes` must be an integer of at least 2\. Received: classes=2\.5"),
        ({"pooling": "mean"}, r"`pooling` must be one of \(None, 'avg', 'max'\)\. Received: pooling='mean'"),
        ({"aux_heads": ["aux3"]}, r"`aux_heads` must be True, False, or names among \['aux1', 'aux2'\].*\['aux3'\]"),
        ({"aux_heads": "aux0"}, r"`aux_heads` must be True, False, or names among .*aux_heads=\['aux0'\]"),
        ({"input_shape": (224, 224)}, r"must be \(height, width, channels\).*Received: input_shape=\(224, 224\)"),
        ({"input_shape": (224, 224, None)}, r"with a number of channels\. Received: input_shape=\(224, 224, None\)"),
        (
            {"input_shape": (None, None, 3)},
            r"must have a height and a width for the auxiliary heads.*`aux_heads=False`",
        ),
        ({"input_shape": (96, None, 3)}, r"must have a height and a width .*input_shape=\(96, None, 3\)"),
        ({"input_tensor": np.ones((1, 96, 96, 3))}, r"`input_tensor` must be a Keras tensor, such as `keras\.Input"),
        (
            {"input_tensor": keras.Input((80, 80, 3)), "input_shape": (96, 96, 3)},
            r"must be that of `input_tensor`.*input_shape=\(96, 96, 3\), input_tensor\.shape=\(None, 80, 80",
        ),
        ({"dropout": 1.0}, r"`dropout` must be None or a number of at least 0 and below 1\. Received: dropout=1\.0"),
        ({"dropout": "0.4"}, r"`dropout` must be None or a number .*Received: dropout='0\.4'"),
        ({"aux_dropout": -0.1}, r"`aux_dropout` must be None or a number of at least 0 and below 1"),
        ({"architecture": ["googlenet"]}, r"`architecture` must be .*Received: architecture=\['googlenet'\]"),
        ({"width": "1"}, r"`width` must be a number from 0\.05 to 10\. Received: width='1'"),
        ({"width": True}, "`width` must be a number"),
        ({"aux_heads": None}, r"`aux_heads` must be True, False, or names among .*aux_heads=\[None\]"),
        ({"aux_heads": [["aux1"]]}, "`aux_heads` must be True, False, or names among"),
        ({"input_shape": 32}, r"must be \(height, width, channels\).*Received: input_shape=32"),
        ({"input_shape": (96, "96", 3)}, r"must be \(height, width, channels\).*input_shape=\(96, '96', 3\)"),
        ({"input_shape": (96, 96.5, 3)}, r"must be \(height, width, channels\)"),
        ({"input_shape": (96, 96, 0)}, "with a number of channels"),
        ({"include_preprocessing": "no"}, "`include_preprocessing` must be True or False.*='no'"),
        ({"include_top": "no"}, "`include_top` must be True or False"),
        ({"name": "a/b"}, "`name` must be None or a text, not empty, without slashes"),
        ({"pooling": ["avg"]}, "`pooling` must be one of"),
        ({"classes": True}, "`classes` must be an integer of at least 2"),
        ({"classifier_activation": "softmix"}, "`classifier_activation` must be .*activation='softmix'"),
        ({"weights": 3}, "must be the path of a file"),
        ({"class_names": ["a", "b"]}, r"`class_names` must hold one name for each of the 1000 classes.*2 names"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, match):
    with pytest.raises(ki.InputError, match=match):
        ki.GoogLeNet(**arguments)


def test_a_network_larger_than_the_machine_s_memory_is_refused_before_it_is_built(monkeypatch):
    with pytest.raises(
        ki.InputError, match=r"more than .* GiB of memory for 1 of its images.*shape \(300000, 300000, 3\)"
    ):
        ki.GoogLeNet(input_shape=(300_000, 300_000, 3), classes=2)
    # By hand: 224 pixels leave maps of 14, of which 4x4 averages go into each head's hidden layer; 1000 classes.
    numbers = 3 * 224**2 + 2 * 1024 * (4 * 4 * 128 + 1000)
    heads = architectures.GOOGLENET.auxiliary_heads
    monkeypatch.setattr(sizes, "memory", lambda: 4 * numbers)
    sizes.check_memory(architectures.GOOGLENET, heads, (224, 224, 3), 1000)
    with pytest.raises(ki.InputError, match=r"for 2 of its images and its heads.*smaller batches.*`aux_heads=False`"):
        sizes.check_memory(architectures.GOOGLENET, heads, (224, 224, 3), 1000, images=2)


def test_an_architecture_into_which_no_image_fits_is_refused():
    rows = tuple(architectures.MaxPool(f"pool{i}x", 8, 8) for i in range(5))  # a head needs 5 * 8^5 pixels
    head = architectures.AuxiliaryHead("aux", "pool4x", "loss1")
    record = replace(architectures.GOOGLENET, rows=rows, auxiliary_heads=(head,))
    with pytest.raises(ki.InputError, match="must fit into images of up to 65536x65536"):
        ki.GoogLeNet(architecture=record, input_shape=(224, 224, 3))


@pytest.mark.parametrize(
    "names",
    [
        {"ant", "bee"},
        ["ant", "b\0e"],
        ["ant", "b\x1b[31m"],
        ["ant", "b\x9b31m"],
        ["ant", "b\udc80"],
        ["ant", "b\tc"],
        ["ant", "b\nc"],
        ["ant", "ant"],
        ["ant", "ant\u200b"],
        ["ant", "\u202ebee"],
    ],
    ids=["set", "nul", "escape", "csi", "surrogate", "tab", "newline", "twice", "unseen", "turned around"],
)
def test_class_names_without_an_order_or_with_control_characters_are_refused(names):
    with pytest.raises(ki.InputError, match=r"`class_names` must hold one name for each of the 2 classes") as error:
        check_class_names(names, 2)
    assert str(error.value).isprintable()
    assert check_class_names(["Köter", "犬 \u200d🐕"], 2) == ("Köter", "犬 \u200d🐕")


@pytest.mark.usefixtures("channels_first")
def test_shapes_are_refused_in_the_words_of_the_data_format():
    with pytest.raises(ki.InputError, match=r"must be \(channels, height, width\)"):
        ki.GoogLeNet(input_shape=(3, 224))
    with pytest.raises(ki.InputError, match=r"at least 79x79 .*input_shape=\(3, 78, 200\)"):
        ki.GoogLeNet(input_shape=(3, 78, 200))


def test_dropout_rates_reach_their_heads():
    model = small(dropout=0.1, aux_dropout=0.2)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {"pool5_drop": 0.1, "loss1_drop_fc": 0.2, "loss2_drop_fc": 0.2}


def test_class_names_are_not_shared():
    names = list(CLASS_NAMES)
    model = small(class_names=np.array(names))
    names.append("more")
    model.class_names.append("more")
    assert model.class_names == CLASS_NAMES
    model.class_names = None
    assert model.class_names is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The paper's network with two classes swapped in its names, recompiled, and its file."""
    model = ki.GoogLeNet(input_shape=(79, 79, 3), classes=7, class_names=CLASS_NAMES)
    model.preprocessing = "caffe"
    ki.compile_model(model, keras.optimizers.SGD(0.05, momentum=0.5), loss_weights=(1.0, 0.2, 0.1))
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path


def test_keras_file_loads_in_safe_mode_with_all_that_belongs_to_it(saved, images):
    model, path = saved
    loaded = keras.models.load_model(path, safe_mode=True)
    assert type(loaded) is ki.InceptionModel
    assert loaded.output_names == HEADS
    assert (loaded.class_names, loaded.architecture, loaded.preprocessing) == (
        CLASS_NAMES,
        architectures.GOOGLENET,
        "caffe",
    )
    assert_same_outputs(model, loaded, images)
    config = loaded.get_compile_config()
    assert config["loss_weights"] == [1.0, 0.2, 0.1]
    assert config["optimizer"]["config"]["learning_rate"] == pytest.approx(0.05)
    labels = np.array([0, 1, 5, 6])
    before, after = (m.evaluate(30 * images, labels, verbose=0, return_dict=True) for m in (model, loaded))
    assert after == pytest.approx(before, rel=1e-5)
    assert set(after) > {"loss", "main_loss", "aux1_top_5_accuracy"}


def test_weights_argument_loads_a_weights_file(saved, images, tmp_path):
    model, _ = saved
    model.save_weights(tmp_path / "model.weights.h5")
    other = ki.GoogLeNet(input_shape=(79, 79, 3), classes=7, weights=str(tmp_path / "model.weights.h5"))
    assert_same_outputs(model, other, images)


def test_config_survives_json(googlenet, images):
    config = json.loads(json.dumps(googlenet.get_config()))
    for other in (ki.InceptionModel.from_config(config), keras.models.model_from_json(googlenet.to_json())):
        assert [weight.path for weight in other.weights] == [weight.path for weight in googlenet.weights]
        other.set_weights(googlenet.get_weights())
        assert_same_outputs(googlenet, other, images)


@pytest.mark.parametrize("architecture", ["googlenet_bn", "inception_v1_slim", "inception_v1_torchvision"])
def test_keras_file_of_every_architecture_gives_the_same_outputs(architecture, images, tmp_path):
    model = ki.GoogLeNet(architecture=architecture, input_shape=(79, 79, 3), classes=7)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.architecture == architectures.get(architecture)
    assert_same_outputs(model, loaded, images)


def test_mixed_precision_gives_float32_probabilities(googlenet, images):
    expected = numpy_outputs(googlenet, images)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = ki.GoogLeNet(input_shape=(79, 79, 3), classes=7)
    assert all(keras.backend.standardize_dtype(weight.dtype) == "float32" for weight in model.weights)
    assert model.get_layer("conv1_7x7_s2").compute_dtype == "bfloat16"
    model.set_weights(googlenet.get_weights())
    for output, tensor, reference in zip(numpy_outputs(model, images), model.outputs, expected):
        assert tensor.dtype == "float32"
        assert output.dtype == np.float32
        np.testing.assert_allclose(output.sum(axis=1), 1.0, rtol=1e-5)  # float32's, not bfloat16's 4e-3
        np.testing.assert_allclose(output, reference, atol=0.05)  # 22 layers of 8 bits of mantissa


def gradients(model, x, y):
    """Returns the gradient of the training loss for every trainable weight, by the backend's own means."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        return [keras.ops.convert_to_numpy(g) for g in tape.gradient(loss, model.trainable_variables)]
    if keras.backend.backend() == "torch":
        model.zero_grad()
        model.compute_loss(x, y, model(x, training=True)).backward()
        return [variable.value.grad.cpu().numpy() for variable in model.trainable_weights]
    pytest.skip(f"no gradient is written here for {keras.backend.backend()}")


@pytest.mark.parametrize("architecture", ["googlenet", "googlenet_bn", "googlenet_small", "inception_v1_torchvision"])
def test_every_weight_gets_a_gradient(architecture, images):
    size = 16 if architecture == "googlenet_small" else 79
    shape = (size, size, 3)
    model = ki.GoogLeNet(architecture=architecture, input_shape=shape, classes=7, dropout=0, aux_dropout=0)
    x = keras.ops.convert_to_tensor(images[:, :size, :size])
    found = gradients(model, x, np.array([0, 1, 5, 6]))
    assert len(found) == len(model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, found):
        assert gradient.shape == tuple(weight.shape)
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path
