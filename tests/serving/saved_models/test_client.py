"""The client, against a stand-in that serves real exports over TensorFlow Serving's protocol."""

import functools
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from stand_in import Model, StandIn

from keras_inception.serving.classifier import Classifier

CLIENT = Path(__file__).parents[3] / "saved_models" / "client.py"
IMAGES = ("a.jpg", "b.png", "c.webp")


@pytest.fixture(scope="module")
def images(files):
    return [files[name] for name in IMAGES]


@pytest.fixture(scope="module")
def expected(networks, images):
    """Returns `expected(version)`: what `keras-inception predict --json` prints for the three images."""

    @functools.cache
    def records(version):
        answers = Classifier(networks[version - 1]).predict_files(images, top=3)
        return [
            {"file": str(path), "predictions": [{"class": name, "probability": score} for name, score in answer]}
            for path, answer in answers
        ]

    return records


def assert_same(printed, expected):
    assert [record["file"] for record in printed] == [record["file"] for record in expected]
    for one, other in zip(printed, expected):
        assert [entry["class"] for entry in one["predictions"]] == [entry["class"] for entry in other["predictions"]]
        np.testing.assert_allclose(  # the export folds batch normalization and resizes in the graph
            [entry["probability"] for entry in one["predictions"]],
            [entry["probability"] for entry in other["predictions"]],
            atol=1e-4,
        )


def assert_fails(outcome, code, *texts):
    """Asserts that a run ended with a code and one line that holds some texts."""
    assert outcome[:2] == (code, "")
    assert outcome[2].startswith("client.py: error: ")
    assert outcome[2].count("\n") == 1
    for text in texts:
        assert str(text) in outcome[2]


def test_it_prints_what_predict_prints(ask, images, expected):
    code, out, err = ask("--model", "flowers", *images)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 3
    for line, record in zip(lines, expected(2)):
        path, *answers = line.split("  ")
        assert path == record["file"]
        assert [answer.split()[0] for answer in answers] == [entry["class"] for entry in record["predictions"]]
        assert answers[0].endswith("%")


def test_all_images_go_in_one_request_and_answers_keep_their_order(ask, server, images, expected):
    before = len(server.requests)
    code, out, _ = ask("--model", "flowers", "--json", *images)
    assert code == 0
    assert len(server.requests) == before + 1
    assert_same(json.loads(out), expected(2))
    code, out, _ = ask("--model", "flowers", "--json", *images[::-1])
    assert_same(json.loads(out), expected(2)[::-1])


@pytest.mark.parametrize(
    ("options", "version"), [(["--version", 1], 1), (["--label", "stable"], 1), (["--label", "canary"], 2), ([], 2)]
)
def test_it_asks_for_a_version(ask, images, expected, options, version):
    code, out, _ = ask("--model", "flowers", "--json", *options, *images)
    assert code == 0
    assert_same(json.loads(out), expected(version))


def test_top_says_how_many_classes(ask, images):
    for top, count in ((1, 1), (5, 5), (99, 5)):  # the export names five
        _, out, _ = ask("--model", "flowers", "--json", "--top", top, images[0])
        assert len(json.loads(out)[0]["predictions"]) == count


def test_it_runs_with_the_standard_library_alone(server, images, expected, tmp_path):
    """Copied away, in an interpreter that sees no installed packages and no environment."""
    shutil.copy(CLIENT, tmp_path)
    url = f"http://127.0.0.1:{server.port}/"
    command = [sys.executable, "-I", "-S", "client.py", "--url", url, "--model", "flowers", "--json", *images]
    run = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert_same(json.loads(run.stdout), expected(2))
    command[command.index("flowers")] = "trees"
    run = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert_fails((run.returncode, run.stdout, run.stderr), 2, "Servable not found for request: Latest(trees)")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "trees"], "the server refused: Servable not found for request: Latest(trees)"),
        (["--model", "flowers", "--version", 7], "Servable not found for request: Specific(flowers, 7)"),
        (["--model", "flowers", "--label", "old"], "Unrecognized servable version label: old"),
        (["--model", "flowers", "--signature", "words"], 'Serving signature name: "words" not found'),
        (["--model", "flowers", "--signature", "features"], "does not have named input: image_bytes"),
        (["--model", "a/b c"], "Servable not found for request: Latest(a/b c)"),
    ],
)
def test_what_the_server_does_not_serve_fails_with_its_message(ask, images, options, text):
    assert_fails(ask(*options, images[0]), 2, text)


def test_unreadable_images_are_named(ask, files):
    outcome = ask("--model", "flowers", files["a.jpg"], files["broken.jpg"], files["b.png"], files["notes.txt"])
    assert_fails(
        outcome, 2, "Not readable, by index in the batch:", "[1 3]", f"({files['broken.jpg']}, {files['notes.txt']})"
    )
    assert "node" not in outcome[2]


def test_where_the_server_masks_unreadable_images_the_others_are_classified(ask, files, images, expected):
    code, out, err = ask("--model", "masked", "--json", images[0], files["notes.txt"], *images[1:])
    assert code == 2
    assert_same(json.loads(out), expected(1))
    assert err == f"client.py: error: {files['notes.txt']}: the server cannot read this image\n"


def test_a_missing_file_fails_before_the_server_is_asked(ask, server, images, tmp_path):
    before = len(server.requests)
    assert_fails(ask("--model", "flowers", images[0], tmp_path / "none.jpg"), 2, "none.jpg: No such file")
    assert_fails(ask("--model", "flowers", tmp_path), 2, "Is a directory")
    assert len(server.requests) == before


def test_a_server_that_is_not_there_fails(ask, images):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        port = unused.getsockname()[1]
        outcome = ask("--model", "flowers", images[0], port=port)
    assert_fails(outcome, 1, f"no server at http://localhost:{port}/v1/models/flowers:predict: ", "refused")


def test_a_server_that_is_too_slow_fails(ask, images):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        outcome = ask("--model", "flowers", "--timeout", 0.2, images[0], port=silent.getsockname()[1])
        assert time.monotonic() - start < 5
    assert_fails(outcome, 1, "no answer within 0.2 s")


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        ("200 OK", "<html>welcome</html>", 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", "[]", 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", '{"predictions": 1}', 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", '{"outputs": []}', 1, "did not answer as TensorFlow Serving does"),
        ("200 OK", '{"predictions": []}', 1, "the server answered for 0 images instead of 1"),
        ("200 OK", '{"predictions": [[0.5]]}', 2, "names no classes"),
        ("502 Bad Gateway", "<html>", 1, "HTTP 502 Bad Gateway"),
        ("503 Service Unavailable", '{"error": "The batch scheduling queue is full"}', 1, "refused: The batch"),
        ("404 Not Found", '["error"]', 2, "HTTP 404 Not Found"),
        ("400 Bad Request", json.dumps({"error": "long\n" * 999}), 2, "long long long"),
    ],
)
def test_other_answers_fail_in_one_line(ask, images, status, body, code, text):
    def answer():
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as request:
            length = 0
            for line in iter(request.readline, b"\r\n"):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            request.read(length)
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        outcome = ask("--model", "flowers", images[0], port=listening.getsockname()[1])
        thread.join()
    assert_fails(outcome, code, text)
    assert len(outcome[2]) < 600


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--top", "0"], "--top must be at least 1. Received: 0"),
        (["--timeout", "0"], "--timeout must be more than 0 seconds. Received: 0.0"),
        (["--timeout", "nan"], "--timeout must be more than 0 seconds. Received: nan"),
        (["--version", "-1"], "--version must be at least 0. Received: -1"),
        (["--version", "1", "--label", "stable"], "not allowed with argument"),
        (["--grpc", "--url", "http://localhost"], "--url is for REST"),
    ],
)
def test_options_out_of_range_are_refused(client, capsys, options, text):
    with pytest.raises(SystemExit) as end:
        client.main(["--model", "flowers", *options, "a.jpg"])
    assert end.value.code == 2
    assert text in capsys.readouterr().err


def test_an_address_that_is_none_fails(ask, images):
    assert_fails(ask("--model", "flowers", "--url", "localhost", images[0]), 2, "unknown url type")
    assert_fails(ask("--model", "flowers", "--url", "http://local host", images[0]), 1, "control characters")


def test_grpc_without_its_package_says_what_to_install(ask, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    outcome = ask("--model", "flowers", "--grpc", images[0])
    assert_fails(outcome, 2, "--grpc needs tensorflow_serving", "pip install tensorflow-serving-api")


def test_a_new_version_is_asked_as_soon_as_the_server_has_it(ask, models, images, expected, tmp_path):
    shutil.copytree(models / "flowers" / "1", tmp_path / "flowers" / "1")
    with StandIn(Model("flowers", tmp_path / "flowers")) as stand_in:
        _, out, _ = ask("--model", "flowers", "--json", *images, port=stand_in.port)
        assert_same(json.loads(out), expected(1))
        shutil.copytree(models / "flowers" / "2", tmp_path / "aside")
        (tmp_path / "aside").rename(tmp_path / "flowers" / "2")
        patience = time.monotonic() + 20
        while stand_in.status("flowers", None, None)["model_version_status"][0]["version"] != "2":
            assert time.monotonic() < patience
            time.sleep(0.02)
        _, out, _ = ask("--model", "flowers", "--json", *images, port=stand_in.port)
        assert_same(json.loads(out), expected(2))
        assert_fails(
            ask("--model", "flowers", "--version", 1, images[0], port=stand_in.port), 2, "Specific(flowers, 1)"
        )


# From here on over gRPC.


@pytest.fixture(scope="module")
def grpc(server):
    """The port for gRPC."""
    pytest.importorskip("tensorflow_serving.apis", exc_type=ImportError)
    from stand_in import grpc_port

    with grpc_port(server) as port:
        yield port


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "version"), [([], 2), (["--version", 1], 1), (["--label", "stable"], 1), (["--label", "canary"], 2)]
)
def test_grpc_answers_as_rest_does(ask, grpc, images, expected, options, version):
    code, out, err = ask("--grpc", "--model", "flowers", "--json", *options, *images, port=grpc)
    assert (code, err) == (0, "")
    assert_same(json.loads(out), expected(version))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "trees"], "the server refused: Servable not found for request: Latest(trees)"),
        (["--model", "flowers", "--version", 7], "Servable not found for request: Specific(flowers, 7)"),
        (["--model", "flowers", "--label", "old"], "Unrecognized servable version label: old"),
        (["--model", "flowers", "--signature", "words"], 'Serving signature key "words" not found.'),
        (["--model", "flowers", "--signature", "features"], "input size does not match signature"),
    ],
)
def test_grpc_fails_with_the_server_s_message(ask, grpc, images, options, text):
    if "features" in options:
        text = "Sent extra: {image_bytes}. Missing but required: {images}."
    assert_fails(ask("--grpc", *options, images[0], port=grpc), 2, text)


@pytest.mark.slow
def test_grpc_names_unreadable_images(ask, grpc, files, images, expected):
    outcome = ask("--grpc", "--model", "flowers", files["a.jpg"], files["notes.txt"], port=grpc)
    assert_fails(outcome, 2, "Not readable, by index in the batch:", f"({files['notes.txt']})")
    code, out, err = ask("--grpc", "--model", "masked", "--json", files["notes.txt"], *images, port=grpc)
    assert (code, err) == (2, f"client.py: error: {files['notes.txt']}: the server cannot read this image\n")
    assert_same(json.loads(out), expected(1))


@pytest.mark.slow
def test_grpc_without_a_server_or_in_too_short_a_time_fails(ask, grpc, images):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert_fails(ask("--grpc", "--model", "flowers", images[0], port=port), 1, f"no server at localhost:{port}: ")
    outcome = ask("--grpc", "--model", "flowers", "--timeout", 0.0001, *images, port=grpc)
    assert_fails(outcome, 1, "no answer within 0.0001 s")


@pytest.mark.slow
def test_a_grpc_request_holds_the_files_as_they_are(client, grpc):
    from tensorflow import make_ndarray

    arguments = client.parse(["--grpc", "--model", "flowers", "--label", "stable", "x", "y"])
    request = client.predict_request(arguments, [b"one\x00", b""])  # NumPy's own strings would lose the zero
    assert (request.model_spec.name, request.model_spec.version_label) == ("flowers", "stable")
    assert request.model_spec.signature_name == "serving_bytes"
    assert not request.output_filter  # a filter would go past the server's batching
    assert make_ndarray(request.inputs["image_bytes"]).tolist() == [b"one\x00", b""]
    arguments = client.parse(["--grpc", "--model", "flowers", "--version", "0", "x"])
    assert client.predict_request(arguments, [b""]).model_spec.version.value == 0
    assert client.predict_request(arguments, [b""]).model_spec.HasField("version")
