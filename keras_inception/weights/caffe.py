"""Reads `.caffemodel` files and says where BVLC's GoogLeNet stands in one.

Such a file is one protocol buffer message, a `NetParameter` of Caffe's. Only the fields that lead to the weights are
described here, at run time; all others (the types of the layers, their inputs and settings) are skipped.

Reference: BVLC Caffe, `src/caffe/proto/caffe.proto`, for the numbers and types of the fields.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from keras_inception.architectures import Architecture
from keras_inception.errors import InputError
from keras_inception.types import Array, PathLike
from keras_inception.weights.layout import BRANCHES, Stored, convolutions, flattened_matrix, kernel, matrix

# message: ((field, number, label, type), ...); a type in capitals is another message.
MESSAGES = {
    "BlobShape": (("dim", 1, "repeated packed", "int64"),),
    "BlobProto": (
        ("num", 1, "optional", "int32"),
        ("channels", 2, "optional", "int32"),
        ("height", 3, "optional", "int32"),
        ("width", 4, "optional", "int32"),
        ("data", 5, "repeated packed", "float"),
        ("shape", 7, "optional", "BlobShape"),
        ("double_data", 8, "repeated packed", "double"),
    ),
    "LayerParameter": (("name", 1, "optional", "string"), ("blobs", 7, "repeated", "BlobProto")),
    "V1LayerParameter": (("name", 4, "optional", "string"), ("blobs", 6, "repeated", "BlobProto")),
    "NetParameter": (
        ("layers", 2, "repeated", "V1LayerParameter"),
        ("layer", 100, "repeated", "LayerParameter"),
    ),
}
LEGACY_SHAPE = ("num", "channels", "height", "width")


def read(path: PathLike) -> dict[str, Array]:
    """Reads the weights of a `.caffemodel` file.

    Args:
        path: The file. Both encodings of layers are read, `NetParameter.layers` (Caffe up to 2014) and
            `NetParameter.layer`, and both headers of blobs, `num, channels, height, width` and `shape`.

    Returns:
        A dict of float32 arrays. The second blob of the layer "conv1/7x7_s2" is called "conv1/7x7_s2[1]".

    Raises:
        InputError: The file is cut short, or no `.caffemodel`, or a blob does not fill its shape.
    """
    network = _network_message()
    try:
        network.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise InputError(
            "The file is cut short or is no `.caffemodel`: it does not parse as a `NetParameter` message. "
            f"Received: path={str(path)!r}"
        ) from error
    return {
        f"{layer.name}[{index}]": _array(blob, layer.name, index)
        for layer in (*network.layers, *network.layer)
        for index, blob in enumerate(layer.blobs)
    }


def _array(blob: Any, layer: str, index: int) -> Array:
    values = np.asarray(blob.data or blob.double_data, "float32")
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else tuple(getattr(blob, size) for size in LEGACY_SHAPE)
    if math.prod(shape) != values.size:
        raise InputError(
            f"Every blob of a `.caffemodel` must hold as many values as its shape says. "
            f"Received: blob {index} of the layer {layer!r} with shape={shape} and {values.size} values"
        )
    return values.reshape(shape)


def _network_message() -> Any:
    """Returns an empty `NetParameter` of a class made at run time."""
    package = "keras_inception.caffe"
    file = descriptor_pb2.FileDescriptorProto(name="keras_inception/caffe.proto", package=package, syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, label, kind in fields:
            entry = message.field.add(name=field, number=number, label=f"LABEL_{label.split()[0].upper()}")
            entry.options.packed = "packed" in label
            if kind in MESSAGES:
                entry.type, entry.type_name = entry.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                entry.type = getattr(entry, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.NetParameter"))()


def layout(architecture: Architecture) -> dict[str, Stored]:
    """Returns where BVLC's file holds each weight of `googlenet`: a dict of `Stored` by `"layer/weight"`."""
    stem, modules = convolutions(architecture)
    names = {layer: layer.replace("_", "/", 1) for layer in stem}
    names |= {f"inception_{m}_{branch}": f"inception_{m}/{branch}" for m in modules for branch in BRANCHES}
    kernels: dict[str, Callable[[Array], Array]] = dict.fromkeys(names, kernel)
    for head in architecture.auxiliary_heads:
        flattened = partial(flattened_matrix, channels=head.conv)
        for part, convert in (("conv", kernel), ("fc", flattened), ("classifier", matrix)):
            names[f"{head.prefix}_{part}"], kernels[f"{head.prefix}_{part}"] = f"{head.prefix}/{part}", convert
    names["loss3_classifier"], kernels["loss3_classifier"] = "loss3/classifier", matrix
    found = {}
    for layer, name in names.items():
        found[f"{layer}/kernel"] = Stored(name, "[0]", kernels[layer])
        found[f"{layer}/bias"] = Stored(name, "[1]", np.ravel)  # (1, 1, 1, filters) where the header is the old one
    return found
