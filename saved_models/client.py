#!/usr/bin/env python3
"""Asks a running TensorFlow Serving to classify image files, and prints the classes.

    python client.py --model flowers rose.jpg tulip.png

This one file is the whole client. Over REST it needs Python 3.11 and nothing else; `--grpc` needs the package
`tensorflow-serving-api`. The model is one that `keras-inception export` wrote: its signature `serving_bytes` takes the
files as they are.
"""

import argparse
import base64
import http.client
import json
import math
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

NO_ANSWER = 1  # the server is not there, too slow or broken: the same request may succeed later
BAD_INPUT = 2  # a file, model, version or option is wrong; argparse ends with it too
LONGEST_MESSAGE = 500


class Failed(Exception):  # noqa: N818, it is what the command ends with
    """Why there is no answer, in one line.

    Args:
        message: What went wrong.
        code: The exit code.
    """

    def __init__(self, message, code=BAD_INPUT):
        super().__init__(message)
        self.code = code


def main(argv=None):
    """Runs the command; returns its exit code."""
    arguments = parse(argv)
    try:
        images = [read(path) for path in arguments.images]
        rows = ask_grpc(arguments, images) if arguments.grpc else ask_rest(arguments, images)
        answers = [named(row, arguments) for row in rows]
        if len(answers) != len(images):
            raise Failed(f"the server answered for {len(answers)} images instead of {len(images)}", NO_ANSWER)
    except Failed as error:
        complain(error)
        return error.code
    return show(arguments, answers)


def parse(argv):
    """Returns the options."""
    parser = argparse.ArgumentParser(
        description="Ask a running TensorFlow Serving to classify image files, all in one request.",
        epilog="Exit code: 0 all classified, 1 no answer from the server, 2 something in the request is wrong.",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="JPEG, PNG, BMP, GIF or WebP files")
    parser.add_argument("--model", required=True, metavar="NAME", help="name under which the model is served")
    parser.add_argument("--host", default="localhost", help="where the server runs (localhost)")
    parser.add_argument("--port", type=int, help="its port (8501, with --grpc 8500)")
    parser.add_argument("--url", help="in place of --host and --port, as https://example.com/serving")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="number of the version (the highest that is served)")
    which.add_argument("--label", help="label of the version, as stable")
    parser.add_argument("--signature", default="serving_bytes", metavar="NAME",
                        help="signature that takes `image_bytes` (serving_bytes)")  # fmt: skip
    parser.add_argument("--grpc", action="store_true", help="ask over gRPC (pip install tensorflow-serving-api)")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many classes to print (3)")
    parser.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="how long to wait (30)")
    parser.add_argument("--json", action="store_true", help="print one JSON array, for programs")
    arguments = parser.parse_args(argv)
    if arguments.grpc and arguments.url:
        parser.error("--url is for REST; with --grpc give --host and --port")
    if arguments.top < 1:
        parser.error(f"--top must be at least 1. Received: {arguments.top}")
    if not arguments.timeout > 0:
        parser.error(f"--timeout must be more than 0 seconds. Received: {arguments.timeout}")
    if arguments.version is not None and arguments.version < 0:
        parser.error(f"--version must be at least 0. Received: {arguments.version}")
    return arguments


def read(path):
    """Returns the bytes of a file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None


def ask_rest(arguments, images):
    """Asks over REST.

    Args:
        arguments: The options.
        images: The bytes of each file.

    Returns:
        For each image, in order, a dict of the signature's outputs.
    """
    url = rest_url(arguments)
    request = {
        "signature_name": arguments.signature,
        "instances": [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in images],
    }
    body = post(url, json.dumps(request).encode(), arguments)
    try:
        return list(json.loads(body)["predictions"])
    except (ValueError, TypeError, KeyError):
        raise Failed(f"{url} did not answer as TensorFlow Serving does", NO_ANSWER) from None


def rest_url(arguments):
    """Returns where to send the images."""
    server = arguments.url or f"http://{arguments.host}:{arguments.port or 8501}"
    path = f"/v1/models/{urllib.parse.quote(arguments.model, safe='')}"
    if arguments.version is not None:
        path += f"/versions/{arguments.version}"
    if arguments.label is not None:
        path += f"/labels/{urllib.parse.quote(arguments.label, safe='')}"
    return f"{server.rstrip('/')}{path}:predict"


def post(url, body, arguments):
    """Returns the body of the server's answer."""
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=arguments.timeout) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        raise refused(error.read().decode(errors="replace"), error, arguments) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise too_slow(arguments) from None
        raise Failed(f"no server at {url}: {one_line(reason)}", NO_ANSWER) from None
    except ValueError as error:  # an address that is none
        raise Failed(f"{url}: {one_line(error)}") from None


def refused(body, error, arguments):
    """Returns the failure for an answer with an HTTP error."""
    code = NO_ANSWER if error.code >= 500 or error.code == 429 else BAD_INPUT
    try:
        message = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return Failed(f"{error.url} answered HTTP {error.code} {error.reason}", code)
    return Failed(f"the server refused: {explained(message, arguments)}", code)


def ask_grpc(arguments, images):
    """Asks over gRPC; arguments and result as in `ask_rest`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import grpc
        from tensorflow import make_ndarray
        from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
    except ImportError as error:
        raise Failed(f"--grpc needs {error.name}: pip install tensorflow-serving-api") from None
    address = f"{arguments.host}:{arguments.port or 8500}"
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        try:
            answer = PredictionServiceStub(channel).Predict(predict_request(arguments, images), arguments.timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Failed(f"no server at {address}: {one_line(error.details())}", NO_ANSWER) from None
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise too_slow(arguments) from None
            wrong = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE")
            code = BAD_INPUT if error.code().name in wrong else NO_ANSWER
            raise Failed(f"the server refused: {explained(error.details(), arguments)}", code) from None
    outputs = {name: make_ndarray(tensor) for name, tensor in answer.outputs.items()}
    columns = {
        name: [[text.decode() for text in row] for row in array] if array.dtype == object else array.tolist()
        for name, array in outputs.items()
    }
    return [{name: column[index] for name, column in columns.items()} for index in range(len(images))]


def predict_request(arguments, images):
    """Returns the images as the `PredictRequest` of `tensorflow-serving-api`."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    request = PredictRequest()
    request.model_spec.name = arguments.model
    request.model_spec.signature_name = arguments.signature
    if arguments.version is not None:
        request.model_spec.version.value = arguments.version
    if arguments.label is not None:
        request.model_spec.version_label = arguments.label
    tensor = request.inputs["image_bytes"]
    tensor.dtype = DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def named(row, arguments):
    """Returns the likeliest classes of one image with their probabilities, or None where the server masked it."""
    if not isinstance(row, dict) or not {"classes", "scores"} <= set(row):
        raise Failed(f"the signature {arguments.signature} of {arguments.model} names no classes; use serving_bytes")
    if any(math.isnan(score) for score in row["scores"]):
        return None
    return list(zip(row["classes"], row["scores"]))[: arguments.top]


def show(arguments, answers):
    """Prints the classes; returns the exit code."""
    unreadable = [path for path, answer in zip(arguments.images, answers) if answer is None]
    readable = [(path, answer) for path, answer in zip(arguments.images, answers) if answer is not None]
    if arguments.json:
        records = [
            {"file": path, "predictions": [{"class": name, "probability": score} for name, score in answer]}
            for path, answer in readable
        ]
        print(json.dumps(records, indent=2))
    else:
        for path, answer in readable:
            print(f"{path}  " + "  ".join(f"{name} {score:.2%}" for name, score in answer))
    for path in unreadable:
        complain(f"{path}: the server cannot read this image")
    return BAD_INPUT if unreadable else 0


def explained(message, arguments):
    """Returns the server's message in one line, with the names of the files that it gives by index."""
    text = one_line(re.sub(r"\[\[\{\{.*?\}\}\]\]", "", message))
    found = re.search(r"by index in the batch:\]? \[([\d ]+)", text)
    indices = [int(index) for index in found[1].split()] if found else []
    if not indices or max(indices) >= len(arguments.images):
        return text
    return f"{text} ({', '.join(arguments.images[index] for index in indices)})"


def one_line(message):
    """Returns a message without line ends, shortened."""
    text = " ".join(str(message).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


def too_slow(arguments):
    """Returns the failure for an answer that did not come in time."""
    return Failed(f"no answer within {arguments.timeout:g} s; a longer --timeout may help", NO_ANSWER)


def complain(message):
    """Prints an error."""
    print(f"client.py: error: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
