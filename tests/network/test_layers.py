"""The layers that Keras lacks, against loops in NumPy and TensorFlow's own operation; and Keras's two, bit for bit."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.network.layers import BatchNormalization, CeilMaxPooling2D, Dropout, LocalResponseNormalization

PARAMETERS = [
    {"depth_radius": 2, "bias": 1.0, "alpha": 2e-5, "beta": 0.75},  # BVLC's GoogLeNet
    {"depth_radius": 9, "bias": 2.0, "alpha": 1e-4, "beta": 0.5},  # inception5h
    {"depth_radius": 2, "bias": 1.0, "alpha": 0.2, "beta": 0.75},
    {"depth_radius": 1, "bias": 0.5, "alpha": 0.3, "beta": 0.5},
    {"depth_radius": 5, "bias": 1.0, "alpha": 0.1, "beta": 1.25},
    {"depth_radius": 0, "bias": 1.0, "alpha": 1.0, "beta": 1.0},
    {"depth_radius": 40, "bias": 1.0, "alpha": 0.01, "beta": 0.3},  # a window wider than the 12 channels
]

# float32's 24 bits after a sum of a few squares, two roots and a product.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def as_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture
def x():
    return (5 * np.random.default_rng(1).normal(size=(2, 3, 4, 12))).astype("float32")


def lrn_loop(x, depth_radius, bias, alpha, beta):
    """The formula of `tf.nn.local_response_normalization`, one number at a time, in float64."""
    x = x.astype("float64")
    y = np.empty_like(x)
    for index in np.ndindex(x.shape):
        channel = index[-1]
        total = 0.0
        for neighbour in range(max(channel - depth_radius, 0), min(channel + depth_radius, x.shape[-1] - 1) + 1):
            total += x[(*index[:-1], neighbour)] ** 2
        y[index] = x[index] / (bias + alpha * total) ** beta
    return y


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_lrn_equals_a_numpy_loop(x, parameters):
    np.testing.assert_allclose(
        as_numpy(LocalResponseNormalization(**parameters)(x)), lrn_loop(x, **parameters), **FLOAT32
    )


def test_the_defaults_are_googlenets(x):
    expected = lrn_loop(100 * x, **PARAMETERS[0])
    np.testing.assert_allclose(as_numpy(LocalResponseNormalization()(100 * x)), expected, **FLOAT32)
    assert np.abs(expected / (100 * x) - 1).max() > 0.5  # at this scale the normalization is seen
    assert (CeilMaxPooling2D().pool_size, CeilMaxPooling2D().strides) == ((3, 3), (2, 2))


@pytest.mark.tensorflow
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_lrn_and_its_gradient_equal_tensorflows(x, parameters):
    import tensorflow as tf

    layer, x = LocalResponseNormalization(**parameters), tf.constant(x)
    weight = tf.random.stateless_normal(x.shape, (0, 1))  # a different slope for every output
    values, slopes = [], []
    for function in (layer, lambda x: tf.nn.local_response_normalization(x, **parameters)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            loss = tf.reduce_sum(weight * y)
        values.append(y.numpy())
        slopes.append(tape.gradient(loss, x).numpy())
    np.testing.assert_allclose(*values, **FLOAT32)
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)  # a difference of terms that nearly cancel


@pytest.mark.parametrize("parameters", PARAMETERS[:4])
def test_lrn_channels_first_equals_channels_last(x, parameters):
    last = LocalResponseNormalization(**parameters, data_format="channels_last")
    first = LocalResponseNormalization(**parameters, data_format="channels_first")
    y = as_numpy(first(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), as_numpy(last(x)), **FLOAT32)


@pytest.mark.usefixtures("channels_first")
def test_lrn_takes_the_data_format_of_keras():
    assert LocalResponseNormalization().data_format == "channels_first"


@pytest.mark.parametrize("parameters", PARAMETERS[:3])
@pytest.mark.parametrize(
    ("policy", "dtype", "precision"),
    # Half a unit in the last place, for the input and the output each: 10 and 7 bits of mantissa.
    [("mixed_float16", "float16", 2**-10), ("mixed_bfloat16", "bfloat16", 2**-7)],
)
def test_lrn_under_mixed_precision_is_computed_in_float32(x, policy, dtype, precision, parameters):
    x = 40 * x  # squares of 16-bit floats of this size overflow float16's 65,504
    y = LocalResponseNormalization(**parameters, dtype=policy)(x)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    y = as_numpy(keras.ops.cast(y, "float32"))
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, lrn_loop(x, **parameters), rtol=precision, atol=1e-3)


@pytest.mark.tensorflow  # Keras multiplies float64 matrices in float32 on PyTorch
def test_lrn_of_float64_is_computed_in_float64(x):
    y = as_numpy(LocalResponseNormalization(**PARAMETERS[2], dtype="float64")(x.astype("float64")))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, lrn_loop(x, **PARAMETERS[2]), rtol=1e-12)


def test_lrn_survives_its_config():
    layer = LocalResponseNormalization(**PARAMETERS[3], data_format="channels_last", name="norm")
    config = layer.get_config()
    assert {key: config[key] for key in PARAMETERS[3]} == PARAMETERS[3]
    assert (config["data_format"], config["name"]) == ("channels_last", "norm")
    assert LocalResponseNormalization.from_config(config).get_config() == config
    assert layer(keras.Input((None, None, 12))).shape == (None, None, None, 12)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"depth_radius": -1}, r"`depth_radius` must be at least 0 .* Received: depth_radius=-1, bias=1\.0"),
        ({"bias": 0.0}, r"`bias` above 0, or the divisor could be 0\. Received: depth_radius=2, bias=0\.0"),
        ({"data_format": "NHWC"}, r'`data_format` must be "channels_last" or "channels_first"\..*\'NHWC\''),
    ],
)
def test_lrn_refuses_what_could_divide_by_zero(arguments, match):
    with pytest.raises(ki.InputError, match=match):
        LocalResponseNormalization(**arguments)


def pool_loop(x, pool_size, strides):
    """Caffe's pooling without padding: windows begin inside the map and take what is there of them."""
    batch, height, width, channels = x.shape
    rows = [range(top, min(top + pool_size, height)) for top in starts(height, pool_size, strides)]
    columns = [range(left, min(left + pool_size, width)) for left in starts(width, pool_size, strides)]
    y = np.empty((batch, len(rows), len(columns), channels), x.dtype)
    for i, window_rows in enumerate(rows):
        for j, window_columns in enumerate(columns):
            y[:, i, j] = x[:, window_rows][:, :, window_columns].max(axis=(1, 2))
    return y


def starts(size, pool_size, strides):
    """Returns where windows begin: at 0, and on until one has reached the edge."""
    found = [0]
    while found[-1] + pool_size < size:
        found.append(found[-1] + strides)
    return found


POOLS = [(3, 2), (2, 2), (5, 3)]
SIZES = [(6, 6), (7, 7), (8, 9), (9, 8), (5, 12), (13, 10), (16, 15)]
SMALLER_THAN_THE_WINDOW = [(3, 2, 2, 2), (3, 2, 2, 7), (2, 2, 1, 1), (2, 2, 5, 1), (5, 3, 3, 4)]


@pytest.mark.parametrize(
    ("pool_size", "strides", "height", "width"),
    [(*pool, *size) for pool in POOLS for size in SIZES] + SMALLER_THAN_THE_WINDOW,
)
def test_ceil_pooling_equals_a_numpy_loop(pool_size, strides, height, width):
    # All below 0: a padding of zeros would win.
    x = -1 - np.random.default_rng(0).random((2, height, width, 3)).astype("float32")
    expected = pool_loop(x, pool_size, strides)
    layer = CeilMaxPooling2D(pool_size, strides)
    np.testing.assert_array_equal(as_numpy(layer(x)), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize(("pool_size", "strides"), POOLS)
def test_ceil_pooling_of_unknown_sizes(pool_size, strides):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, CeilMaxPooling2D(pool_size, strides)(image))
    assert model.output_shape == (None, None, None, 3)
    for height, width in SIZES:
        x = -1 - np.random.default_rng(0).random((2, height, width, 3)).astype("float32")
        np.testing.assert_array_equal(model.predict(x, verbose=0), pool_loop(x, pool_size, strides))


@pytest.mark.parametrize("size", [(6, 6), (7, 8)])
def test_ceil_pooling_channels_first(size):
    x = -1 - np.random.default_rng(0).random((2, *size, 3)).astype("float32")
    layer = CeilMaxPooling2D(3, 2, data_format="channels_first")
    expected = pool_loop(x, 3, 2).transpose(0, 3, 1, 2)
    assert layer.compute_output_shape((2, 3, *size)) == expected.shape
    image = keras.Input((3, *size))
    assert layer(image).shape == (None, *expected.shape[1:])
    if keras.backend.backend() == "tensorflow":
        return  # TensorFlow has no channels_first pooling on the CPU: built, not run.
    np.testing.assert_array_equal(as_numpy(layer(x.transpose(0, 3, 1, 2))), expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_ceil_pooling_in_16_bits(policy):
    x = (-np.arange(98).reshape((1, 7, 14, 1))).astype("float32")  # integers that 7 bits of mantissa hold
    y = CeilMaxPooling2D(3, 2, dtype=policy)(x)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(as_numpy(keras.ops.cast(y, "float32")), pool_loop(x, 3, 2))


def test_ceil_pooling_survives_its_config():
    config = CeilMaxPooling2D(5, 3, name="pool").get_config()
    assert "padding" not in config
    again = CeilMaxPooling2D.from_config(config)
    assert (again.pool_size, again.strides, again.name) == ((5, 5), (3, 3), "pool")


def both(kind, **arguments):
    """Returns a layer of this package and Keras's of the same name."""
    return [each(**arguments, name="layer") for each in (kind, getattr(keras.layers, kind.__name__))]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    # JAX has no float64 unless it is told to; there, as on PyTorch, every type is Keras's to normalize.
    [
        (Dropout, {"rate": 0.4, "seed": 3}),
        (BatchNormalization, {"dtype": "float64" if keras.backend.backend() == "tensorflow" else "float32"}),
    ],
)
def test_on_one_device_a_layer_is_kerass_bit_for_bit(x, kind, arguments):
    layers = both(kind, **arguments)
    for _ in range(2):  # the second with another seed, or with other moving statistics
        found, expected = (as_numpy(layer(x, training=True)) for layer in layers)
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, x)
    found, expected = ([(v.path.split("/")[-1], as_numpy(v).tolist()) for v in layer.variables] for layer in layers)
    assert found == expected


@pytest.mark.parametrize("kind", [Dropout, BatchNormalization])
def test_a_layer_s_configuration_is_kerass(kind):
    ours, kerass = both(kind, **({"rate": 0.4} if kind is Dropout else {}))
    config = kerass.get_config()
    config.pop("synchronized", None)
    assert ours.get_config() == config
    assert kind.from_config(config).get_config() == config


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}, {"axis": 1}, {"renorm": True}])
@pytest.mark.parametrize("channels", [4, 16])
def test_batches_are_normalized_as_kerass_does_to_rounding(policy, arguments, channels):
    layers = both(BatchNormalization, dtype=policy, momentum=0.9, **arguments)
    tolerance = {"float32": 1e-5, "float16": 2**-9, "bfloat16": 2**-6}[policy.removeprefix("mixed_")]
    random = np.random.default_rng(0)
    for _ in range(2):  # the second with other moving statistics
        images = (random.normal(size=(3, 6, 5, channels)) * 2 + 1).astype("float32")
        found, expected = (as_numpy(keras.ops.cast(layer(images, training=True), "float32")) for layer in layers)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    for ours, kerass in zip(*(layer.variables for layer in layers), strict=True):
        found, expected = (as_numpy(keras.ops.cast(variable, "float32")) for variable in (ours, kerass))
        rtol = 1e-5 if kerass.dtype == "float32" else tolerance
        np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=kerass.path)


def test_the_statistics_of_one_value_a_channel_are_kerass():
    found, expected = both(BatchNormalization, momentum=0.5)
    one = np.full((1, 1, 1, 3), 5.0, "float32")
    for layer in (found, expected):
        np.testing.assert_array_equal(as_numpy(layer(one, training=True)), 0)
    for ours, kerass in zip(found.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(as_numpy(ours), as_numpy(kerass))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients by TensorFlow's tape")
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"axis": 1}])
def test_gradients_through_a_normalized_batch_are_kerass_to_rounding(arguments):
    import tensorflow as tf

    random = np.random.default_rng(0)
    images, share = random.normal(size=(2, 4, 6, 5, 4)).astype("float32")
    gradients = []
    for layer in both(BatchNormalization, **arguments):
        x = tf.Variable(images)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(share * layer(x, training=True))
        gradients.append(tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)]))
    for ours, kerass in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, kerass, rtol=1e-4, atol=1e-5)


def test_a_frozen_normalization_and_a_mask_are_left_to_keras(x):
    mask = np.array([True, False, True])[: len(x), None, None] & np.ones(x.shape[:3], bool)
    for arguments, call in (({"trainable": False}, {}), ({}, {"mask": mask})):
        found, expected = (as_numpy(layer(x, training=True, **call)) for layer in both(BatchNormalization, **arguments))
        np.testing.assert_array_equal(found, expected)
