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


@pytest.mark.slow
@pytest.mark.parametrize("number", ASKED)
def test_every_signature_with_an_input_has_a_request_that_the_server_answers(exports, number, request):
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    server = request.getfixturevalue({"1": "server", "2": "masking_server", "3": "exiting_server"}[number])
    logs = tf.data.TFRecordDataset(str(exports / number / warmup.PATH)).as_numpy_iterator()
    for record, signature in zip(logs, ASKED[number], strict=True):
        logged = apis.PredictionLog.FromString(record)
        assert logged.SerializeToString(deterministic=True) == record
        asked = logged.predict_log.request
        assert (asked.model_spec.name, asked.model_spec.signature_name) == ("animals", signature)
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in asked.inputs.items()}
        inputs = {name: array.tolist() if array.dtype == object else array for name, array in arrays.items()}
        answer = server(signature, **inputs)
        assert all(np.isfinite(array).all() for array in answer.values() if array.dtype == np.float32)
