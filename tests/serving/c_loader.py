"""A SavedModel in the C++ loader that TensorFlow Serving uses, through the C API in TensorFlow's wheel."""

import ctypes
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

DIRECTORY = Path(tf.sysconfig.get_lib())
STRING_BYTES = 24  # sizeof(TF_TString)


class Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p))


class Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def library():
    """Returns the C API; its functions return pointers except where said otherwise."""
    framework = ctypes.CDLL(str(next(DIRECTORY.glob("libtensorflow_framework.so*"))), ctypes.RTLD_GLOBAL)
    api = ctypes.CDLL(str(next(DIRECTORY.glob("libtensorflow_cc.so*"))), ctypes.RTLD_GLOBAL)
    functions = {}
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
        kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int, "s": ctypes.c_char_p, "q": ctypes.c_int64}
        kinds |= {"z": ctypes.c_size_t, None: None}
        function = getattr(api, name, None) or getattr(framework, name)
        function.restype, function.argtypes = kinds[result], [kinds[kind] for kind in arguments]
        functions[name.removeprefix("TF_")] = function
    return functions


class Server:
    """A loaded version: `server(signature, name=array)` returns a dict of arrays, or raises `RuntimeError`."""

    def __init__(self, version):
        self.c = library()
        self.status = self.c["NewStatus"]()
        self.graph = self.c["NewGraph"]()
        options = self.c["NewSessionOptions"]()
        tags, meta = (ctypes.c_char_p * 1)(b"serve"), Buffer()
        self.session = self.c["LoadSessionFromSavedModel"](
            options, None, str(version).encode(), tags, 1, self.graph, ctypes.byref(meta), self.status
        )
        self.c["DeleteSessionOptions"](options)
        self._raise()
        meta_graph = meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(meta.data, meta.length))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)(meta.free)(meta.data, meta.length)
        self.signatures = dict(meta_graph.signature_def)
        self.asset_files = [asset.filename for asset in meta_graph.asset_file_def]

    def __call__(self, signature, **inputs):
        definition = self.signatures[signature]
        feeds = [(self._output(definition.inputs[key].name), self._tensor(value)) for key, value in inputs.items()]
        names = list(definition.outputs)
        fetches = (Output * len(names))(*[self._output(definition.outputs[name].name) for name in names])
        results = (ctypes.c_void_p * len(names))()
        self.c["SessionRun"](
            self.session, None,
            (Output * len(feeds))(*[feed[0] for feed in feeds]),
            (ctypes.c_void_p * len(feeds))(*[feed[1] for feed in feeds]), len(feeds),
            fetches, results, len(names), None, 0, None, self.status,
        )  # fmt: skip
        for _, tensor in feeds:
            self.c["DeleteTensor"](tensor)
        self._raise()
        return {name: self._array(result) for name, result in zip(names, results)}

    def close(self):
        """Frees the session and its graph."""
        self.c["CloseSession"](self.session, self.status)
        self.c["DeleteSession"](self.session, self.status)
        self.c["DeleteGraph"](self.graph)
        self.c["DeleteStatus"](self.status)

    def _raise(self):
        if self.c["GetCode"](self.status) != 0:
            message = self.c["Message"](self.status).decode(errors="replace")
            self.c["DeleteStatus"](self.status)
            self.status = self.c["NewStatus"]()
            raise RuntimeError(message)

    def _output(self, name):
        operation, _, index = name.partition(":")
        return Output(self.c["GraphOperationByName"](self.graph, operation.encode()), int(index or 0))

    def _tensor(self, value):
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

    def _array(self, tensor):
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
