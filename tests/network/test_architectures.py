"""The networks against a second transcription of the paper's Table 1, typed here and shared with nothing."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest

import keras_inception as ki

NAMES = ["googlenet", "googlenet_bn", "googlenet_small", "inception_v1_slim", "inception_v1_torchvision"]
WITH_HEADS = [name for name in NAMES if name != "inception_v1_slim"]

GOLDEN = pathlib.Path(__file__).parent / "golden"
REWRITE_GOLDEN = "KERAS_INCEPTION_WRITE_GOLDEN"

# Table 1 of arXiv:1409.4842, left to right:
# input channels, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, output channels.
TABLE_1 = {
    "3a": (192, 64, 96, 128, 16, 32, 32, 256),
    "3b": (256, 128, 128, 192, 32, 96, 64, 480),
    "4a": (480, 192, 96, 208, 16, 48, 64, 512),
    "4b": (512, 160, 112, 224, 24, 64, 64, 512),
    "4c": (512, 128, 128, 256, 24, 64, 64, 512),
    "4d": (512, 112, 144, 288, 32, 64, 64, 528),
    "4e": (528, 256, 160, 320, 32, 128, 128, 832),
    "5a": (832, 256, 160, 320, 32, 128, 128, 832),
    "5b": (832, 384, 192, 384, 48, 128, 128, 1024),
}
BRANCHES = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")

# With the 5x5 branch and biases, by hand arithmetic.
MODULE_PARAMETERS = {
    "3a": 163_696,
    "3b": 388_736,
    "4a": 376_176,
    "4b": 449_160,
    "4c": 510_104,
    "4d": 605_376,
    "4e": 868_352,
    "5a": 1_043_456,
    "5b": 1_444_080,
}

# The end points of a 224x224 image: the layer that gives each in `googlenet`, height and width, channels.
ENDPOINTS_224 = [
    ("conv1_7x7_s2", 112, 64),
    ("pool1_3x3_s2", 56, 64),
    ("conv2_3x3_reduce", 56, 64),
    ("conv2_3x3", 56, 192),
    ("pool2_3x3_s2", 28, 192),
    ("inception_3a_output", 28, 256),
    ("inception_3b_output", 28, 480),
    ("pool3_3x3_s2", 14, 480),
    ("inception_4a_output", 14, 512),
    ("inception_4b_output", 14, 512),
    ("inception_4c_output", 14, 512),
    ("inception_4d_output", 14, 528),
    ("inception_4e_output", 14, 832),
    ("pool4_3x3_s2", 7, 832),
    ("inception_5a_output", 7, 832),
    ("inception_5b_output", 7, 1024),
]


def convolution_kernels(kernel_of_5x5, first="conv1_7x7_s2", first_size=7):
    """Returns the kernel shapes of all convolutions of the trunk by layer name."""
    kernels = {
        first: (first_size, first_size, 3, 64),
        "conv2_3x3_reduce": (1, 1, 64, 64),
        "conv2_3x3": (3, 3, 64, 192),
    }
    for module, (inputs, c1, r3, c3, r5, c5, proj, _) in TABLE_1.items():
        shapes = [
            (1, 1, inputs, c1),
            (1, 1, inputs, r3),
            (3, 3, r3, c3),
            (1, 1, inputs, r5),
            (kernel_of_5x5, kernel_of_5x5, r5, c5),
            (1, 1, inputs, proj),
        ]
        kernels |= {f"inception_{module}_{branch}": shape for branch, shape in zip(BRANCHES, shapes)}
    return kernels


KERNELS = {
    "googlenet": convolution_kernels(5),
    "googlenet_bn": convolution_kernels(5),
    "googlenet_small": convolution_kernels(5, "conv1_3x3_s1", 3),
    "inception_v1_slim": convolution_kernels(3),
    "inception_v1_torchvision": convolution_kernels(3),
}
HEAD_KERNELS = {"loss1_conv": (1, 1, 512, 128), "loss2_conv": (1, 1, 528, 128)}


def producer(tensor):
    return tensor._keras_history.operation


def ancestors(tensor):
    """Returns every layer that `tensor` depends on, by a walk through the graph."""
    seen, pending = [], [producer(tensor)]
    while pending:
        layer = pending.pop()
        if layer not in seen:
            seen.append(layer)
            pending += [producer(x) for node in layer._inbound_nodes for x in node.input_tensors]
    return seen


def consumers(model, layer):
    return [other for other in model.layers if any(producer(x) is layer for x in inputs_of(other))]


def inputs_of(layer):
    return [x for node in layer._inbound_nodes for x in node.input_tensors]


def parameters(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def layers_of(kind, layers):
    return [layer for layer in layers if type(layer).__name__ == kind]


@pytest.mark.parametrize("module", TABLE_1)
def test_table_1_typed_here_is_consistent(module):
    inputs, c1, r3, c3, r5, c5, proj, outputs = TABLE_1[module]
    assert c1 + c3 + c5 + proj == outputs
    weights = inputs * (c1 + r3 + r5 + proj) + 9 * r3 * c3 + 25 * r5 * c5
    assert weights + c1 + r3 + c3 + r5 + c5 + proj == MODULE_PARAMETERS[module]


# Parameters with the auxiliary heads and without them. Batch norm has 4 numbers for each of the trunk's 7,280 filters
# and the heads' 2 x 128 in place of a bias, of which 2 are trained; slim's lacks gamma.
PARAMETERS = {
    "googlenet": (13_378_280, 6_998_552),
    "googlenet_bn": (13_378_280 + 3 * 7_536, 6_998_552 + 3 * 7_280),
    "googlenet_small": (13_378_280 + 3 * 7_536 - 7_680, 6_998_552 + 3 * 7_280 - 7_680),  # 3x3x3x64 for 7x7x3x64
    "inception_v1_slim": (5_607_184 + 1_025_000, 5_607_184 + 1_025_000),
    "inception_v1_torchvision": (13_004_888 + 2 * 7_536, 6_624_904 + 2 * 7_280),
}


@pytest.mark.parametrize("name", NAMES)
def test_models_have_the_parameters_of_their_source(full_networks, name):
    model = full_networks(name)
    for found, expected, heads in zip((model, ki.inference_model(model)), PARAMETERS[name], (2 * 128, 0)):
        assert found.count_params() == expected
        statistics = 0 if name == "googlenet" else 2 * (7_280 + (0 if name == "inception_v1_slim" else heads))
        assert parameters(found.trainable_weights) == expected - statistics


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn", "inception_v1_slim", "inception_v1_torchvision"])
def test_endpoints_at_224_have_the_papers_shapes(full_networks, name):
    model = full_networks(name)
    assert len(ENDPOINTS_224) == 16
    for layer, size, channels in ENDPOINTS_224:
        if layer == "pool4_3x3_s2" and name.startswith("inception_v1"):
            layer = "pool4_2x2_s2"
        if layer.startswith("conv") and name != "googlenet":
            layer += "_relu"
        assert model.get_layer(layer).output.shape == (None, size, size, channels), layer


def test_small_network_gives_the_heads_the_papers_shape(full_networks):
    model = full_networks("googlenet_small")
    for module, size in {"3b": 32, "4a": 16, "4d": 16, "4e": 16, "5a": 8, "5b": 8}.items():
        shape = model.get_layer(f"inception_{module}_output").output.shape
        assert shape == (None, size, size, TABLE_1[module][-1])


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_have_the_kernels_of_table_1_and_stride_only_in_the_stem(full_networks, name):
    convolutions = layers_of("Conv2D", full_networks(name).layers)
    found = {layer.name: tuple(layer.kernel.shape) for layer in convolutions}
    assert found == KERNELS[name] | (HEAD_KERNELS if name in WITH_HEADS else {})
    strided = {layer.name for layer in convolutions if layer.strides != (1, 1)}
    assert strided == (set() if name == "googlenet_small" else {"conv1_7x7_s2"})


@pytest.mark.parametrize("name", NAMES)
def test_branches_of_each_module_have_the_channels_of_table_1(full_networks, name):
    model = full_networks(name)
    for module, (inputs, c1, _, c3, _, c5, proj, _) in TABLE_1.items():
        concatenate = model.get_layer(f"inception_{module}_output")
        assert [x.shape[-1] for x in inputs_of(concatenate)] == [c1, c3, c5, proj]
        pool = model.get_layer(f"inception_{module}_pool")
        assert (pool.pool_size, pool.strides, pool.input.shape[-1]) == ((3, 3), (1, 1), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_relu_follows_every_convolution(full_networks, name):
    model = full_networks(name)
    convolutions = layers_of("Conv2D", model.layers)
    assert len(convolutions) == (57 if name == "inception_v1_slim" else 59)
    for convolution in convolutions:
        if name == "googlenet":
            assert convolution.activation is keras.activations.relu, convolution.name
            assert convolution.use_bias
            continue
        assert convolution.activation is keras.activations.linear
        assert not convolution.use_bias
        (norm,) = consumers(model, convolution)
        (relu,) = consumers(model, norm)
        assert [type(norm).__name__, type(relu).__name__] == ["BatchNormalization", "ReLU"], convolution.name
        assert (norm.epsilon, norm.scale, norm.center) == (1e-3, name != "inception_v1_slim", True)


@pytest.mark.parametrize("name", NAMES)
def test_lrn_stands_only_in_the_papers_network(full_networks, name):
    model = full_networks(name)
    norms = layers_of("LocalResponseNormalization", model.layers)
    if name != "googlenet":
        assert norms == []
        return
    around = [(producer(norm.input).name, consumers(model, norm)[0].name) for norm in norms]
    assert around == [("pool1_3x3_s2", "conv2_3x3_reduce"), ("conv2_3x3", "pool2_3x3_s2")]
    for norm in norms:  # Caffe's alpha of 1e-4 over a window of 5
        assert (norm.depth_radius, norm.bias, norm.alpha, norm.beta) == (2, 1.0, 2e-5, 0.75)


@pytest.mark.parametrize("name", WITH_HEADS)
@pytest.mark.parametrize(
    ("output", "prefix", "modules_below", "channels"), [("aux1", "loss1", 3, 512), ("aux2", "loss2", 6, 528)]
)
def test_auxiliary_heads_are_the_papers_on_4a_and_4d(full_networks, name, output, prefix, modules_below, channels):
    model = full_networks(name)
    below = ancestors(model.outputs[model.output_names.index(output)])
    # 4a is the third module of the network, 4d the sixth: counted in the graph, whatever the layers are called.
    assert len(layers_of("Concatenate", below)) == modules_below
    assert not any(layer.name.startswith(tuple({"loss1", "loss2", "loss3"} - {prefix})) for layer in below)
    pool, fc, drop, classifier = (model.get_layer(f"{prefix}_{n}") for n in ("ave_pool", "fc", "drop_fc", "classifier"))
    assert type(producer(pool.input)).__name__ == "Concatenate"
    assert (pool.input.shape[-1], pool.output.shape[1:3]) == (channels, (4, 4))
    if name == "inception_v1_torchvision":
        assert type(pool).__name__ == "AdaptiveAveragePooling2D"
    else:
        assert type(pool).__name__ == "AveragePooling2D"
        assert (pool.pool_size, pool.strides, pool.padding) == ((5, 5), (3, 3), "valid")
    assert (fc.kernel.shape, fc.activation, drop.rate) == ((2048, 1024), keras.activations.relu, 0.7)
    assert producer(classifier.input) is drop
    assert classifier.kernel.shape == (1024, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_the_end_of_the_trunk_is_that_of_the_source(full_networks, name):
    model = full_networks(name)
    (pool,) = {producer(x) for x in inputs_of(model.get_layer("inception_5a_1x1"))}
    assert (pool.pool_size, pool.strides) == ((2, 2) if name.startswith("inception_v1") else (3, 3), (2, 2))
    assert producer(pool.input).name == "inception_4e_output"
    classifier = model.get_layer("loss3_classifier")
    dropout = producer(classifier.input)
    pool = producer(dropout.input)
    assert (type(dropout).__name__, dropout.rate) == ("Dropout", 0.2 if name.startswith("inception_v1") else 0.4)
    assert type(pool).__name__ == "GlobalAveragePooling2D"
    assert producer(pool.input).name == "inception_5b_output"
    assert len(layers_of("Concatenate", ancestors(pool.input))) == 9
    assert classifier.kernel.shape == (1024, 1000)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        # A 7x7 window of ones over 224x224 ones, in pixels seen by the first and the last output of a row. With 3
        # pixels of padding on every side the first window is centred on pixel 0 (it sees 4), the last on 222 (5).
        ("googlenet", 4, 5),
        ("googlenet_bn", 4, 5),
        ("inception_v1_torchvision", 4, 5),
        # TensorFlow's SAME pads 2 before and 3 after: the first sees pixels 0 to 4, the last 220 to 223.
        ("inception_v1_slim", 5, 4),
    ],
)
def test_stem_pads_as_the_source_does(name, first, last):
    trunk = ki.GoogLeNet(include_top=False, architecture=name)
    convolution = trunk.get_layer("conv1_7x7_s2")
    convolution.kernel.assign(np.ones(convolution.kernel.shape))
    stem = keras.Model(trunk.input, convolution.output)
    seen = np.asarray(keras.ops.convert_to_numpy(stem(np.ones((1, 224, 224, 3), "float32"))))[0, ..., 0]
    assert seen.shape == (112, 112)
    np.testing.assert_array_equal(seen[::111, ::111], 3 * np.outer((first, last), (first, last)))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # Caffe and PyTorch round the size of an unpadded pooling up: ceil((75 - 3) / 2) + 1 = 37.
        ("googlenet", [150, 75, 37, 18, 9]),
        # TensorFlow's SAME: ceil(75 / 2) = 38.
        ("inception_v1_slim", [150, 75, 38, 19, 10]),
        # The same up to 4e, then ceil((18 - 2) / 2) + 1 = 9.
        ("inception_v1_torchvision", [150, 75, 37, 18, 9]),
    ],
)
def test_odd_maps_are_pooled_as_the_source_does(name, sizes):
    trunk = ki.GoogLeNet(include_top=False, architecture=name, input_shape=(299, 299, 3))
    ends = ["conv1_7x7_s2", "pool1_3x3_s2", "pool2_3x3_s2", "inception_4a_output", "inception_5b_output"]
    assert [trunk.get_layer(end).output.shape[1] for end in ends] == sizes


@pytest.mark.parametrize("name", NAMES)
def test_weights_equal_the_golden_manifest(full_networks, name):
    found = {
        weight.path: [list(weight.shape), keras.backend.standardize_dtype(weight.dtype)]
        for weight in full_networks(name).weights
    }
    path = GOLDEN / f"{name}.json"
    if os.environ.get(REWRITE_GOLDEN):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
        path.write_text(f"{{\n{lines}\n}}\n")
    golden = json.loads(path.read_text()) if path.exists() else {}
    regenerate = (
        "the weights of published files and of users' .keras files are found by these names and shapes. If the "
        f"change is meant, run `{REWRITE_GOLDEN}=1 python -m pytest tests/network -k golden` and "
        "review the diff."
    )
    assert found == golden, regenerate
    assert list(found) == list(golden), f"The order of the weights changed; {regenerate}"
