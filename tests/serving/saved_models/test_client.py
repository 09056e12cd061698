"""The client, against a stand-in that serves real exports over TensorFlow Serving's protocol."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from stand_in import serve_grpc

from keras_inception.serving.classifier import Classifier

CLIENT = Path(__file__).parents[3] / "saved_models" / "client.py"
VERSIONS = [([], 2), (["--version", 1], 1), (["--label", "stable"], 1), (["--label", "canary"], 2)]
NOT_SERVED = [
    (["--model", "trees"], "the server refused: Servable not found for request: Latest(trees)"),
    (["--model", "a/b c"], "Servable not found for request: Latest(a/b c)"),
    (["--model", "flowers", "--version", 7], "Servable not found for request: Specific(flowers, 7)"),
    (["--model", "flowers", "--label", "old"], "Unrecognized servable version label: old"),
]


@pytest.fixture(scope="module")
def images(files):
    return [files[name] for name in ("a.jpg", "b.png", "c.webp")]


@pytest.fixture(scope="module")
def expected(model, images):
    """What `keras-inception predict --json` prints for the three images."""
    return [
        {"file": str(path), "predictions": [{"class": name, "probability": score} for name, score in answer]}
        for path, answer in Classifier(model).predict_files(images, top=3)
    ]


@pytest.fixture(scope="module")
def grpc(models):
    """The address for gRPC."""
    pytest.importorskip("tensorflow_serving.apis", exc_type=ImportError)
    with serve_grpc(models) as port:
        yield f"localhost:{port}"


def assert_same(printed, expected, top=3):
    assert [record["file"] for record in printed] == [record["file"] for record in expected]
    for one, other in zip(printed, expected):
        found, wanted = one["predictions"], other["predictions"][:top]
        assert [entry["class"] for entry in found] == [entry["class"] for entry in wanted]
        np.testing.assert_allclose(  # the export folds batch normalization and resizes in the graph
            [entry["probability"] for entry in found], [entry["probability"] for entry in wanted], atol=1e-4
        )


def assert_fails(outcome, code, *texts):
    """Asserts that a run ended with a code and one line that holds some texts."""
    assert outcome[:2] == (code, "")
    assert outcome[2].startswith("client.py: error: ")
    assert outcome[2].count("\n") == 1
    for text in texts:
        assert str(text) in outcome[2]


def test_it_prints_what_predict_prints(ask, images, expected):
    code, out, err = ask("--model", "plain", *images)
    assert (code, err) == (0, "")
    for line, record in zip(out.splitlines(), expected, strict=True):
        path, *answers = line.split("  ")
        assert path == record["file"]
        assert [answer.split()[0] for answer in answers] == [entry["class"] for entry in record["predictions"]]
        assert answers[0].endswith("%")


def test_all_images_go_in_one_request_and_answers_keep_their_order(ask, rest, images, expected):
    before = len(rest[1])
    _, out, _ = ask("--model", "plain", "--json", *images[::-1])
    assert len(rest[1]) == before + 1
    assert_same(json.loads(out), expected[::-1])


@pytest.mark.parametrize(("options", "version"), VERSIONS)
def test_it_asks_for_a_version_and_as_many_classes_as_are_named(ask, images, expected, options, version):
    code, out, _ = ask("--model", "flowers", "--json", *options, *images)
    assert code == 0
    assert_same(json.loads(out), expected, top={1: 3, 2: 2}[version])  # version 2 names two
    _, out, _ = ask("--model", "flowers", "--json", "--top", 1, *options, *images)
    assert_same(json.loads(out), expected, top=1)


def test_it_runs_with_the_standard_library_alone(rest, images, expected, tmp_path):
    """Copied away, in an interpreter that sees no installed packages and no environment."""
    shutil.copy(CLIENT, tmp_path)
    command = [sys.executable, "-I", "-S", "client.py", "--server", f"http://127.0.0.1:{rest[0]}/", "--model", "plain"]
    run = subprocess.run([*command, "--json", *images], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert_same(json.loads(run.stdout), expected)


@pytest.mark.parametrize(("options", "text"), NOT_SERVED)
def test_what_the_server_does_not_serve_fails_with_its_message(ask, images, options, text):
    assert_fails(ask(*options, images[0]), 2, text)


def test_unreadable_images_are_named_and_where_they_are_masked_the_others_classified(ask, files, images, expected):
    outcome = ask("--model", "plain", files["a.jpg"], files["broken.jpg"], files["b.png"], files["notes.txt"])
    named = f"({files['broken.jpg']}, {files['notes.txt']})"
    assert_fails(outcome, 2, "Not readable, by index in the batch:", "[1 3]", named)
    assert "node" not in outcome[2]
    code, out, err = ask("--model", "flowers", "--json", images[0], files["notes.txt"], *images[1:])
    assert code == 2
    assert_same(json.loads(out), expected, top=2)
    assert err == f"client.py: error: {files['notes.txt']}: the server cannot read this image\n"


def test_what_is_no_file_or_too_large_fails_before_the_server_is_asked(ask, rest, client, images, tmp_path):
    before = len(rest[1])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", client.MOST_BYTES)
    for path, text in (
        (tmp_path / "none.jpg", "none.jpg: No such file"),
        (tmp_path / "pipe", "it is no file but a folder, pipe, socket or device"),
        (tmp_path, "it is no file"),
        ("/dev/zero", "/dev/zero: it is no file"),
        (tmp_path / "huge.jpg", "must have at most 1,073,741,824 bytes together"),
        ("", "'': No such file"),
        ("x" * 300, "File name too long"),
        ("a\0b", "embedded null byte"),
    ):
        assert_fails(ask("--model", "plain", images[0], path), 2, text)
    assert len(rest[1]) == before


def test_no_server_a_slow_one_an_address_that_is_none_and_grpc_without_its_package_fail(ask, images, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://localhost:{silent.getsockname()[1]}"
        outcome = ask("--model", "plain", "--timeout", 0.2, images[0], server=address)
        assert_fails(outcome, 1, "no answer within 0.2 s")
    url = f"{address}/v1/models/plain:predict"
    assert_fails(ask("--model", "plain", images[0], server=address), 1, f"no server at {url}: ", "refused")
    for address in ("http://localhost:port", "http://a..b", "http://[::1", "http://local host"):
        outcome = ask("--model", "plain", images[0], server=address)
        assert_fails(outcome, 2, "--server must be an address such as http://localhost:8501")
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    outcome = ask("--model", "plain", "--grpc", images[0])
    assert_fails(outcome, 2, "--grpc needs tensorflow_serving", "pip install tensorflow-serving-api")


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        ("200 OK", "<html>welcome</html>", 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", '{"predictions": 1}', 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", '{"predictions": []}', 1, "the server answered for 0 images instead of 1"),
        ("200 OK", '{"predictions": [[0.5]]}', 2, "names no classes"),
        ("200 OK", '{"predictions": [{"classes": 1, "scores": [1]}]}', 2, "names no classes"),
        ("200 OK", '{"predictions": [{"classes": ["ant"], "scores": [null]}]}', 2, "cannot read this image"),
        ("200 OK", '{"predictions": [{"classes": ["ant"], "scores": [NaN]}]}', 2, "cannot read this image"),
        *(
            ("200 OK", f'{{"predictions": [{{"classes": {classes}, "scores": {scores}}}]}}', 2, "names no classes")
            for classes, scores in (
                ('["ant"]', '["0.5"]'),
                ('["ant"]', "[true]"),
                ('["ant"]', "[1e999]"),
                ('["ant"]', f"[1{'0' * 400}]"),
                ('["ant", "bee"]', "[0.5, null]"),
                ('["ant", "bee"]', "[0.5]"),
                ("[]", "[]"),
                ("[1]", "[0.5]"),
            )
        ),
        ("200 OK", '{"predictions": ' + "[" * 200_000, 1, "did not answer as TensorFlow Serving does"),
        ("404 Not Found", '{"error": ' + "[" * 200_000, 2, "HTTP 404 Not Found"),
        ("404 Not Found", '{"error": 1}', 2, "HTTP 404 Not Found"),
        ("502 Bad Gateway", "<html>", 1, "HTTP 502 Bad Gateway"),
        ("503 Service Unavailable", '{"error": "The batch scheduling queue is full"}', 1, "refused: The batch"),
        ("404 Not Found", '["error"]', 2, "HTTP 404 Not Found"),
        ("400 Bad Request", json.dumps({"error": "long\n" * 999}), 2, "long long long"),
    ],
)
def test_other_answers_fail_in_one_line(ask, images, status, body, code, text):
    with answering(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}") as address:
        outcome = ask("--model", "plain", images[0], server=address)
    assert_fails(outcome, code, text)
    assert len(outcome[2]) < 600


@contextlib.contextmanager
def answering(*parts, seconds=0.0):
    """Answers one request with some texts and a pause after each; gives the address."""

    def answer():
        connection, _ = listening.accept()
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as request:  # the client may be gone
            headers = dict(line.lower().split(b": ", 1) for line in iter(request.readline, b"\r\n") if b": " in line)
            request.read(int(headers[b"content-length"]))
            for part in parts:
                connection.sendall(part.encode())
                time.sleep(seconds)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://localhost:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("begin", ["", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"])
def test_the_timeout_is_for_the_whole_answer(ask, images, begin):
    with answering(begin, *"H" * 30, seconds=0.03) as address:
        outcome = ask("--model", "plain", "--timeout", 0.3, images[0], server=address)
    assert_fails(outcome, 1, "no answer within 0.3 s")


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        ("> /dev/full", 2, "client.py: error: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
        ("> /dev/full 2> /dev/full", 2, ""),
        ("> /dev/full 2>&-", 2, ""),
        ("", 0, ""),
    ],
)
def test_output_that_goes_nowhere_is_one_line_or_none(images, redirection, code, error):
    body = '{"predictions": [{"classes": ["h\u00e4us"], "scores": [0.5]}]}'
    length = len(body.encode())
    with answering(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}") as address:
        client = shlex.join([sys.executable, str(CLIENT), "--server", address, "--model", "plain", str(images[0])])
        line = f"set -o pipefail; {client} {redirection}"
        environment = {**os.environ, "no_proxy": "*", "PYTHONIOENCODING": "ascii"}
        finished = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (code, error)
    assert finished.stdout == ("" if redirection else f"{images[0]}  h\\xe4us 50.00%\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--top", "0"], "--top must be at least 1. Received: 0"),
        *(
            (["--timeout", value], "--timeout must be above 0 and at most 86400 seconds. Received: ")
            for value in ("nan", "inf", "0", "-1", "1e300")
        ),
        *(
            (["--version", value], "--version must be at least 0 and below 2**63. Received: ")
            for value in ("-1", str(2**63))
        ),
        (["--version", "one"], "invalid int value"),
        *(
            ([option, value], f"{option} must be a name without line breaks, and not empty. Received: ")
            for option in ("--model", "--server", "--label")
            for value in ("", "a\nb", "\udcff")
        ),
        *((["--server", value], "--server must be an address such as http") for value in ("localhost", "file:///etc")),
        (["--version", "1", "--label", "stable"], "not allowed with argument"),
    ],
)
def test_options_out_of_range_are_refused(client, capsys, options, text):
    with pytest.raises(SystemExit) as end:
        client.main(["--model", "plain", *options, "a.jpg"])
    assert end.value.code == 2
    assert text in capsys.readouterr().err


def test_an_interrupted_client_says_so(client, ask, monkeypatch):
    def interrupted(paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "read_images", interrupted)
    assert_fails(ask("--model", "plain", "a.jpg"), 130, "interrupted")


@pytest.mark.slow
def test_grpc_answers_and_fails_as_rest_does(ask, grpc, files, images, expected):
    for options, version in VERSIONS:
        code, out, err = ask("--grpc", "--model", "flowers", "--json", *options, *images, server=grpc)
        assert (code, err) == (0, "")
        assert_same(json.loads(out), expected, top={1: 3, 2: 2}[version])
    for options, text in NOT_SERVED:
        assert_fails(ask("--grpc", *options, images[0], server=grpc), 2, text)
    outcome = ask("--grpc", "--model", "plain", files["a.jpg"], files["notes.txt"], server=grpc)
    assert_fails(outcome, 2, "Not readable, by index in the batch:", f"({files['notes.txt']})")
    code, out, err = ask("--grpc", "--model", "flowers", "--json", files["notes.txt"], *images, server=grpc)
    assert (code, err) == (2, f"client.py: error: {files['notes.txt']}: the server cannot read this image\n")
    assert_same(json.loads(out), expected, top=2)


@pytest.mark.slow
def test_grpc_without_a_server_or_in_too_short_a_time_fails(ask, grpc, images):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"localhost:{unused.getsockname()[1]}"
        outcome = ask("--grpc", "--model", "plain", images[0], server=address)
        assert_fails(outcome, 1, f"no server at {address}: ")
    outcome = ask("--grpc", "--model", "plain", "--timeout", 0.0001, *images, server=grpc)
    assert_fails(outcome, 1, "no answer within 0.0001 s")


@pytest.mark.slow
def test_a_grpc_request_holds_the_files_as_they_are(client, grpc):
    from tensorflow import make_ndarray

    arguments = client.parse(["--grpc", "--model", "flowers", "--version", "0", "x", "y"])
    request = client.predict_request(arguments, [b"one\x00", b""])  # NumPy's own strings would lose the zero
    assert make_ndarray(request.inputs["image_bytes"]).tolist() == [b"one\x00", b""]
    assert not request.output_filter  # a filter would go past the server's batching
    assert request.model_spec.HasField("version")
    assert request.model_spec.version.value == 0
