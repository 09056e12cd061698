"""What the networks see: pixels in the range and channel order that their weights were trained on."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inception.errors import InputError, shown
from keras_inception.rules import is_whole, plain
from keras_inception.types import Array, Tensor
from keras_inception.weights import download

# The mean of ImageNet's training images in BVLC's network, in its order of channels: blue, green, red.
CAFFE_MEAN_BGR = (104.0, 117.0, 123.0)

# The least and the greatest value of an image that went through each mode.
RANGES: dict[str, tuple[float, float]] = {"inception": (-1.0, 1.0), "caffe": (-123.0, 151.0), "pixels": (0.0, 255.0)}

# Standardised images (mean 0, deviation 1) are within so many units around 0, as those that are scaled to 1.
FEW = 4.0

# The names of ImageNet's classes, the file that `keras.applications` uses, with its md5.
CLASS_INDEX = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"


def preprocess_input(x: Tensor, data_format: str | None = None, *, preprocessing: str | None = "inception") -> Tensor:
    """Turns pixels into the input of a GoogLeNet.

    Args:
        x: Images, float or integer in [0, 255], channels in the order red, green, blue:
            `(..., height, width, channels)`, or `(..., channels, height, width)` for `"channels_first"`. An array,
            a tensor of the backend, or a float `tf.Tensor` inside a `tf.data` pipeline.
        data_format: `"channels_last"` or `"channels_first"`; by default `keras.config.image_data_format()`.
        preprocessing: `"inception"` scales to [-1, 1], for every network trained with this package, TF-slim's and
            torchvision's. `"caffe"` reverses the channels to blue, green, red and subtracts ImageNet's mean, for
            BVLC's network. `"pixels"` leaves them as they are, for a network that preprocesses by itself. A model says
            in `model.preprocessing` which one it wants.

    Returns:
        A float array or tensor, as `x` is one, of the same shape.

    Raises:
        InputError: `preprocessing` or `data_format` is unknown, or `"caffe"` is asked for other than 3 channels.
    """
    data_format = keras.config.image_data_format() if data_format is None else data_format
    if plain(data_format) not in ("channels_last", "channels_first"):
        raise InputError(
            f'`data_format` must be "channels_last" or "channels_first". Received: data_format={data_format!r}'
        )
    check_mode(preprocessing)
    is_native = ops.is_tensor(x) or isinstance(x, keras.KerasTensor)
    if is_native:
        x = x if keras.backend.is_float_dtype(x.dtype) else ops.cast(x, keras.config.floatx())
    elif not hasattr(x, "get_shape"):  # Not a `tf.Tensor` in a `tf.data` pipeline beside another backend either.
        try:
            x = np.asarray(x)
        except ValueError:  # lists of several lengths
            x = np.asarray(None)
        if x.dtype.kind not in "biufV":  # "V" is bfloat16's
            raise InputError(f"`x` must be an array or tensor of numbers. Received: x={shown(x)}")
        x = x if x.dtype.kind == "f" else x.astype(keras.config.floatx())
    if preprocessing == "pixels":
        return x
    if preprocessing == "inception":
        return x / 127.5 - 1.0
    axis, mean = (-1, CAFFE_MEAN_BGR) if data_format == "channels_last" else (-3, np.reshape(CAFFE_MEAN_BGR, (3, 1, 1)))
    if x.shape[axis] != 3:
        raise InputError(
            '`preprocessing="caffe"` is for images of 3 channels (red, green, blue). '
            f'Use `preprocessing="inception"` or convert them. Received: x.shape={tuple(x.shape)}'
        )
    if is_native:
        return ops.flip(x, axis) - ops.convert_to_tensor(mean, dtype=x.dtype)
    blue_green_red = x[..., ::-1] if axis == -1 else x[..., ::-1, :, :]
    return blue_green_red - np.asarray(mean, dtype=x.dtype if isinstance(x, np.ndarray) else x.dtype.as_numpy_dtype)


def check_mode(preprocessing: str | None) -> None:
    """Raises an `InputError` if there is no such preprocessing."""
    if preprocessing is None:
        raise InputError(
            "It is not known what the network's images went through: other layers come before it, or it is a copy by "
            "Keras's `clone_model` of an earlier version's model. Say it: `model.preprocessing = \"inception\"`, or "
            f"another of {tuple(RANGES)}. Received: preprocessing=None"
        )
    if not isinstance(preprocessing, str) or preprocessing not in RANGES:
        raise InputError(f"`preprocessing` must be one of {tuple(RANGES)}. Received: preprocessing={preprocessing!r}")


def contradiction(images: Array, preprocessing: str | None) -> str:
    """Says why images cannot be what a preprocessing gives; an empty text where nothing speaks against it.

    What speaks against it: values outside of its range by a quarter of it; nothing below 0 where preprocessing makes
    dark pixels negative; and the range of a few units of images that were scaled to 1, standardised, or preprocessed
    twice. A single image of whole numbers may be as dark as that, and one of a single value tells nothing.

    Args:
        images: A batch, `(batch, height, width, channels)` or in another order.
        preprocessing: The mode; None where it is not known.
    """
    if preprocessing is None or images.ndim != 4 or not images.size:
        return ""
    low, high = float(images.min()), float(images.max())
    least, greatest = RANGES[preprocessing]
    width = greatest - least
    outside = low < least - width / 4 or high > greatest + width / 4
    # A single image may well have no dark pixel, but hardly one of exactly medium brightness as its darkest.
    not_shifted = least < 0 <= low < (width / 50 if len(images) == 1 else math.inf)
    center, radius = (-1.0, 0.01) if preprocessing == "inception" else (0.0, FEW)
    fractions = bool((images != np.floor(images)).any())
    scaled = center - radius <= low and high <= center + radius and (fractions or len(images) > 1)
    if preprocessing == "pixels":
        outside = bool(cannot_be_pixels(low, high, fractions))
        scaled &= len(images) > 1
    if not outside and (low == high or not (not_shifted or scaled)):
        return ""
    way_out = "The network preprocesses by itself: give it pixels from 0 to 255."
    if preprocessing != "pixels":
        way_out = (
            f'Give it what one call of `preprocess_input(x, preprocessing="{preprocessing}")` makes of pixels from 0 '
            "to 255, or build it with `include_preprocessing=True` and give it the pixels."
        )
    return (
        f"The images must be from {least:g} to {greatest:g}, as the model's `preprocessing` says. {way_out} If the "
        "network is meant for others, set `model.preprocessing = None`. "
        f"Received: images from {low:g} to {high:g}, preprocessing={preprocessing!r}"
    )


def cannot_be_pixels(low: Any, high: Any, fractions: Any) -> Any:
    """Returns whether an image's values cannot be in [0, 255], for numbers and tensors alike.

    A sharp resizing leads outside by up to a quarter of the range. What lies farther below 0, what is below 0 and all
    in all of a few units, and what is scaled to 1 is no image of pixels. Of whole numbers of at least 0, however dark,
    it cannot be told.

    Args:
        low: The least value.
        high: The greatest value.
        fractions: Whether some value is no whole number.
    """
    negative = low < -0.01  # what arithmetic rounds is none
    few = (high <= 4 * FEW) | (low < -high / 4)
    return (low < -64) | (high > 255 + 64) | (negative & few) | (fractions & (high <= 1.01))


def undo_preprocessing(x: Array, *, preprocessing: str | None = "inception") -> Array:
    """Turns the input of a GoogLeNet back into pixels.

    Args:
        x: Array `(..., height, width, channels)`, what `preprocess_input` returned.
        preprocessing: The mode that it was called with.

    Returns:
        Float array of the same shape, [0, 255], channels in the order red, green, blue.
    """
    check_mode(preprocessing)
    if preprocessing == "pixels":
        return x
    if preprocessing == "inception":
        return (x + 1.0) * 127.5
    return (x + np.asarray(CAFFE_MEAN_BGR, x.dtype))[..., ::-1]


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names the likeliest classes of ImageNet, as `keras.applications` does.

    Args:
        preds: Softmaxes or logits of one head, array or tensor: `(batch, 1000)`, or `(batch, 1001)` with TF-slim's
            "background" first, which is left out. Of a list of several heads, as `predict` returns it, the first is
            taken, the main one; of a dict by their names "main".
        top: Number of classes to name, at least 1.

    Returns:
        For each image a list of `top` tuples `(WordNet id, class name, score)`, the likeliest first.

    Raises:
        InputError: `preds` has another shape.
        DownloadError: The names could not be downloaded.
    """
    if isinstance(preds, (list, tuple)) and preds and hasattr(preds[0], "shape"):
        preds = preds[0]
    if isinstance(preds, Mapping):
        preds = preds.get("main", preds)
    shape = getattr(preds, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] not in (1000, 1001):
        raise InputError(
            "`preds` must be an array `(batch, 1000)` or `(batch, 1001)`, the output of one head for ImageNet's "
            "classes, or the list that a model of several heads returns, of which the first is the main one. "
            f"Received: {type(preds).__name__} of shape {shape}"
        )
    if not is_whole(top, 1):
        raise InputError(f"`top` must be a whole number of at least 1. Received: top={shown(top)}")
    index = _imagenet_class_index()
    preds = ops.convert_to_numpy(preds)[:, -1000:]
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [[(*index[str(i)], row[i]) for i in indices] for row, indices in zip(preds, best)]


def imagenet_class_names() -> list[str]:
    """Returns the names of ImageNet's 1,000 classes in the order of every published network's outputs.

    They are downloaded once, as for `decode_predictions`. Names that two classes have, such as the bird and the machine
    "crane", get their WordNet id.
    """
    index = _imagenet_class_index()
    pairs = [index[str(i)] for i in range(1000)]
    counts = Counter(name for _, name in pairs)
    return [name if counts[name] == 1 else f"{name} ({identity})" for identity, name in pairs]


def _imagenet_class_index() -> dict[str, list[str]]:
    name = "imagenet_class_index.json"
    path = download.get_file(name, CLASS_INDEX, "The names of ImageNet's classes", file_hash=CLASS_INDEX_MD5)
    with open(path) as file:
        return json.load(file)
