"""The stand-in speaks as TensorFlow Serving's documentation of REST says, with all signatures of an export."""

import base64
import http.client
import json

import numpy as np
import pytest


@pytest.fixture
def rest(server):
    """Returns `rest(method, path, body=None)`: status and JSON."""

    def call(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body))
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    return call


def b64(path):
    return {"b64": base64.b64encode(path.read_bytes()).decode()}


def test_rows_and_columns_answer_alike(rest, files):
    images = [b64(files["a.jpg"]), b64(files["b.png"])]
    path = "/v1/models/flowers:predict"
    spelled = {
        "named rows": {"instances": [{"image_bytes": image} for image in images]},
        "rows": {"instances": images},
        "named columns": {"inputs": {"image_bytes": images}},
        "columns": {"inputs": images},
    }
    answers = {name: rest("POST", path, {"signature_name": "serving_bytes", **body}) for name, body in spelled.items()}
    rows, columns = answers["rows"][1]["predictions"], answers["columns"][1]["outputs"]
    assert answers["named rows"] == answers["rows"]
    assert answers["named columns"] == answers["columns"]
    assert answers["rows"][0] == answers["columns"][0] == 200
    assert set(columns) == {"classes", "probabilities", "scores"}
    assert rows == [{name: column[index] for name, column in columns.items()} for index in range(2)]
    assert np.allclose(np.sum(columns["probabilities"], 1), 1)


def test_pixels_of_the_default_signature_and_a_signature_of_one_output(rest):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).tolist()
    status, answer = rest("POST", "/v1/models/flowers:predict", {"instances": images})
    assert status == 200
    assert len(answer["predictions"]) == 2
    body = {"signature_name": "features", "instances": images}
    status, answer = rest("POST", "/v1/models/flowers/versions/1:predict", body)
    assert status == 200
    assert np.shape(answer["predictions"]) == (2, 48)  # without the output's name
    _, other = rest("POST", "/v1/models/flowers/labels/canary:predict", body)
    assert other != answer


def test_status_and_metadata(rest):
    status, answer = rest("GET", "/v1/models/flowers")
    fine = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert (status, answer) == (200, {"model_version_status": [{"version": "2", **fine}, {"version": "1", **fine}]})
    for path in ("/v1/models/flowers/versions/1", "/v1/models/flowers/labels/stable"):
        assert rest("GET", path) == (200, {"model_version_status": [{"version": "1", **fine}]})
    status, answer = rest("GET", "/v1/models/flowers/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "flowers", "signature_name": "", "version": "2"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert signatures["serving_bytes"]["inputs"]["image_bytes"]["tensor_shape"]["dim"][0]["size"] == "-1"
    assert set(signatures["serving_bytes"]["outputs"]) == {"classes", "probabilities", "scores"}


IMAGES = {"signature_name": "serving_bytes"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v1/models/trees", None, 404, "Could not find any versions of model trees"),
        ("GET", "/v1/models/flowers/versions/9", None, 404, "Could not find version 9 of model flowers"),
        ("GET", "/v1/models/trees/metadata", None, 404, "Servable not found for request: Latest(trees)"),
        ("GET", "/v2", None, 400, "Malformed request: GET /v2"),
        ("POST", "/v1/models/flowers", {}, 400, "Malformed request: POST /v1/models/flowers"),
        ("POST", "/v1/models/trees:predict", {}, 404, "Servable not found for request: Latest(trees)"),
        ("POST", "/v1/models/flowers/versions/9:predict", {}, 404, "not found for request: Specific(flowers, 9)"),
        ("POST", "/v1/models/flowers/labels/old:predict", {}, 400, "Unrecognized servable version label: old"),
        ("POST", "/v1/models/flowers:predict", None, 400, "JSON Parse error: The document is empty"),
        ("POST", "/v1/models/flowers:predict", b"{", 400, "JSON Parse error"),
        ("POST", "/v1/models/flowers:predict", [], 400, "Is not object"),
        ("POST", "/v1/models/flowers:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "/v1/models/flowers:predict", {"signature_name": 1}, 400, "must be a string value"),
        ("POST", "/v1/models/flowers:predict", {"signature_name": "x"}, 400, 'Serving signature name: "x" not found'),
        ("POST", "/v1/models/flowers:predict", {"instances": [1], "inputs": [1]}, 400, "expecting only one of"),
        ("POST", "/v1/models/flowers:predict", {"instances": 1}, 400, "to be an list/array"),
        ("POST", "/v1/models/flowers:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("POST", "/v1/models/flowers:predict", {"instances": [[[[1]]], [[1]]]}, 400, "unexpected size"),
        ("POST", "/v1/models/flowers:predict", {"inputs": {"x": [1]}}, 400, "Missing named input: images"),
        ("POST", "/v1/models/flowers:predict", {**IMAGES, "instances": [{"b64": "?"}]}, 400, "Unable to base64 decode"),
        ("POST", "/v1/models/flowers:predict", {**IMAGES, "instances": [7]}, 400, "not formatted correctly"),
        ("POST", "/v1/models/flowers:predict", {**IMAGES, "instances": [{"x": 1}]}, 400, "named input: x"),
        ("POST", "/v1/models/flowers:predict", {**IMAGES, "instances": ["x"]}, 400, "index in the batch:] [0]"),
        # The server's REST has no way to ask a signature without inputs.
        ("POST", "/v1/models/flowers:predict", {"signature_name": "metadata", "inputs": {}}, 400, "get input map"),
    ],
)
def test_errors_have_the_server_s_codes_and_messages(rest, method, path, body, status, text):
    got, answer = rest(method, path, body)
    assert got == status
    assert set(answer) == {"error"}
    assert text in answer["error"]
