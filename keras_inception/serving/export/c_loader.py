"""A SavedModel in the C++ loader that TensorFlow Serving uses, through the C API in TensorFlow's wheel."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

STRING_BYTES: int = 24  # sizeof(TF_TString)


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p))


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def _library() -> dict[str, Callable[..., Any]]:
    """Returns the functions of the C API by their names without `TF_`."""
    folder = Path(tf.sysconfig.get_lib())
    paths = [path for name in ("framework", "cc") for path in sorted(folder.glob(f"libtensorflow_{name}.so*"))[:1]]
    if len(paths) < 2:
        raise RuntimeError("the C++ loader is in TensorFlow's wheels for Linux, and not in this installation")
    framework, api = (ctypes.CDLL(os.fspath(path), ctypes.RTLD_GLOBAL) for path in paths)
    functions: dict[str, Callable[..., Any]] = {}
    for name, result, arguments in (
        ("TF_NewStatus", "p", ""), ("TF_DeleteStatus", None, "p"), ("TF_GetCode", "i", "p"), ("TF_Message", "s", "p"),
        ("TF_NewGraph", "p", ""), ("TF_DeleteGraph", None, "p"), ("TF_NewSessionOptions", "p", ""),
        ("TF_DeleteSessionOptions", None, "p"),
        ("TF_LoadSessionFromSavedModel", "p", "ppspippp"),
        ("TF_CloseSession", None, "pp"), ("TF_DeleteSession", None, "pp"), ("TF_GraphOperationByName", "p", "ps"),
        ("TF_AllocateTensor", "p", "ipiz"), ("TF_DeleteTensor", None, "p"), ("TF_TensorData", "p", "p"),
        ("TF_TensorType", "i", "p"), ("TF_NumDims", "i", "p"), ("TF_Dim", "q", "pi"), ("TF_TensorByteSize", "z", "p"),
        ("TF_StringInit", None, "p"), ("TF_StringCopy", None, "psz"),
        ("TF_StringGetDataPointer", "p", "p"), ("TF_StringGetSize", "z", "p"),
        ("TF_SessionRun", None, "ppppippipipp"),
    ):  # fmt: skip
        kinds: dict[str | None, Any] = {"p": ctypes.c_void_p, "i": ctypes.c_int, "s": ctypes.c_char_p}
        kinds |= {"q": ctypes.c_int64, "z": ctypes.c_size_t, None: None}
        prototype = ctypes.CFUNCTYPE(kinds[result], *(kinds[kind] for kind in arguments))
        functions[name.removeprefix("TF_")] = prototype((name, api if hasattr(api, name) else framework))
    return functions


class Server:
    """A loaded version: `server(signature, name=array)` returns a dict of arrays, or raises `RuntimeError`.

    Attributes:
        signatures: The `SignatureDef` of each signature, by name.
        asset_files: The names of the assets.
    """

    def __init__(self, version: str | os.PathLike[str]) -> None:
        self.c: dict[str, Callable[..., Any]] = _library()
        self.status: Any = self.c["NewStatus"]()
        self.graph: Any = self.c["NewGraph"]()
        options = self.c["NewSessionOptions"]()
        tags, meta = (ctypes.c_char_p * 1)(b"serve"), _Buffer()
        self.session: Any = self.c["LoadSessionFromSavedModel"](
            options, None, os.fsencode(version), tags, 1, self.graph, ctypes.byref(meta), self.status
        )
        self.c["DeleteSessionOptions"](options)
        self._raise()
        meta_graph = tf.compat.v1.MetaGraphDef.FromString(ctypes.string_at(meta.data, meta.length))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)(meta.free)(meta.data, meta.length)
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)
        self.asset_files: list[str] = [asset.filename for asset in meta_graph.asset_file_def]

    def __call__(self, signature: str, **inputs: Any) -> dict[str, Any]:
        definition = self.signatures[signature]
        if unknown := inputs.keys() - definition.inputs.keys():
            raise RuntimeError(f"the signature has the inputs {sorted(definition.inputs)}, and not {sorted(unknown)}")
        feeds = [(self._output(definition.inputs[key].name), self._tensor(value)) for key, value in inputs.items()]
        names = list(definition.outputs)
        fetches = (_Output * len(names))(*[self._output(definition.outputs[name].name) for name in names])
        results = (ctypes.c_void_p * len(names))()
        self.c["SessionRun"](
            self.session, None,
            (_Output * len(feeds))(*[feed[0] for feed in feeds]),
            (ctypes.c_void_p * len(feeds))(*[feed[1] for feed in feeds]), len(feeds),
            fetches, results, len(names), None, 0, None, self.status,
        )  # fmt: skip
        for _, tensor in feeds:
            self.c["DeleteTensor"](tensor)
        self._raise()
        return {name: self._array(result) for name, result in zip(names, results)}

    def close(self) -> None:
        """Frees the session and its graph."""
        self.c["CloseSession"](self.session, self.status)
        self.c["DeleteSession"](self.session, self.status)
        self.c["DeleteGraph"](self.graph)
        self.c["DeleteStatus"](self.status)

    def _raise(self) -> None:
        if self.c["GetCode"](self.status) != 0:
            message = self.c["Message"](self.status).decode(errors="replace")
            self.c["DeleteStatus"](self.status)
            self.status = self.c["NewStatus"]()
            raise RuntimeError(message)

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        if (found := self.c["GraphOperationByName"](self.graph, operation.encode())) is None:
            raise RuntimeError(f"the graph has no operation {operation!r}")
        return _Output(found, int(index or 0))

    def _tensor(self, value: Any) -> int:
        """Returns an array, or a list of bytes, as a tensor of the C API."""
        strings = isinstance(value, list)
        shape = (len(value),) if strings else value.shape
        dtype = tf.string if strings else tf.as_dtype(value.dtype)
        size = STRING_BYTES * len(value) if strings else value.nbytes
        dimensions = (ctypes.c_int64 * len(shape))(*shape)
        tensor = self.c["AllocateTensor"](dtype.as_datatype_enum, dimensions, len(shape), size)
        data = self.c["TensorData"](tensor)
        if not strings:
            ctypes.memmove(data, np.ascontiguousarray(value).ctypes.data, size)
            return tensor
        for index, text in enumerate(value):
            self.c["StringInit"](data + STRING_BYTES * index)
            self.c["StringCopy"](data + STRING_BYTES * index, text, len(text))
        return tensor

    def _array(self, tensor: int) -> Any:
        shape = [self.c["Dim"](tensor, axis) for axis in range(self.c["NumDims"](tensor))]
        dtype = tf.as_dtype(self.c["TensorType"](tensor))
        data = self.c["TensorData"](tensor)
        if dtype == tf.string:
            places = [data + STRING_BYTES * index for index in range(int(np.prod(shape)))]
            texts = [
                ctypes.string_at(self.c["StringGetDataPointer"](place), self.c["StringGetSize"](place))
                for place in places
            ]
            array = np.array(texts, object).reshape(shape)
        else:
            content = ctypes.string_at(data, self.c["TensorByteSize"](tensor)) if np.prod(shape) else b""
            array = np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)
        self.c["DeleteTensor"](tensor)
        return array
