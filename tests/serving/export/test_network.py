"""The network that serves: the same numbers as the trained one, with less to compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_network import SIDE, build

from keras_inception.errors import InputError
from keras_inception.serving.export import frozen, serving_network
from keras_inception.serving.export.inference_graph import BlockedNormalization

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("rearranged", [True, False])
def test_batch_norm_is_folded_and_the_answer_stays(model, rearranged):
    before = model.get_weights()
    network = serving_network(model, model.output_names, rearranged=rearranged)
    images = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 3)).astype("float32")
    answer = network(images, training=False)
    for name, expected in zip(model.output_names, model(images, training=False)):
        np.testing.assert_allclose(answer[name], expected, **CLOSE)
    kinds = (keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.ReLU)
    assert not [layer.name for layer in network.layers if isinstance(layer, kinds)]
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D) and not layer.use_bias]
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_only_the_heads_that_are_asked_for_are_there(model):
    main, aux = serving_network(model), serving_network(model, ["aux1"])
    assert not [layer.name for layer in main.layers if layer.name.startswith(("loss1", "loss2", "aux"))]
    assert "inception_4b_output" not in [layer.name for layer in aux.layers]
    assert set(aux.output) == {"aux1"}
    assert set(main.output) == {"main", "features"}


def test_a_model_of_mixed_precision_serves_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build()
    keras.config.set_dtype_policy("float32")
    network = serving_network(model)
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_constants_have_the_precision_that_they_run_in(model):
    call = tf.function(frozen(serving_network(model, precision="bfloat16")), autograph=False)
    graph = call.get_concrete_function(tf.TensorSpec((None, SIDE, SIDE, 3))).graph
    assert not graph.variables
    large = [
        node for node in graph.get_operations() if node.type == "Const" and node.outputs[0].shape.num_elements() > 99
    ]
    assert len(large) > 10
    assert {node.outputs[0].dtype for node in large} == {tf.bfloat16}


@pytest.mark.parametrize("channels", [20, 64, 130, 192])
def test_local_response_normalization_is_the_layer_s(channels):
    x = tf.constant(np.random.default_rng(0).normal(0, 60, (2, 5, 4, channels)), tf.float32)
    expected = tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75)
    np.testing.assert_allclose(BlockedNormalization()(x), expected, rtol=1e-5)
    half = BlockedNormalization(dtype="bfloat16")(tf.cast(x, tf.bfloat16))
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half, tf.float32), expected, rtol=0.02, atol=1e-3)


def test_outputs_that_are_no_probabilities_are_refused():
    model = build(classifier_activation="sigmoid")
    with pytest.raises(InputError, match=r"must be softmaxes or logits.*'main' with activation=sigmoid"):
        serving_network(model)
    with pytest.raises(InputError, match=r"An export needs the head 'aux3'.*outputs \['main', 'aux1', 'aux2'\]"):
        serving_network(build(), ["aux3"])


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")  # Keras says so of most
def test_quantized_networks_are_refused():
    model = build()
    model.quantize("int8")
    with pytest.raises(InputError, match=r"no longer has after `quantize`.*quantized layers: .*loss3_classifier"):
        serving_network(model)
