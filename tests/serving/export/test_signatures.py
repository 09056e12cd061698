"""What an export answers to, and what is not in its graph."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from encoded_images import encode, photograph
from served_network import CLASS_NAMES, FEATURES, SERVED, SIDE, build
from tensorflow.core.protobuf import saved_model_pb2

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.serving.export import frozen, serving_network, warmup
from keras_inception.serving.export.c_loader import Server

ANSWER = {"probabilities", "classes", "scores"}
CLOSE = {"rtol": 0, "atol": 1e-5}


def images(count=3, height=SIDE, width=SIDE):
    return np.random.default_rng(count).uniform(0, 255, (count, height, width, 3)).astype("float32")


def graph_of(version):
    """Returns the nodes of a SavedModel's graph, and those of its functions."""
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    return list(graph.node), [node for function in graph.library.function for node in function.node_def]


def test_signatures_inputs_and_outputs_have_names(server, masking_server):
    names = {name: (set(definition.inputs), set(definition.outputs)) for name, definition in server.signatures.items()}
    metadata = names.pop("metadata")
    assert metadata[0] == set()
    assert {key: value for key, value in names.items() if not key.startswith("__")} == {
        "serving_default": ({"images"}, ANSWER),
        "serving_uint8": ({"images"}, ANSWER),
        "serving_bytes": ({"image_bytes"}, ANSWER),
        "features": ({"images"}, {"features"}),
    }
    assert set(masking_server.signatures["all_heads"].outputs) == {"main", "aux1", "aux2"}


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (7, 90)])
def test_classes_are_the_names_of_the_likeliest(server, masking_server, height, width):
    answer = server("serving_default", images=images(3, height, width))
    assert answer["probabilities"].shape == (3, 7)
    assert answer["classes"].shape == answer["scores"].shape == (3, 5)
    np.testing.assert_allclose(answer["probabilities"].sum(1), 1, rtol=1e-5)
    for row, names, scores in zip(answer["probabilities"], answer["classes"], answer["scores"]):
        order = np.argsort(-row)[:5]
        assert [name.decode() for name in names] == [CLASS_NAMES[index] for index in order]
        np.testing.assert_array_equal(scores, row[order])
    assert masking_server("serving_default", images=images())["classes"].shape == (3, 2)


def test_features_and_heads_are_the_model_s(server, masking_server, model):
    pooled = tf.keras.Model(model.input, model.get_layer("pool5").output)
    inputs = ki.preprocess_input(images(), preprocessing=model.preprocessing)
    answer = server("features", images=images())["features"]
    assert answer.shape == (3, FEATURES)
    np.testing.assert_allclose(answer, pooled(inputs, training=False), rtol=1e-4, atol=1e-4)
    answer = masking_server("all_heads", images=images())
    for name, expected in zip(model.output_names, model(inputs, training=False)):
        np.testing.assert_allclose(answer[name], expected, **CLOSE)


def test_metadata_says_what_the_model_is(server, model):
    said = server("metadata")
    assert [name.decode() for name in said["class_names"]] == CLASS_NAMES
    assert said["image_shape"].tolist() == [SIDE, SIDE, 3]
    assert (said["preprocessing"].item(), said["architecture"].item()) == (b"inception", b"served")
    assert json.loads(said["training"].item()) == {"results": {"main": {"accuracy": 0.5}}}


def test_assets_and_card_travel_with_the_version(exports, server):
    assets = exports / "1" / "assets"
    assert sorted(server.asset_files) == sorted(path.name for path in assets.iterdir())
    assert (assets / "class_names.txt").read_text().split() == CLASS_NAMES
    assert json.loads((assets / "preprocessing.json").read_text()) == {
        "preprocessing": "inception",
        "resize": "crop",
        "image_shape": [SIDE, SIDE, 3],
    }
    assert json.loads((assets / "training.json").read_text())["results"]["main"]["accuracy"] == 0.5
    requests = [record.numpy() for record in tf.data.TFRecordDataset(str(exports / "1" / warmup.PATH))]
    names = ["serving_default", "serving_uint8", "features", "serving_bytes"]
    assert all(name.encode() in request for name, request in zip(names, requests, strict=True))
    card = (exports / "1" / "README.md").read_text()
    assert all(text in card for text in ("serving_bytes", "`image_bytes` (any) string", "0.5", "gnu", "fails with"))


def test_nothing_of_the_training_is_in_the_graph(exports):
    graph, functions = graph_of(exports / "1")
    variables = [node for node in graph if node.op == "VarHandleOp"]
    # TensorFlow keeps the paths of the three assets in variables; the network has none.
    assert [node.attr["dtype"].type for node in variables] == 3 * [tf.string.as_datatype_enum]
    operations = {node.op for node in functions}
    assert not {op for op in operations if "Variable" in op or "VarHandle" in op or "PyFunc" in op}
    assert not {op for op in operations if "Random" in op or "BatchNorm" in op}
    names = [node.name for node in graph + functions]
    assert not [name for name in names if "aux" in name or "loss1" in name or "loss2" in name or "pool5_drop" in name]


def test_the_weights_are_there_once(exports, model):
    for version, network in (("1", ki.inference_model(model)), ("2", model)):
        kernels = sum(np.prod(weight.shape) for weight in network.weights if len(weight.shape) >= 2)
        nodes = itertools.chain(*graph_of(exports / version))
        tensors = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
        shapes = [[dim.size for dim in tensor.tensor_shape.dim] for tensor in tensors]
        found = sum(np.prod(shape) for shape in shapes if len(shape) >= 2)
        assert kernels <= found < 1.5 * kernels, version  # a black image and tables of the decoder are constants too


def test_bfloat16_is_near_and_half_the_size(model, tmp_path):
    version = ki.export_saved_model(model, tmp_path / "served", precision="bfloat16")
    server = Server(version)
    inputs = ki.preprocess_input(images(), preprocessing=model.preprocessing)
    expected = ki.inference_model(model)(inputs, training=False)
    answer = server("serving_default", images=images())
    assert answer["probabilities"].dtype == np.float32
    assert server("features", images=images())["features"].dtype == np.float32
    # 8 bits of mantissa through 22 layers.
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=0.05)
    weights = [node.attr["value"].tensor for node in graph_of(version)[1] if node.op == "Const"]
    assert max(weights, key=lambda tensor: len(tensor.tensor_content)).dtype == tf.bfloat16.as_datatype_enum
    server.close()


def test_the_exit_of_an_image_that_cannot_be_read_is_masked(exiting_server):
    masked = exiting_server("serving_bytes", image_bytes=[b"?", encode(photograph(), "PNG")])
    assert masked["exit"][0] == -1
    assert masked["exit"][1] in (0, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "`top` must be a whole number of at least 1.*top=0"),
        ({"on_bad_image": "skip"}, "`on_bad_image` must be one of.*on_bad_image='skip'"),
        ({"precision": "int8"}, "`precision` must be one of.*precision='int8'"),
        ({"version": 0}, "`version` must be a whole number from 1 .*version=0"),
    ],
)
def test_arguments_out_of_range_are_refused(model, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        ki.export_saved_model(model, tmp_path / "served", **options)
    assert not (tmp_path / "served").exists() or not list((tmp_path / "served").iterdir())


def test_models_that_cannot_be_served_are_refused(tmp_path, channels_first):
    for options, message in (
        ({"include_top": False, "pooling": "avg"}, r"An export needs the head 'main'.*include_top=True"),
        ({"aux_heads": False, "input_shape": (3, None, None)}, "Build the network with a fixed `input_shape`"),
        ({}, r"What serves takes images of \(height, width, channels\)"),
    ):
        with pytest.raises(InputError, match=message):
            ki.export_saved_model(ki.GoogLeNet(architecture=SERVED, **options), tmp_path)


def test_logits_become_probabilities():
    model = build(classifier_activation=None, aux_heads=False)
    inputs = ki.preprocess_input(images())
    answer = frozen(serving_network(model))(tf.constant(inputs))
    np.testing.assert_allclose(answer["main"], tf.nn.softmax(model(inputs, training=False)), **CLOSE)
