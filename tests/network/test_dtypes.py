"""What a network computes in, and of what type its outputs are."""

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki

not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX has no float64 unless its process was started for it"
)


@pytest.mark.parametrize(
    ("dtype", "computes", "outputs"),
    [
        ("float32", "float32", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
        (keras.DTypePolicy("bfloat16"), "bfloat16", "float32"),
        pytest.param("float64", "float64", "float64", marks=not_on_jax),
    ],
)
def test_a_network_computes_in_its_dtype(dtype, computes, outputs):
    model = ki.GoogLeNet(architecture=TINY, classes=2, dtype=dtype)
    images, labels = images_and_labels(4)
    heads = model(images)
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer("inception_4a_3x3").compute_dtype == computes
    assert {keras.backend.standardize_dtype(head.dtype) for head in heads} == {outputs}
    loss = model.compute_loss(y=labels, y_pred=heads)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    copy = ki.InceptionModel.from_config(model.get_config())
    assert copy.get_layer("inception_4a_3x3").compute_dtype == computes


def test_dtype_stands_for_the_policy_of_keras():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert ki.GoogLeNet(architecture=TINY, classes=2).get_layer("inception_4a_3x3").compute_dtype == "bfloat16"
    model = ki.GoogLeNet(architecture=TINY, classes=2, dtype="float32")
    assert model.get_layer("inception_4a_3x3").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.tensorflow  # Keras normalizes batches in float32 on PyTorch
def test_float64_keeps_what_float32_loses():
    single = ki.GoogLeNet(architecture=TINY, classes=2)
    double = ki.GoogLeNet(architecture=TINY, classes=2, dtype="float64")
    double.set_weights(single.get_weights())
    images = images_and_labels(4)[0].astype("float64")
    # Less than float32 can tell; Keras makes float32 of NumPy's arrays on some backends.
    shifted = keras.ops.convert_to_tensor(images + 1e-10, "float64")
    for one, other in zip(double(keras.ops.convert_to_tensor(images, "float64")), double(shifted)):
        assert 0 < np.abs(keras.ops.convert_to_numpy(one - other)).max() < 1e-6
    np.testing.assert_allclose(double.predict(images, verbose=0)[0], single.predict(images, verbose=0)[0], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float23", "int8", "int8_from_float32", "int32", 3])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ki.InputError, match=f"`dtype` must be a floating-point type.*Received: dtype={dtype!r}"):
        ki.GoogLeNet(architecture=TINY, dtype=dtype)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", ["googlenet", "inception_v1_slim"])
def test_a_trunk_takes_images_of_any_size(name):
    trunk = ki.GoogLeNet(include_top=False, architecture=name, width=0.05)
    assert trunk.input_shape == (None, None, None, 3)
    assert trunk.output_shape[:3] == (None, None, None)


def test_a_trunk_computes_images_of_two_sizes():
    trunk = ki.GoogLeNet(include_top=False, architecture=TINY)
    assert [tuple(trunk(np.zeros((1, size, 12, 3))).shape[:3]) for size in (10, 14)] == [(1, 5, 6), (1, 7, 6)]
    fixed = ki.GoogLeNet(include_top=False, architecture=TINY, input_shape=(10, 10, 3))
    assert fixed.output_shape[:3] == (None, 5, 5)
