"""Requests that TensorFlow Serving sends to itself before it takes those of others."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.types import Array

# Where the server looks for them in a version's folder.
PATH: Path = Path("assets.extra", "tf_serving_warmup_requests")


def write(folder: Path, name: str, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Writes the warm-up requests of a version.

    Args:
        folder: The version's folder.
        name: The name under which the model will be served.
        requests: Pairs of the name of a signature and its inputs, a dict of arrays.
    """
    path = folder / PATH
    path.parent.mkdir()
    with tf.io.TFRecordWriter(os.fspath(path)) as file:
        for signature, inputs in requests:
            file.write(prediction_log(name, signature, inputs))


def prediction_log(name: str, signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Returns a request as the bytes of a `tensorflow.serving.PredictionLog`.

    They are written by hand, because the package that has the message, `tensorflow-serving-api`, is not needed for
    anything else. Reference: `tensorflow_serving/apis/prediction_log.proto`, `predict.proto`, `model.proto`.
    """
    specification = _field(1, name.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    request = _field(1, specification)  # PredictRequest: model_spec
    for key in sorted(inputs):
        tensor = tf.make_tensor_proto(inputs[key]).SerializeToString()
        request += _field(2, _field(1, key.encode()) + _field(2, tensor))  # an entry of the map `inputs`
    return _field(6, _field(1, request))  # PredictionLog: predict_log, PredictLog: request


def gradient(image_shape: tuple[int, int, int]) -> Array:
    """Returns an image of smooth colours, `(height, width, channels)`, uint8."""
    height, width, channels = image_shape
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    planes = [rows * (channel + 1) / channels + columns * (1 - channel / channels) for channel in range(channels)]
    return (127.5 * np.stack(planes, axis=-1)).astype("uint8")


def encoded_gradient(image_shape: tuple[int, int, int]) -> bytes:
    """Returns the same image as the bytes of a file: a JPEG, or with alpha a PNG."""
    encode = tf.io.encode_png if image_shape[-1] == 4 else tf.io.encode_jpeg
    return encode(gradient(image_shape)).numpy()


def _field(number: int, value: bytes) -> bytes:
    """Returns a field of a protobuf message that holds bytes, a string or another message."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
