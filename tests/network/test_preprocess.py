"""What `preprocess_input` makes of pixels, against numbers typed by hand, and the names of ImageNet's classes."""

import json

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.network.preprocess import decode_predictions, imagenet_class_names, undo_preprocessing

# Three pixels of red, green, blue: black, white, and one whose channels can be told apart.
PIXELS = np.array([[[[0, 0, 0], [255, 255, 255], [51, 102, 204]]]], "uint8")

# 51 is 0.2 of 255, 102 is 0.4, 204 is 0.8: in [-1, 1] they are -0.6, -0.2, 0.6.
INCEPTION = np.array([[[[-1, -1, -1], [1, 1, 1], [-0.6, -0.2, 0.6]]]], "float32")

# Blue, green, red, less 104, 117, 123.
CAFFE = np.array([[[[-104, -117, -123], [151, 138, 132], [100, -15, -72]]]], "float32")

EXPECTED = {"inception": INCEPTION, "caffe": CAFFE}
MODES = pytest.mark.parametrize("mode", EXPECTED)

# One rounding of float32 in the division, one in the subtraction.
CLOSE = {"rtol": 0, "atol": 1e-6}


def to_channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))


@MODES
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_arrays_become_float_arrays(mode, dtype):
    x = PIXELS.astype(dtype)
    y = ki.preprocess_input(x, preprocessing=mode)
    assert isinstance(y, np.ndarray)
    assert y.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(y, EXPECTED[mode], **CLOSE)
    np.testing.assert_array_equal(x, PIXELS)  # not changed in place
    np.testing.assert_allclose(undo_preprocessing(y, preprocessing=mode), PIXELS, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "expected"),
    [(PIXELS[0], INCEPTION[0]), (PIXELS.tolist(), INCEPTION), (PIXELS[..., :1], INCEPTION[..., :1])],
    ids=["image", "list", "grey"],
)
def test_inception_is_the_default_for_any_shape(x, expected):
    np.testing.assert_allclose(ki.preprocess_input(x), expected, **CLOSE)


@MODES
@pytest.mark.parametrize("given", ["by argument", "by configuration"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_channels_first(mode, given, as_tensor):
    x = to_channels_first(PIXELS)
    x = keras.ops.convert_to_tensor(x) if as_tensor else x
    if given == "by argument":
        y = ki.preprocess_input(x, "channels_first", preprocessing=mode)
    else:
        keras.config.set_image_data_format("channels_first")
        y = ki.preprocess_input(x, preprocessing=mode)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), to_channels_first(EXPECTED[mode]), **CLOSE)


@MODES
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_tensors_stay_tensors(mode, dtype):
    y = ki.preprocess_input(keras.ops.convert_to_tensor(PIXELS.astype(dtype)), preprocessing=mode)
    assert keras.ops.is_tensor(y)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), EXPECTED[mode], **CLOSE)


@MODES
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_keras_tensors_build_a_model_that_preprocesses(mode, dtype):
    image = keras.Input((None, None, 3), dtype=dtype)
    model = keras.Model(image, ki.preprocess_input(image, preprocessing=mode))
    np.testing.assert_allclose(model.predict(PIXELS.astype(dtype), verbose=0), EXPECTED[mode], **CLOSE)


@MODES
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_tf_data_maps_it(mode, dtype):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow" and dtype == "uint8":
        pytest.skip("beside another backend `tf.Tensor`s are taken as floats, as the docstring says")
    data = tf.data.Dataset.from_tensor_slices(PIXELS.astype(dtype)).map(
        lambda x: ki.preprocess_input(x, preprocessing=mode)
    )
    (y,) = list(data.as_numpy_iterator())
    np.testing.assert_allclose(y, EXPECTED[mode][0], **CLOSE)


@pytest.mark.parametrize(
    ("x", "data_format"),
    [(np.zeros((1, 2, 2, 1)), "channels_last"), (np.zeros((1, 4, 3, 3)), "channels_first")],
)
def test_caffe_refuses_images_that_are_not_rgb(x, data_format):
    with pytest.raises(
        ki.InputError, match=r'`preprocessing="caffe"` is for images of 3 channels.*Received: x\.shape=\(1, '
    ):
        ki.preprocess_input(x, data_format, preprocessing="caffe")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"preprocessing": "torch"}, r"one of \('inception', 'caffe', 'pixels'\)\. Received: preprocessing='torch'"),
        ({"data_format": "NHWC"}, r'must be "channels_last" or "channels_first"\. Received: data_format=\'NHWC\''),
    ],
)
def test_unknown_modes_and_formats_are_refused(arguments, match):
    with pytest.raises(ki.InputError, match=match):
        ki.preprocess_input(PIXELS, **arguments)


@pytest.fixture
def class_index(monkeypatch, tmp_path):
    """A class index in the place of the one that Keras downloads; returns the arguments of the download."""
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}))
    calls = []

    def get_file(*args, **kwargs):
        calls.append((args, kwargs))
        return str(path)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    return calls


@pytest.mark.parametrize("background", [False, True])
def test_predictions_are_decoded(class_index, background):
    preds = np.zeros((2, 1000), "float32")
    preds[0, [7, 999, 0]] = 0.5, 0.3, 0.2
    preds[1, [1, 2]] = 0.4, 0.6
    if background:
        preds = np.concatenate([np.full((2, 1), 9, "float32"), preds], 1)
    found = decode_predictions(preds, top=3)
    assert found[0] == [
        ("n00000007", "class_7", np.float32(0.5)),
        ("n00000999", "class_999", np.float32(0.3)),
        ("n00000000", "class_0", np.float32(0.2)),
    ]
    assert [name for _, name, _ in found[1][:2]] == ["class_2", "class_1"]
    assert [len(image) for image in decode_predictions(keras.ops.convert_to_tensor(preds))] == [5, 5]
    assert decode_predictions([preds, preds[::-1], preds[::-1]], top=3) == found  # of three heads the main one
    assert decode_predictions({"aux1": preds[::-1], "main": preds}, top=3) == found
    address = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
    assert class_index[0][0] == ("imagenet_class_index.json", address)
    assert class_index[0][1] == {"cache_subdir": "models", "file_hash": "c2c37ea517e94d9795004a39431a14cb"}


def test_classes_of_imagenet_that_share_a_name_get_their_id(class_index, tmp_path):
    path = tmp_path / "imagenet_class_index.json"
    index = json.loads(path.read_text()) | {"134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}
    path.write_text(json.dumps(index))
    names = imagenet_class_names()
    assert len(set(names)) == 1000
    assert [names[i] for i in (133, 134, 517)] == ["class_133", "crane (n02012849)", "crane (n03126707)"]


@pytest.mark.parametrize(
    "preds",
    [np.zeros((2, 10)), np.zeros(1000), [np.zeros((2, 10))] * 3, [], [[0.5]], {"aux1": np.zeros((2, 1000))}],
)
def test_only_the_output_of_one_head_is_decoded(class_index, preds):
    with pytest.raises(ki.InputError, match=r"must be an array `\(batch, 1000\)`.*Received: "):
        decode_predictions(preds)
    assert class_index == []
