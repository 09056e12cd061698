"""Early exits are really taken: which rows each layer computes, and whose answer every image gets."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_network import CLASSES, IMAGE, SMALL, STAGE_LAYERS, build, leaves_at, quantiles, random_images

import keras_inception as ki
from keras_inception import architectures
from keras_inception.serving.exits import EarlyExitModel

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def exiting(network, answers):
    return ki.early_exit_model(network, quantiles(answers, aux1=0.5, aux2=0.5))


@pytest.mark.parametrize("count", [1, 7, 16, 64])
def test_every_row_has_the_answer_of_the_head_it_left_at_in_order(exiting, answers, count):
    found = exiting(random_images(64)[:count])
    expected = leaves_at(answers, exiting.thresholds, count)
    assert [exiting.exit_names[index] for index in found["exit"]] == expected
    softmaxes = np.stack([answers[head][row] for row, head in enumerate(expected)])
    np.testing.assert_allclose(found["probabilities"], softmaxes, atol=1e-5)  # other batch sizes round otherwise
    if count == 64:
        assert set(expected) == {"aux1", "aux2", "main"}


def test_random_thresholds_on_batches_of_any_size(network, answers, exiting):
    random = np.random.default_rng(3)
    for _ in range(10):
        thresholds = quantiles(answers, aux1=random.uniform(), aux2=random.uniform())
        size, start = random.integers(1, 17), random.integers(0, 48)
        part = {head: values[start : start + size] for head, values in answers.items()}
        found = exiting.answer(random_images(64)[start : start + size], list(thresholds.values()))
        expected = leaves_at(part, thresholds, size)
        assert [exiting.exit_names[index] for index in found["exit"]] == expected
        softmaxes = np.stack([part[head][row] for row, head in enumerate(expected)])
        np.testing.assert_allclose(found["probabilities"], softmaxes, atol=1e-5)


@pytest.mark.parametrize("count", [1, 16])
def test_a_layer_computes_the_rows_that_reach_it_and_no_others(answers, count_rows, count):
    network = build()
    counted = count_rows(network, [*STAGE_LAYERS.values(), "loss1_fc", "loss2_fc", "loss3_classifier"])
    thresholds = quantiles(answers, aux1=0.5, aux2=0.5)
    exiting = ki.early_exit_model(network, thresholds)
    images = random_images(64)
    for start in range(0, 64, count):
        exiting(images[start : start + count])
    left = leaves_at(answers, thresholds, 64)
    after_aux1, after_aux2 = 64 - left.count("aux1"), left.count("main")
    assert 0 < after_aux2 < after_aux1 < 64
    assert counted() == {
        "conv1_3x3_s1": 64,
        "loss1_fc": 64,
        "inception_4b_1x1": after_aux1,
        "loss2_fc": after_aux1,
        "inception_4e_1x1": after_aux2,
        "loss3_classifier": after_aux2,
    }


@pytest.mark.parametrize(
    ("thresholds", "rows"),
    [
        ({"aux1": 0.0, "aux2": 0.0}, {"aux1": 9, "aux2": 0, "main": 0, "loss1_fc": 9, "loss2_fc": 0}),
        ({"aux1": 1.1, "aux2": 0.0}, {"aux1": 9, "aux2": 9, "main": 0, "loss1_fc": 0, "loss2_fc": 9}),
        ({"aux1": 1.1, "aux2": 2}, {"aux1": 9, "aux2": 9, "main": 9, "loss1_fc": 0, "loss2_fc": 0}),
        ({"aux1": 1.0}, {"aux1": 9, "aux2": 9, "main": 9, "loss1_fc": 9, "loss2_fc": 0}),
    ],
    ids=["all leave at 4a", "all leave at 4d", "none leaves", "aux2 is left out"],
)
def test_heads_and_stages_without_use_are_not_computed(count_rows, thresholds, rows):
    network = build()
    layers = {**STAGE_LAYERS, "loss1_fc": "loss1_fc", "loss2_fc": "loss2_fc"}
    counted = count_rows(network, list(layers.values()))
    found = ki.early_exit_model(network, thresholds)(random_images(9))
    assert counted() == {layers[stage]: count for stage, count in rows.items()}
    last = max((stage for stage in STAGE_LAYERS if rows[stage]), key=list(STAGE_LAYERS).index)
    assert set(found["exit"].numpy()) == {["aux1", "aux2", "main"].index(last)}


def test_the_branches_are_in_the_graph(exiting):
    graph = tf.function(exiting).get_concrete_function(tf.TensorSpec((None, *IMAGE))).graph
    conditions = {node.op for node in graph.as_graph_def().node} & {"If", "StatelessIf"}
    assert conditions
    outside = [node.name for node in graph.as_graph_def().node if node.op == "Conv2D"]
    assert not outside, "every convolution stands inside a branch"


def test_an_empty_batch_has_empty_answers(exiting):
    for found in (exiting(random_images(0)), exiting.predict(random_images(0))):
        assert found["probabilities"].shape == (0, CLASSES)
        assert found["exit"].shape == (0,)


def test_predict_answers_as_calling_does_in_batches_of_any_size(exiting):
    images = random_images(20)
    called = exiting(images)
    found = exiting.predict(images, batch_size=8, verbose=0)
    np.testing.assert_array_equal(found["exit"], called["exit"])
    np.testing.assert_allclose(found["probabilities"], called["probabilities"], atol=1e-5)


def test_one_threshold_serves_all_heads_and_a_list_is_in_order_of_depth(network):
    assert ki.early_exit_model(network, 0.7).thresholds == {"aux1": 0.7, "aux2": 0.7}
    assert ki.early_exit_model(network, [0.9, 0.8]).thresholds == {"aux1": 0.9, "aux2": 0.8}


def test_it_shares_the_variables_of_the_model():
    network = build()
    exiting = ki.early_exit_model(network, {"aux1": 0.0})
    assert list(map(id, exiting.variables)) == list(map(id, network.variables))
    network.get_layer("loss1_classifier").bias.assign([0, 0, 0, 50, 0])
    found = exiting(random_images(3))["probabilities"]
    np.testing.assert_array_equal(np.argmax(found, axis=1), [3, 3, 3])


def test_the_network_is_what_it_was_after_early_exits_were_made_of_it():
    network = build()
    before = network.to_json()
    ki.early_exit_model(network, 0.5)(random_images(2))
    assert network.to_json() == before
    assert ki.inference_model(network).predict(random_images(2), verbose=0).shape == (2, CLASSES)


def test_temperatures_scale_the_logits(network, answers):
    exiting = EarlyExitModel(network, {"aux1": 0.0}, {"aux1": 2.0})
    expected = np.sqrt(answers["aux1"][:8])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(exiting(random_images(64)[:8])["probabilities"], expected, atol=1e-5)


def test_heads_that_give_logits_answer_with_probabilities(answers):
    network = build(classifier_activation=None)
    found = ki.early_exit_model(network, quantiles(answers, aux1=0.5))(random_images(64))
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1, atol=1e-5)
    left = np.asarray(found["exit"]) == 0
    assert 0 < left.sum() < 64
    np.testing.assert_allclose(found["probabilities"][left], answers["aux1"][left], atol=1e-5)


def test_mixed_precision_keeps_the_answers_in_float32(answers):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = build()
    found = ki.early_exit_model(network, quantiles(answers, aux1=0.5, aux2=0.5))(random_images(64))
    assert found["probabilities"].dtype == tf.float32
    outputs = dict(zip(network.output_names, network.predict(random_images(64), batch_size=64, verbose=0)))
    expected = np.stack([outputs[["aux1", "aux2", "main"][index]][row] for row, index in enumerate(found["exit"])])
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-2)  # 8 bits of mantissa
    assert len(set(found["exit"].numpy())) == 3


def test_any_number_of_heads_at_any_row(monkeypatch):
    heads = (
        architectures.AuxiliaryHead("late", "inception_4e", "loss6"),
        architectures.AuxiliaryHead("aux1", "inception_4a", "loss1"),
        architectures.AuxiliaryHead("twin", "inception_4a", "loss5", dense=32),
        architectures.AuxiliaryHead("first", "conv1_3x3_s1", "loss4", dense=64),
    )
    record = dataclasses.replace(SMALL, name="five_heads", auxiliary_heads=heads)
    monkeypatch.setitem(architectures.ARCHITECTURES, "five_heads", record)
    monkeypatch.setattr("keras_inception.network.googlenet.compile_model", lambda model: model)  # knows three heads
    keras.utils.set_random_seed(0)
    network = ki.GoogLeNet(architecture="five_heads", input_shape=IMAGE, classes=CLASSES)
    outputs = dict(zip(network.output_names, network.predict(random_images(32), verbose=0)))
    thresholds = {name: float(np.median(np.max(outputs[name], axis=1))) for name in ("late", "aux1", "twin", "first")}
    exiting = ki.early_exit_model(network, thresholds)
    assert exiting.exit_names == ["first", "aux1", "twin", "late", "main"]
    found = exiting(random_images(32))
    assert len(set(found["exit"].numpy())) >= 4
    for row, exit_index in enumerate(found["exit"].numpy()):
        expected = outputs[exiting.exit_names[exit_index]][row]
        np.testing.assert_allclose(found["probabilities"][row], expected, atol=1e-5)


def test_a_keras_file_keeps_thresholds_and_answers(exiting, tmp_path):
    exiting.save(tmp_path / "exiting.keras")
    again = keras.saving.load_model(tmp_path / "exiting.keras")
    assert (again.thresholds, again.temperatures) == (exiting.thresholds, exiting.temperatures)
    for name, values in exiting(random_images(7)).items():
        np.testing.assert_array_equal(again(random_images(7))[name], values)


@pytest.mark.parametrize("thresholds", [-0.1, float("nan"), {"aux1": "0.9"}, {"aux2": True}, {"aux1": None}])
def test_a_threshold_that_is_no_probability_is_refused(network, thresholds):
    with pytest.raises(ValueError, match=r"A threshold must be the probability, from 0 .* Received: thresholds="):
        ki.early_exit_model(network, thresholds)


@pytest.mark.parametrize("thresholds", [{"aux3": 0.9}, {"main": 0.9}, [0.9], "0.9", None])
def test_thresholds_of_other_heads_are_refused(network, thresholds):
    with pytest.raises(ValueError, match=r"by their names, which are \['aux1', 'aux2'\], .* Received: thresholds="):
        ki.early_exit_model(network, thresholds)


def test_a_model_without_auxiliary_heads_is_refused(network):
    for model in (ki.inference_model(network), build(aux_heads=False), ki.inference_model(network, head="aux1")):
        with pytest.raises(ValueError, match=r"need the main head and an auxiliary head .* with outputs"):
            ki.early_exit_model(model, 0.9)


def test_temperatures_that_fit_no_head_are_refused(network):
    with pytest.raises(ValueError, match=r"`temperatures` must be by heads, .* Received: temperatures="):
        EarlyExitModel(network, 0.9, {"aux3": 1.0})
    with pytest.raises(ValueError, match=r"A temperature must be above 0. Received: temperatures="):
        EarlyExitModel(network, 0.9, {"aux1": 0.0})
