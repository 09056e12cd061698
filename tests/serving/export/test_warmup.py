"""The warm-up requests: what the server reads, and that it can answer them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_inception.serving.export import warmup

# A server that batches refuses a request without inputs, and so `metadata` is not asked.
ASKED = {
    "1": ["serving_default", "serving_uint8", "features", "serving_bytes"],
    "2": ["serving_default", "serving_uint8", "features", "serving_bytes", "all_heads"],
    "3": ["serving_default", "serving_uint8", "features", "serving_bytes"],
}


def records(version):
    return [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(version / warmup.PATH))]


@pytest.mark.parametrize("number", ASKED)
def test_every_signature_with_an_input_has_a_request(exports, number):
    for record, signature in zip(records(exports / number), ASKED[number], strict=True):
        assert signature.encode() in record
        assert b"animals" in record


@pytest.mark.slow
@pytest.mark.parametrize("number", ASKED)
def test_the_server_answers_the_requests_as_tensorflow_serving_api_reads_them(exports, number, request):
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    server = request.getfixturevalue({"1": "server", "2": "masking_server", "3": "exiting_server"}[number])
    for record in records(exports / number):
        logged = apis.PredictionLog.FromString(record)
        assert logged.SerializeToString(deterministic=True) == record
        asked = logged.predict_log.request
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in asked.inputs.items()}
        inputs = {name: array.tolist() if array.dtype == object else array for name, array in arrays.items()}
        answer = server(asked.model_spec.signature_name, **inputs)
        assert all(np.isfinite(array).all() for array in answer.values() if array.dtype == np.float32)


@pytest.mark.slow
def test_the_bytes_are_those_of_tensorflow_serving_api():
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    inputs = {"images": warmup.gradient((300, 20, 3))[None], "beside": np.array([b"text"], object)}
    expected = apis.PredictionLog()
    request = expected.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "animals", "serving_default"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    written = warmup.prediction_log("animals", "serving_default", inputs)
    assert written == expected.SerializeToString(deterministic=True)
