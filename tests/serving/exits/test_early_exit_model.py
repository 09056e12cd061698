"""Early exits are really taken: which rows each layer computes, and whose answer every image gets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_network import build, random_images, random_pixels, with_heads

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.serving.exits import EarlyExitModel
from keras_inception.serving.export import early_exit_network
from keras_inception.serving.export.c_loader import Server

# A layer that only rows of this stage reach.
STAGE_LAYERS = {"aux1": "conv1_3x3_s1", "aux2": "inception_4b_1x1", "main": "inception_4e_1x1"}
HEADS = ["aux1", "aux2", "main"]


@pytest.fixture(scope="module")
def exiting(model, thresholds):
    return ki.early_exit_model(model, thresholds)


@pytest.fixture
def count_rows(monkeypatch):
    """Returns `count(model, layer names)`, which makes the layers count the rows that they compute.

    The count is a variable that the layer itself adds to when the graph runs: it does not know of stages.
    """

    def count(model, names):
        counters = {name: tf.Variable(0) for name in names}
        for name in names:
            layer = model.get_layer(name)

            def call(x, *args, _call=layer.call, _counter=counters[name], **kwargs):
                _counter.assign_add(tf.shape(x)[0])
                return _call(x, *args, **kwargs)

            monkeypatch.setattr(layer, "call", call)
        return lambda: {name: int(counter.numpy()) for name, counter in counters.items()}

    return count


def leaves_at(answers, thresholds, count):
    """Says where each image leaves, one by one."""
    found = []
    for row in range(count):
        confident = [name for name in ("aux1", "aux2") if answers[name][row].max() >= thresholds.get(name, 2)]
        found.append(confident[0] if confident else "main")
    return found


def assert_answers(found, answers, expected):
    """Asserts that images left at the expected heads, with their answers."""
    assert [HEADS[index] for index in found["exit"]] == expected
    softmaxes = np.stack([answers[head][row] for row, head in enumerate(expected)])
    np.testing.assert_allclose(found["probabilities"], softmaxes, atol=1e-5)  # other batch sizes round otherwise


@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_row_has_the_answer_of_the_head_it_left_at_in_order(exiting, answers, count):
    assert exiting.exit_names == HEADS
    expected = leaves_at(answers, exiting.thresholds, count)
    assert_answers(exiting(random_images(64)[:count]), answers, expected)
    if count == 64:
        assert set(expected) == set(HEADS)


@pytest.mark.parametrize("count", [1, 16])
def test_a_layer_computes_the_rows_that_reach_it_and_no_others(answers, thresholds, count_rows, count):
    network = build()
    counted = count_rows(network, [*STAGE_LAYERS.values(), "loss1_fc", "loss2_fc", "loss3_classifier"])
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
    last = max(HEADS.index(stage) for stage in HEADS if rows[stage])
    assert set(found["exit"].numpy()) == {last}


def test_predict_answers_as_calling_does_in_batches_of_any_size(exiting):
    images = random_images(20)
    called = exiting(images)
    found = exiting.predict(images, batch_size=8, verbose=0)
    np.testing.assert_array_equal(found["exit"], called["exit"])
    np.testing.assert_allclose(found["probabilities"], called["probabilities"], atol=1e-5)
    empty = exiting(images[:0])
    assert (empty["probabilities"].shape, empty["exit"].shape) == ((0, 7), (0,))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "Images must be an array or tensor of shape.*Received: NoneType of shape None"),
        (np.zeros((1, 3, 3, 3), "float32"), "Images must be an array.*Received: ndarray of shape"),
        (np.full((1, *random_images(1).shape[1:]), np.nan, "float32"), "Images must hold finite numbers"),
    ],
    ids=["None", "another shape", "not finite"],
)
def test_images_that_do_not_fit_are_refused_in_one_line(exiting, images, message):
    for call in (exiting, lambda x: exiting(x, training=False)):
        with pytest.raises(InputError, match=message) as caught:
            call(images)
        assert "\n" not in str(caught.value)


def test_calling_it_on_pixels_is_reported(exiting):
    with pytest.warns(UserWarning, match="The images must be from -1 to 1"):
        exiting(127.5 * (random_images(2) + 1))


def test_it_shares_the_variables_of_the_model_and_leaves_it_as_it_is():
    network = build()
    before = network.to_json()
    exiting = ki.early_exit_model(network, {"aux1": 0.0})
    assert list(map(id, exiting.variables)) == list(map(id, network.variables))
    network.get_layer("loss1_classifier").bias.assign([0, 0, 0, 50, 0, 0, 0])
    found = exiting(random_images(3))["probabilities"]
    np.testing.assert_array_equal(np.argmax(found, axis=1), [3, 3, 3])
    assert network.to_json() == before


def test_a_head_answers_with_those_before_it_by_its_weights(model, answers):
    """A weighted geometric mean; rows that go on keep what the heads before found of them."""
    mixtures = {"aux1": {"aux1": 0.5}, "aux2": {"aux1": 0.25, "aux2": 2.0}, "main": {"aux2": 0.5, "main": 1.0}}
    expected = {
        "aux1": answers["aux1"] ** 0.5,
        "aux2": answers["aux1"] ** 0.25 * answers["aux2"] ** 2,
        "main": answers["aux2"] ** 0.5 * answers["main"],
    }
    expected = {head: rows / rows.sum(axis=1, keepdims=True) for head, rows in expected.items()}
    thresholds = {head: float(np.median(expected[head].max(axis=1))) for head in ("aux1", "aux2")}
    found = EarlyExitModel(model, thresholds, mixtures)(random_images(64))
    assert_answers(found, expected, leaves_at(expected, thresholds, 64))
    assert len(set(found["exit"].numpy())) == 3


@pytest.mark.parametrize("criterion", ["entropy", "margin"])
def test_an_image_leaves_where_the_criterion_says_so(model, answers, criterion):
    p = np.sort(answers["aux1"], axis=1)
    sure = {"entropy": 1 + (p * np.log(p)).sum(axis=1) / np.log(7), "margin": p[:, -1] - p[:, -2]}[criterion]
    threshold = float(np.sort(sure)[30:32].mean())
    found = EarlyExitModel(model, {"aux1": threshold}, criterion=criterion)(random_images(64))
    np.testing.assert_array_equal(found["exit"].numpy() == 0, sure >= threshold)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixtures": {"aux1": {"aux1": 1.0}}}, r"`mixtures` must hold for each head in use, \['aux1', 'main'\]"),
        ({"mixtures": {"aux1": {"main": 1.0}, "main": {"main": 1.0}}}, "its own among them. Received: mixtures="),
        ({"mixtures": {"aux1": {"aux1": 1.0, "main": 1.0}, "main": {"main": 1.0}}}, "`mixtures` must be a number"),
        ({"criterion": "energy"}, r"`criterion` must be one of \('confidence', 'entropy', 'margin'\). Received: crit"),
    ],
)
def test_mixtures_and_criteria_that_fit_no_head_are_refused(model, options, message):
    with pytest.raises(InputError, match=message):
        EarlyExitModel(model, {"aux1": 0.9}, **options)


def test_heads_that_give_logits_answer_with_probabilities(answers, thresholds):
    found = ki.early_exit_model(build(classifier_activation=None), thresholds)(random_images(64))
    assert_answers(found, answers, leaves_at(answers, thresholds, 64))


def test_mixed_precision_keeps_the_answers_in_float32(thresholds):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = build()
    found = ki.early_exit_model(network, thresholds)(random_images(64))
    assert found["probabilities"].dtype == tf.float32
    outputs = dict(zip(network.output_names, network.predict(random_images(64), batch_size=64, verbose=0)))
    expected = np.stack([outputs[HEADS[index]][row] for row, index in enumerate(found["exit"])])
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-2)  # 8 bits of mantissa
    assert len(set(found["exit"].numpy())) == 3


def test_exits_are_exported_in_bfloat16(model, answers, thresholds):
    found = early_exit_network(model, thresholds, "bfloat16")(tf.constant(random_images(64)))
    assert found["probabilities"].dtype == tf.float32
    expected = np.stack([answers[HEADS[index]][row] for row, index in enumerate(found["exit"])])
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-2)  # 8 bits of mantissa
    assert len(set(found["exit"].numpy())) == 3


@pytest.mark.parametrize(
    ("taps", "order"),
    [
        (["inception_4b"], ["head0", "main"]),
        (
            ["inception_4e", "inception_4a", "inception_4a", "conv1_3x3_s1"],
            ["head3", "head1", "head2", "head0", "main"],
        ),
    ],
    ids=["one head", "four heads"],
)
def test_any_number_of_heads_at_any_row(taps, order, tmp_path):
    network = build(with_heads(*taps))
    outputs = dict(zip(network.output_names, network.predict(random_images(32), verbose=0)))
    thresholds = {name: float(np.median(np.max(outputs[name], axis=1))) for name in order[:-1]}
    exiting = ki.early_exit_model(network, thresholds)
    assert exiting.exit_names == order
    found = exiting(random_images(32))
    assert len(set(found["exit"].numpy())) >= min(len(order), 4)
    for row, index in enumerate(found["exit"].numpy()):
        np.testing.assert_allclose(found["probabilities"][row], outputs[order[index]][row], atol=1e-5)

    server = Server(ki.export_saved_model(network, tmp_path, exits=thresholds, all_heads=True))
    served = server("serving_uint8", images=random_pixels(32))
    np.testing.assert_array_equal(served["exit"], found["exit"])
    np.testing.assert_allclose(served["probabilities"], found["probabilities"], atol=1e-5)
    heads = server("all_heads", images=random_pixels(32).astype("float32"))
    assert set(heads) == set(order)
    for name, answer in heads.items():
        np.testing.assert_allclose(answer, outputs[name], atol=1e-5)
    server.close()


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_a_server_gives_the_answers_and_the_exits_of_the_model(exiting_server, exiting, count):
    found = exiting(random_images(64)[:count])
    answer = exiting_server("serving_uint8", images=random_pixels(64)[:count])
    np.testing.assert_array_equal(answer["exit"], found["exit"])
    # The folded batch normalization rounds otherwise.
    np.testing.assert_allclose(answer["probabilities"], found["probabilities"], atol=1e-5)
    assert answer["classes"].shape == (count, 7)  # there are no 100 classes to name


def test_a_keras_file_keeps_thresholds_and_answers(exiting, tmp_path):
    exiting.save(tmp_path / "exiting.keras")
    again = keras.saving.load_model(tmp_path / "exiting.keras")
    assert (again.thresholds, again.mixtures, again.criterion) == (exiting.thresholds, exiting.mixtures, "confidence")
    for name, values in exiting(random_images(7)).items():
        np.testing.assert_array_equal(again(random_images(7))[name], values)


@pytest.mark.parametrize(
    "thresholds", [-0.1, float("nan"), {"aux1": "0.9"}, {"aux2": True}, {"aux3": 0.9}, {"main": 0.9}, [0.9], None]
)
def test_thresholds_that_fit_no_head_are_refused(model, thresholds):
    with pytest.raises(InputError, match=r"`thresholds` must be a number of .*\['aux1', 'aux2'\].*Received: thresh"):
        ki.early_exit_model(model, thresholds)


def test_a_model_without_auxiliary_heads_is_refused(model):
    for part in (ki.inference_model(model), build(aux_heads=False), ki.inference_model(model, head="aux1")):
        with pytest.raises(InputError, match=r"need the main head and an auxiliary head .* with outputs"):
            ki.early_exit_model(part, 0.9)
