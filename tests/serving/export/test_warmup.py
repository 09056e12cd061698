"""The warm-up requests: what the server reads, and that it can answer them."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from keras_inception.serving.export import warmup

# tensorflow_serving/apis/model.proto, predict.proto and prediction_log.proto, as far as warm-up needs them.
MESSAGES = {
    "ModelSpec": [("name", 1, "string"), ("signature_name", 3, "string")],
    "InputsEntry": [("key", 1, "string"), ("value", 2, ".tensorflow.TensorProto")],
    "PredictRequest": [("model_spec", 1, ".serving.ModelSpec"), ("inputs", 2, "repeated .serving.InputsEntry")],
    "PredictLog": [("request", 1, ".serving.PredictRequest")],
    "PredictionLog": [("predict_log", 6, ".serving.PredictLog")],
}


def prediction_log_class():
    """Returns the message class of a descriptor made at run time."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3")
    file.dependency.append("tensorflow/core/framework/tensor.proto")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, number, kind in fields:
            repeated, _, kind = kind.rpartition(" ")
            is_message = kind.startswith(".")
            message.field.add(
                name=label,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=field.TYPE_MESSAGE if is_message else field.TYPE_STRING,
                type_name=kind if is_message else None,
            )
    pool = descriptor_pool.DescriptorPool()
    for needed in ("types", "tensor_shape", "resource_handle", "tensor"):
        source = descriptor_pool.Default().FindFileByName(f"tensorflow/core/framework/{needed}.proto")
        copied = descriptor_pb2.FileDescriptorProto()
        source.CopyToProto(copied)
        pool.Add(copied)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def records(version):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(version / warmup.PATH))]


def to_array(tensor):
    return tf.make_ndarray(tf.make_tensor_proto(0).FromString(tensor.SerializeToString()))


@pytest.mark.parametrize("number", ["1", "2"])
def test_every_signature_with_an_input_has_a_request_that_the_server_answers(directory, number, request):
    server = request.getfixturevalue({"1": "server", "2": "masking_server"}[number])
    message = prediction_log_class()
    asked = []
    for record in records(directory / number):
        logged = message.FromString(record).predict_log.request
        signature = logged.model_spec.signature_name
        arrays = {entry.key: to_array(entry.value) for entry in logged.inputs}
        inputs = {name: array.tolist() if array.dtype == object else array for name, array in arrays.items()}
        answer = server(signature, **inputs)
        if "probabilities" in answer:
            assert np.isfinite(answer["probabilities"]).all()
        assert logged.model_spec.name == "animals"
        asked.append(signature)
    served = {name for name in server.signatures if not name.startswith("__")}
    assert sorted(asked) == sorted(served - {"metadata"})  # a batching server refuses a request without inputs


@pytest.mark.slow
def test_the_bytes_are_those_of_tensorflow_serving_api():
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    inputs = {"images": warmup.picture((300, 20, 3))[None], "beside": np.array([b"text"], object)}
    expected = apis.PredictionLog()
    request = expected.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "animals", "serving_default"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    written = warmup.prediction_log("animals", "serving_default", inputs)
    assert written == expected.SerializeToString(deterministic=True)
