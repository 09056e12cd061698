"""Requests that TensorFlow Serving sends to itself before it takes those of others."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

# Where the server looks for them in a version's folder.
PATH: Path = Path("assets.extra", "tf_serving_warmup_requests")


def write(folder: Path, name: str, signatures: Sequence[str], image_shape: tuple[int, int, int]) -> None:
    """Writes a warm-up request of one black image for each signature of a version.

    Args:
        folder: The version's folder.
        name: The name under which the model will be served.
        signatures: The names of the signatures, all with an input.
        image_shape: `(height, width, channels)`.
    """
    path = folder / PATH
    path.parent.mkdir()
    image = np.zeros(image_shape, "uint8")
    with tf.io.TFRecordWriter(os.fspath(path)) as file:
        for signature in signatures:
            if signature == "serving_bytes":
                inputs: dict[str, Any] = {"image_bytes": [tf.io.encode_png(image).numpy()]}
            else:
                inputs = {"images": image[None].astype("uint8" if signature == "serving_uint8" else "float32")}
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


def request_of(record: bytes) -> tuple[str, dict[str, Any]]:
    """Returns signature and inputs, arrays or lists of bytes, of a request to `predict` as in `prediction_log`.

    Raises:
        ValueError: The bytes are no such request.
    """
    request = _value(_value(record, 6), 1)
    tensor, inputs = type(tf.make_tensor_proto(0)), {}
    for entry in _values(request, 2):
        try:
            array = tf.make_ndarray(tensor.FromString(_value(entry, 2)))
        except (DecodeError, TypeError) as error:
            raise ValueError("an input is no tensor") from error
        inputs[_value(entry, 1).decode()] = array.tolist() if array.dtype == object else array
    return _value(_value(request, 1), 3).decode(), inputs


def _value(message: bytes, number: int) -> bytes:
    """Returns the value of a field that a protobuf message has once."""
    (value,) = _values(message, number)
    return value


def _values(message: bytes, number: int) -> list[bytes]:
    """Returns the values of a field of a protobuf message whose fields are bytes, strings and messages."""
    found, place = [], 0
    while place < len(message):
        key, place = _number(message, place)
        length, place = _number(message, place)
        if key & 7 != 2 or place + length > len(message):
            raise ValueError(f"no field of bytes at byte {place}")
        if key >> 3 == number:
            found.append(message[place : place + length])
        place += length
    return found


def _number(message: bytes, place: int) -> tuple[int, int]:
    """Returns the varint at a place, and the place behind it."""
    for end in range(place, len(message)):
        if message[end] < 0x80:
            return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(message[place : end + 1])), end + 1
    raise ValueError("the message ends within a number")


def _field(number: int, value: bytes) -> bytes:
    """Returns a field of a protobuf message that holds bytes, a string or another message."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
