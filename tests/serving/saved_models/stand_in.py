"""A stand-in for TensorFlow Serving: what the client and the page ask of its REST and gRPC, over real exports.

Models run in the C++ loader that the server uses. Paths, formats, messages and status codes are those of the server's
sources: `http_rest_api_util.cc`, `http_rest_api_handler.cc`, `predict_util.cc`, `server_core.cc`.
"""

import base64
import contextlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from keras_inception.serving.export.c_loader import Server

INVALID_ARGUMENT, NOT_FOUND = 3, 5  # codes of gRPC
HTTP_STATUS = {INVALID_ARGUMENT: 400, NOT_FOUND: 404}
MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"


class Refused(Exception):  # noqa: N818, it is an answer
    """What the server answers a request with that it cannot serve: a code of gRPC and a message."""


@dataclass
class Model:
    """A model to serve: its versions in the C++ loader, and numbers of versions by label."""

    versions: dict[int, Server]
    labels: dict[str, int] = field(default_factory=dict)


def version_of(models, name, version, label):
    """Returns the number of the version that a request means, and the version."""
    if name in models and label is not None:
        if label not in models[name].labels:
            raise Refused(INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        version = models[name].labels[label]
    versions = models[name].versions if name in models else {}
    if version not in versions and (version is not None or not versions):
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise Refused(NOT_FOUND, f"Servable not found for request: {asked}")
    number = max(versions) if version is None else version
    return number, versions[number]


def predict(version, signature, files):
    """Returns the outputs of a signature by name, for the bytes of image files."""
    if signature not in version.signatures:
        raise Refused(INVALID_ARGUMENT, f'Serving signature name: "{signature}" not found in signature def')
    try:
        return version(signature, image_bytes=files)
    except RuntimeError as error:
        raise Refused(INVALID_ARGUMENT, str(error)) from None


@contextlib.contextmanager
def serve(models):
    """Serves models over REST; gives the port and the list of the bodies that come in."""
    bodies, one_at_a_time = [], threading.Lock()

    def get(found, number, version):
        if found["verb"] == "/metadata":
            signatures = {name: json_format.MessageToDict(value) for name, value in version.signatures.items()}
            return {"model_spec": {"version": number}, "metadata": {"signature_def": signatures}}
        return {"model_version_status": [{"version": str(number), "state": "AVAILABLE"}]}

    def post(found, version, body):
        bodies.append(body)
        request = json.loads(body)
        rows = [row.get("image_bytes", row)["b64"] for row in request["instances"]]
        outputs = predict(version, request["signature_name"], [base64.b64decode(row, validate=True) for row in rows])
        columns = {
            name: (np.char.decode(array.astype(bytes)) if array.dtype == object else array).tolist()
            for name, array in outputs.items()
        }
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(get)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(lambda found, number, version: post(found, version, body))

        def answer(self, work):
            found = re.fullmatch(f"{MODEL}(?P<verb>:predict|/metadata)?", self.path)
            version, label = found["version"], found["label"]
            try:
                with one_at_a_time:
                    spec = unquote(found["name"]), version and int(version), label and unquote(label)
                    status, answer = 200, work(found, *version_of(models, *spec))
            except Refused as error:
                status, answer = HTTP_STATUS[error.args[0]], {"error": error.args[1]}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())  # with NaN where a number is none, as the server writes it

        def log_message(self, *_):
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield http.server_port, bodies
        finally:
            http.shutdown()
            thread.join()


@contextlib.contextmanager
def serve_grpc(models):
    """Serves predict over gRPC, with `tensorflow-serving-api`; gives the port."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    codes = {code.value[0]: code for code in grpc.StatusCode}

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802, the name in the protocol
            spec = request.model_spec
            which = spec.WhichOneof("version_choice")
            number = spec.version.value if which == "version" else None
            label = spec.version_label if which == "version_label" else None
            try:
                _, version = version_of(models, spec.name, number, label)
                files = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
                outputs = predict(version, spec.signature_name, files)
            except Refused as error:
                context.abort(codes[error.args[0]], error.args[1])
            response = predict_pb2.PredictResponse()
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    server = grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
