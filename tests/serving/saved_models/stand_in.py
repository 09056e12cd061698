"""A stand-in for TensorFlow Serving: its REST and gRPC predict, status and metadata, over real exports.

Models run in the C++ loader that the server uses. Paths, formats, messages and status codes are those of the server's
sources: `http_rest_api_util.cc`, `http_rest_api_handler.cc`, `http_server.cc`, `json_tensor.cc`, `predict_util.cc`,
`get_model_status_impl.cc`, `server_core.cc`. It has no batching, one policy of versions a model, and no time limits.
"""

import base64
import contextlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import tensorflow as tf
from c_loader import Server
from google.protobuf import json_format

INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 3, 5, 9  # codes of TensorFlow and of gRPC alike
HTTP_STATUS = {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
               13: 500, 14: 503, 15: 500, 16: 401}  # fmt: skip
MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"


class Refused(Exception):  # noqa: N818, it is an answer
    """What the server answers a request with that it cannot serve."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Version(Server):
    """A loaded version, asked by one thread at a time."""

    def __init__(self, path):
        self._lock = threading.Lock()
        super().__init__(path, threads=1)

    def __call__(self, signature, **inputs):
        with self._lock:
            return super().__call__(signature, **inputs)

    def _raise(self):
        code = self.c["GetCode"](self.status)
        try:
            super()._raise()
        except RuntimeError as error:
            raise Refused(code, str(error)) from None


@dataclass
class Model:
    """A model to serve.

    Attributes:
        name: Its name.
        base_path: The folder of its versions.
        versions: The numbers to serve; empty for the highest one.
        labels: Numbers of versions by label.
    """

    name: str
    base_path: Path
    versions: tuple[int, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)


class StandIn:
    """Serves models until the end of its `with` block.

    Args:
        models: What to serve.
        poll_seconds: How often it looks for new versions.

    Attributes:
        port: The port for REST.
        requests: The bodies of the requests to REST, as they came.
    """

    def __init__(self, *models, poll_seconds=0.05):
        self.requests = []
        self._models = {model.name: model for model in models}
        self._loaded = {model.name: {} for model in models}  # all that ever were, so that no request loses its version
        self._served = {model.name: frozenset() for model in models}
        self._stop = threading.Event()
        self._poll()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"stand_in": self}))
        self._http.daemon_threads = False  # so that closing waits for the requests under way
        self.port = self._http.server_port
        self._threads = [
            threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}),
            threading.Thread(target=self._keep_polling, args=[poll_seconds]),
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._http.shutdown()
        for thread in self._threads:
            thread.join()
        self._http.server_close()
        for versions in self._loaded.values():
            for version in versions.values():
                version.close()

    def predict(self, name, version, label, signature, inputs):
        """Returns the outputs of a signature by name, and the number of the version.

        Args:
            name: The model.
            version: The number of the version, or None.
            label: Its label, or None.
            signature: The name of the signature; empty for `serving_default`.
            inputs: By name arrays, or lists of bytes.
        """
        number, loaded = self.version(name, version, label)
        signature = signature or "serving_default"
        if signature not in loaded.signatures:
            raise Refused(FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        expected = set(loaded.signatures[signature].inputs)
        if set(inputs) != expected:
            raise Refused(
                INVALID_ARGUMENT,
                f"input size does not match signature: {len(inputs)}!={len(expected)} len({{{','.join(inputs)}}}) != "
                f"len({{{','.join(expected)}}}). Sent extra: {{{','.join(set(inputs) - expected)}}}. "
                f"Missing but required: {{{','.join(expected - set(inputs))}}}.",
            )
        return loaded(signature, **inputs), number

    def version(self, name, version, label):
        """Returns the number of a served version, and the version."""
        if name in self._models and label is not None:
            if label not in self._models[name].labels:
                raise Refused(INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
            version = self._models[name].labels[label]
        served = self._served.get(name, ())
        if (version not in served) if version is not None else not served:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused(NOT_FOUND, f"Servable not found for request: {asked}")
        number = max(served) if version is None else version
        return number, self._loaded[name][number]

    def status(self, name, version, label):
        """Returns a `GetModelStatusResponse` as JSON has it."""
        if label is not None:
            version, _ = self.version(name, None, label)
        numbers = sorted(self._loaded.get(name, ()), reverse=True)
        if version is not None and version not in numbers:
            raise Refused(NOT_FOUND, f"Could not find version {version} of model {name}")
        if not numbers:
            raise Refused(NOT_FOUND, f"Could not find any versions of model {name}")
        return {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": "AVAILABLE" if number in self._served[name] else "END",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for number in (numbers if version is None else [version])
            ]
        }

    def metadata(self, name, version, label):
        """Returns a `GetModelMetadataResponse` as JSON has it."""
        number, loaded = self.version(name, version, label)
        signatures = {
            key: json_format.MessageToDict(
                definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for key, definition in loaded.signatures.items()
        }
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(number)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _keep_polling(self, seconds):
        while not self._stop.wait(seconds):
            self._poll()

    def _poll(self):
        for name, model in self._models.items():
            present = {int(path.name) for path in Path(model.base_path).glob("*") if path.name.isdigit()}
            aspired = present & set(model.versions) if model.versions else set(sorted(present)[-1:])
            for number in aspired - set(self._loaded[name]):
                self._loaded[name][number] = Version(Path(model.base_path) / str(number))
            self._served[name] = frozenset(aspired)


class Handler(BaseHTTPRequestHandler):
    """REST."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    stand_in = None

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.stand_in.requests.append(body)
        self._answer(lambda: self._post(body))

    def log_message(self, *_):
        """Says nothing."""

    def _get(self):
        found = re.fullmatch(f"(?i:{MODEL}(?P<metadata>/metadata)?)", self.path)
        if not found:
            raise Refused(INVALID_ARGUMENT, f"Malformed request: GET {self.path}")
        spec = model_spec(found)
        return self.stand_in.metadata(*spec) if found["metadata"] else self.stand_in.status(*spec)

    def _post(self, body):
        found = re.fullmatch(f"(?i:{MODEL}:predict)", self.path)
        if not found:
            raise Refused(INVALID_ARGUMENT, f"Malformed request: POST {self.path}")
        request, spec = parsed(body), model_spec(found)
        _, loaded = self.stand_in.version(*spec)
        signature = request.get("signature_name", "")
        if (signature or "serving_default") not in loaded.signatures:
            raise Refused(INVALID_ARGUMENT, f'Serving signature name: "{signature}" not found in signature def')
        kinds = {
            key: tf.as_dtype(info.dtype)
            for key, info in loaded.signatures[signature or "serving_default"].inputs.items()
        }
        if not kinds:
            raise Refused(INVALID_ARGUMENT, f"Failed to get input map for signature: {signature}")
        outputs, _ = self.stand_in.predict(*spec, signature, inputs_of(request, kinds))
        columns = {key: encoded(key, array) for key, array in sorted(outputs.items())}
        if "inputs" in request:
            return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
        sizes = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
        if len(sizes) > 1 or -1 in sizes:
            raise Refused(INVALID_ARGUMENT, f"Tensor name: {next(iter(columns))} has inconsistent batch size")
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        return {"predictions": rows if len(columns) > 1 else next(iter(columns.values()))}

    def _answer(self, work):
        try:
            status, answer = 200, work()
        except Refused as error:
            status, answer = HTTP_STATUS[error.code], {"error": str(error)}
        body = json.dumps(answer).encode()  # with NaN where a number is none, as the server writes it
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a client that did not wait
            self.wfile.write(body)


def model_spec(found):
    """Returns name, version and label of a path."""
    version, label = found["version"], found["label"]
    return unquote(found["name"]), version and int(version), label and unquote(label)


def parsed(body):
    """Returns a request's JSON object."""
    if not body:
        raise Refused(INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refused(INVALID_ARGUMENT, f"JSON Parse error: {error}") from None
    if not isinstance(request, dict):
        raise Refused(INVALID_ARGUMENT, f"JSON Value: {json.dumps(request)} Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise Refused(INVALID_ARGUMENT, "not formatted correctly. 'signature_name' key must be a string value.")
    return request


def inputs_of(request, kinds):
    """Returns a request's tensors by name.

    Args:
        request: A JSON object with `"instances"` (rows) or `"inputs"` (columns).
        kinds: The type of each input of the signature.
    """
    if "instances" in request and "inputs" in request:
        raise Refused(
            INVALID_ARGUMENT,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if "inputs" in request:
        columns = request["inputs"]
        if not isinstance(columns, dict) or is_base64(columns):
            columns = {next(iter(kinds)): columns}
        for name in kinds:
            if name not in columns:
                raise Refused(INVALID_ARGUMENT, f"Missing named input: {name} in 'inputs' object.")
        return {name: tensor(columns[name], kind) for name, kind in kinds.items()}
    if "instances" not in request:
        raise Refused(INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")
    return inputs_of_rows(request["instances"], kinds)


def inputs_of_rows(rows, kinds):
    """Returns the tensors of a list of instances by name."""
    if not isinstance(rows, list):
        raise Refused(INVALID_ARGUMENT, "Excepting 'instances' to be an list/array")
    if not rows:
        raise Refused(INVALID_ARGUMENT, "No values in 'instances' array")
    rows = [row if isinstance(row, dict) and not is_base64(row) else {next(iter(kinds)): row} for row in rows]
    for index, row in enumerate(rows):
        for name in row:
            if name not in kinds:
                raise Refused(
                    INVALID_ARGUMENT,
                    f"Failed to process element: {index} key: {name} of 'instances' list. Error: INVALID_ARGUMENT: "
                    f"JSON object: does not have named input: {name}",
                )
        if set(row) != set(kinds):
            raise Refused(
                INVALID_ARGUMENT,
                f"Failed to process element: {index} of 'instances' list. JSON object: {json.dumps(row)} keys must be "
                f"equal to: {','.join(sorted(kinds))}",
            )
    return {name: tensor([row[name] for row in rows], kind) for name, kind in kinds.items()}


def tensor(value, kind):
    """Returns a JSON value as an array, or a list of strings as a list of bytes."""
    if kind == tf.string:
        if not isinstance(value, list) or any(isinstance(element, list) for element in value):
            raise Refused(INVALID_ARGUMENT, "Encountered list at unexpected level: 1 expected < 1")
        return [to_bytes(element) for element in value]
    try:
        array = np.array(value)
    except ValueError:
        raise Refused(INVALID_ARGUMENT, "Encountered list at unexpected size") from None
    if array.dtype.kind not in "if":
        raise Refused(INVALID_ARGUMENT, f"JSON Value: Type: Object is not of expected type: {kind.name}")
    return array.astype(kind.as_numpy_dtype)


def to_bytes(value):
    """Returns a JSON string, or a `{"b64": ...}`, as bytes."""
    if isinstance(value, str):
        return value.encode()
    if not is_base64(value):
        raise Refused(INVALID_ARGUMENT, f"JSON Value: {json.dumps(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise Refused(INVALID_ARGUMENT, "Unable to base64 decode") from None


def is_base64(value):
    """Returns whether a JSON value is a `{"b64": ...}`."""
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def encoded(name, array):
    """Returns an array as JSON has it: strings of outputs whose names end in `_bytes` as base64."""
    if array.dtype != object:
        return array.tolist()
    if name.endswith("_bytes"):
        return np.vectorize(lambda text: {"b64": base64.b64encode(text).decode()}, otypes=[object])(array).tolist()
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist()


@contextlib.contextmanager
def grpc_port(stand_in):
    """Serves predict over gRPC too, with `tensorflow-serving-api`; yields the port."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    codes = {code.value[0]: code for code in grpc.StatusCode}

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802, the name in the protocol
            spec = request.model_spec
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            inputs = {name: array.tolist() if array.dtype == object else array for name, array in inputs.items()}
            which = spec.WhichOneof("version_choice")
            try:
                outputs, number = stand_in.predict(
                    spec.name,
                    spec.version.value if which == "version" else None,
                    spec.version_label if which == "version_label" else None,
                    spec.signature_name,
                    inputs,
                )
            except Refused as error:
                context.abort(codes[error.code], str(error))
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.signature_name = spec.name, spec.signature_name
            response.model_spec.version.value = number
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
