#!/usr/bin/env python3
"""Asks a running TensorFlow Serving to classify image files, and prints the classes.

    python client.py --model flowers rose.jpg tulip.png

This one file is the whole client. Over REST it needs Python 3.11 and nothing else; `--grpc` needs the package
`tensorflow-serving-api`. The model is one that `keras-inception export` wrote: its signature `serving_bytes` takes the
files as they are.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import stat
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import quote

NO_ANSWER = 1  # the server is not there, too slow or broken: the same request may succeed later
BAD_INPUT = 2  # a file, model, version or option is wrong, or the output cannot be written; argparse ends with it too
INTERRUPTED = 130  # by Ctrl-C
LONGEST_MESSAGE = 500
LONGEST_WAIT = 86_400  # a day
MOST_BYTES = 2**30  # a request of gRPC holds at most 2 GiB, and over REST files are a third larger


class Failed(Exception):  # noqa: N818, it is what the command ends with
    """Why there is no answer, in one line, and the exit code."""

    def __init__(self, message, code=BAD_INPUT):
        text = " ".join(str(message).split())
        super().__init__(text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ...")
        self.code = code


def main(argv=None):
    """Runs the command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is closed
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show is escaped
    arguments = parse(argv)
    try:
        images = read_images(arguments.images)
        rows = ask_grpc(arguments, images) if arguments.grpc else ask_rest(arguments, images)
        answers = [top_classes(row, arguments) for row in rows]
        if len(answers) != len(images):
            raise Failed(f"the server answered for {len(answers)} images instead of {len(images)}", NO_ANSWER)
        return show(arguments, answers)
    except Failed as error:
        complain(error)
        return error.code
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def parse(argv):
    """Returns the options."""
    parser = argparse.ArgumentParser(
        description="Ask a running TensorFlow Serving to classify image files, all in one request.",
        epilog="Exit code: 0 all classified, 1 no answer from the server, 2 something in the request is wrong or the "
        "output cannot be written, 130 interrupted.",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="JPEG, PNG, BMP, GIF or WebP files")
    parser.add_argument("--model", required=True, metavar="NAME", help="name under which the model is served")
    parser.add_argument("--server", metavar="ADDRESS",
                        help="where it runs (http://localhost:8501, with --grpc localhost:8500)")  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="number of the version (the highest that is served)")
    which.add_argument("--label", help="label of the version, as stable")
    parser.add_argument("--grpc", action="store_true", help="ask over gRPC (pip install tensorflow-serving-api)")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="how many classes to print (3)")
    parser.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="how long to wait in all (30)")
    parser.add_argument("--json", action="store_true", help="print one JSON array, for programs")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        parser.error(f"--top must be at least 1. Received: {arguments.top}")
    if not 0 < arguments.timeout <= LONGEST_WAIT:
        parser.error(f"--timeout must be above 0 and at most {LONGEST_WAIT} seconds. Received: {arguments.timeout}")
    if arguments.version is not None and not 0 <= arguments.version < 2**63:
        parser.error(f"--version must be at least 0 and below 2**63. Received: {arguments.version}")
    for name in ("model", "server", "label"):
        value = getattr(arguments, name)
        if value is not None and (not value or not value.isprintable()):
            parser.error(f"--{name} must be a name without line breaks, and not empty. Received: {value!r}")
    arguments.server = arguments.server or ("localhost:8500" if arguments.grpc else "http://localhost:8501")
    if not arguments.grpc and not arguments.server.startswith(("http://", "https://")):
        parser.error(f"--server must be an address such as http://localhost:8501. Received: {arguments.server}")
    return arguments


def read_images(paths):
    """Returns the bytes of the files; refuses what is no file, whose reading might never end, and too large ones."""
    images, rest = [], MOST_BYTES
    for path in paths:
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Failed(f"{path}: it is no file but a folder, pipe, socket or device")
            rest -= status.st_size
            if rest < 0:
                raise Failed(f"{path}: the files of a request must have at most {MOST_BYTES:,} bytes together")
            images.append(Path(path).read_bytes())
        except (OSError, ValueError) as error:  # the latter of a name that no system has
            raise Failed(f"{path or repr(path)}: {getattr(error, 'strerror', None) or error}") from None
    return images


def ask_rest(arguments, images):
    """Asks over REST; takes the bytes of the files, returns for each image a dict of the signature's outputs."""
    path = f"/v1/models/{quote(arguments.model, safe='')}"
    if arguments.version is not None:
        path += f"/versions/{arguments.version}"
    if arguments.label is not None:
        path += f"/labels/{quote(arguments.label, safe='')}"
    url = arguments.server.rstrip("/") + path + ":predict"
    instances = [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in images]
    body = json.dumps({"signature_name": "serving_bytes", "instances": instances}).encode()
    try:
        status, reason, text = within(arguments.timeout, lambda: post(url, body, arguments.timeout))
    except (ValueError, http.client.InvalidURL) as error:
        raise Failed(f"--server must be an address such as http://localhost:8501: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(why, TimeoutError):
            raise too_slow(arguments) from None
        raise Failed(f"no server at {url}: {why}", NO_ANSWER) from None
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if status >= 400:
        code = NO_ANSWER if status >= 500 or status == 429 else BAD_INPUT
        if not isinstance(answer.get("error"), str):
            raise Failed(f"{url} answered HTTP {status} {reason}", code)
        raise Failed(f"the server refused: {explained(answer['error'], arguments)}", code)
    if not isinstance(answer.get("predictions"), list):
        raise Failed(f"{url} did not answer as TensorFlow Serving does", NO_ANSWER)
    return answer["predictions"]


def post(url, body, timeout):
    """Returns status, reason and body of the answer to a request."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.reason, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.reason, error.read()


def within(seconds, work):
    """Returns what `work()` returns; the timeout of a socket counts anew with each part that it receives."""
    future = Future()

    def run():
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


def ask_grpc(arguments, images):
    """Asks over gRPC; arguments and result as in `ask_rest`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import grpc
        from tensorflow import make_ndarray
        from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
    except ImportError as error:
        raise Failed(f"--grpc needs {error.name}: pip install tensorflow-serving-api") from None
    with grpc.insecure_channel(arguments.server, [("grpc.max_receive_message_length", -1)]) as channel:
        try:
            answer = PredictionServiceStub(channel).Predict(predict_request(arguments, images), arguments.timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Failed(f"no server at {arguments.server}: {error.details()}", NO_ANSWER) from None
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise too_slow(arguments) from None
            wrong = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE")
            code = BAD_INPUT if error.code().name in wrong else NO_ANSWER
            raise Failed(
                f"the server refused: {explained(error.details() or error.code().name, arguments)}", code
            ) from None
    try:
        columns = {name: make_ndarray(answer.outputs[name]).tolist() for name in ("classes", "scores")}
        return [
            {"classes": [name.decode() for name in names], "scores": scores}
            for names, scores in zip(columns["classes"], columns["scores"])
        ]
    except (TypeError, ValueError, AttributeError):
        raise no_classes(arguments) from None


def predict_request(arguments, images):
    """Returns the images as the `PredictRequest` of `tensorflow-serving-api`."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    request = PredictRequest()
    request.model_spec.name = arguments.model
    request.model_spec.signature_name = "serving_bytes"
    if arguments.version is not None:
        request.model_spec.version.value = arguments.version
    if arguments.label is not None:
        request.model_spec.version_label = arguments.label
    tensor = request.inputs["image_bytes"]
    tensor.dtype = DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def top_classes(row, arguments):
    """Returns the likeliest classes of one image with their probabilities, or None where the server masked it."""
    names, scores = (row.get("classes"), row.get("scores")) if isinstance(row, dict) else (None, None)
    if not isinstance(names, list) or not isinstance(scores, list) or not 0 < len(names) == len(scores):
        raise no_classes(arguments)
    if all(score is None or score != score for score in scores):  # not a number
        return None
    if not all(isinstance(name, str) for name in names) or not all(
        type(score) in (int, float) and abs(score) < 1e9
        for score in scores  # finite, and can be printed
    ):
        raise no_classes(arguments)
    return list(zip(names, scores))[: arguments.top]


def no_classes(arguments):
    """Returns the failure for an answer without names and probabilities."""
    return Failed(f"{arguments.model} names no classes; serve what `keras-inception export` wrote")


def show(arguments, answers):
    """Prints the classes; returns the exit code."""
    readable = [(path, answer) for path, answer in zip(arguments.images, answers) if answer is not None]
    if arguments.json:
        records = [
            {"file": path, "predictions": [{"class": name, "probability": score} for name, score in answer]}
            for path, answer in readable
        ]
        lines = [json.dumps(records, indent=2)]
    else:
        lines = [f"{path}  " + "  ".join(f"{name} {score:.2%}" for name, score in answer) for path, answer in readable]
    try:
        print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
        raise Failed(f"the output cannot be written: {error.strerror}") from None
    unreadable = [path for path, answer in zip(arguments.images, answers) if answer is None]
    for path in unreadable:
        complain(f"{path}: the server cannot read this image")
    return BAD_INPUT if unreadable else 0


def explained(message, arguments):
    """Returns the server's message with the names of the files that it gives by index, without TensorFlow's nodes."""
    text = re.sub(r"\[\[\{\{.*?\}\}\]\]", "", message)
    found = re.search(r"by index in the batch:\]? \[([\d ]+)", text)
    named = [path for index, path in enumerate(arguments.images) if found and str(index) in found[1].split()]
    return f"{text} ({', '.join(named)})" if named else text


def too_slow(arguments):
    """Returns the failure for an answer that did not come in time."""
    return Failed(f"no answer within {arguments.timeout:g} s; a longer --timeout may help", NO_ANSWER)


def complain(message):
    """Prints an error; where standard error is closed or full, the exit code says it."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            print(f"client.py: error: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
