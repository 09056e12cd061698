"""One label, three heads: what `fit` and `evaluate` make of ordinary data, against NumPy."""

import keras
import numpy as np
import pytest

import keras_inception as ki

CLASSES = 7
HEADS = ("main", "aux1", "aux2")

# float32 on both sides; sums of tens of terms of size 1 differ in the last digits.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}

RNG = np.random.default_rng(3)
X = RNG.normal(size=(22, 5)).astype("float32")
Y = RNG.integers(0, CLASSES, 22)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]


def cross_entropies(model, x=X, y=Y):
    """Returns -log p of the true class, in float64: an array `(examples,)` a head."""
    predictions = model.predict(x, verbose=0)
    return {
        name: -np.log(p.astype("float64")[np.arange(len(y)), np.ravel(y)])
        for name, p in zip(model.output_names, predictions)
    }


def expected_logs(model, weights=None, x=X, y=Y):
    """Returns the losses and accuracies that the paper's weights of 1, 0.3, 0.3 give."""
    weights = dict.fromkeys(HEADS, 1.0) if weights is None else weights
    means = {name: np.mean(values * weights[name]) for name, values in cross_entropies(model, x, y).items()}
    logs = {f"{name}_loss": mean for name, mean in means.items()}
    logs["loss"] = means["main"] + 0.3 * means["aux1"] + 0.3 * means["aux2"]
    for name, p in zip(HEADS, model.predict(x, verbose=0)):
        logs[f"{name}_accuracy"] = np.mean(p.argmax(axis=1) == np.ravel(y))
        rank_of_true = (p > p[np.arange(len(y)), np.ravel(y)][:, None]).sum(axis=1)
        logs[f"{name}_top_5_accuracy"] = np.mean(rank_of_true < 5)
    return logs


def assert_logs(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, **CLOSE, err_msg=key)


def evaluate(model, *args, **kwargs):
    return model.evaluate(*args, **kwargs, verbose=0, return_dict=True)


def gaze(model, x, y=None, **kwargs):
    """Returns the logs of an epoch of `fit` that changes nothing: SGD with a rate of 0."""
    ki.compile_model(model, keras.optimizers.SGD(0.0))
    logs = model.fit(x, y, verbose=0, shuffle=False, **kwargs).history
    twice = {"accuracy", "top_5_accuracy", "val_accuracy", "val_top_5_accuracy"}  # the main head's once more
    return {key: values[-1] for key, values in logs.items() if key not in twice}


@pytest.fixture
def model(three_heads):
    return three_heads(CLASSES)


@pytest.mark.parametrize(
    "labels",
    [Y, Y[:, None], Y.astype("int32"), Y.astype("float32"), ONE_HOT, [Y, Y, Y], dict.fromkeys(HEADS, Y)],
    ids=["integers", "column", "int32", "float32", "one-hot", "list per head", "dict per head"],
)
def test_labels_of_every_form_give_the_same_logs(model, labels):
    expected = expected_logs(model)
    assert_logs(evaluate(model, X, labels, batch_size=8), expected)  # the last of three batches holds 6
    assert_logs(gaze(model, X, labels, batch_size=8), expected)


def test_labels_per_head_reach_their_own_head(model):
    other = (Y + 1) % CLASSES
    logs = evaluate(model, X, {"aux2": other, "main": Y, "aux1": Y})
    assert logs["main_loss"] == pytest.approx(expected_logs(model)["main_loss"], rel=1e-5)
    assert logs["aux2_loss"] == pytest.approx(expected_logs(model, y=other)["aux2_loss"], rel=1e-5)
    assert logs["aux2_loss"] != pytest.approx(expected_logs(model)["aux2_loss"], rel=1e-3)


@pytest.mark.tensorflow
@pytest.mark.parametrize("labels", [Y, ONE_HOT, Y[:, None], (Y, Y, Y), dict.fromkeys(HEADS, Y)])
def test_tf_data_with_a_smaller_last_batch_gives_exact_losses(model, labels):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(20)  # 20, then 2
    expected = expected_logs(model)
    assert_logs(evaluate(model, data), expected)
    assert_logs(gaze(model, data), expected)
    of_batches = np.mean([cross_entropies(model)["main"][part].mean() for part in (slice(0, 20), slice(20, 22))])
    assert abs(of_batches - expected["main_loss"]) > 1e-3  # a mean over batches would be seen here


def test_torch_data_loader_fits_and_evaluates(model):
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=8)
    expected = expected_logs(model)
    assert_logs(evaluate(model, loader), expected)
    assert_logs(gaze(model, loader), expected)


def test_python_generator_fits(model):
    def batches():
        for start in range(0, 22, 8):
            yield X[start : start + 8], Y[start : start + 8]

    assert_logs(gaze(model, batches(), steps_per_epoch=3), expected_logs(model))


def test_validation_data_and_validation_split_are_scored(model):
    train, held_out = slice(0, 16), slice(16, 22)
    expected = expected_logs(model, x=X[held_out], y=Y[held_out])
    expected = {f"val_{key}": value for key, value in expected.items()}
    expected |= expected_logs(model, x=X[train], y=Y[train])
    assert_logs(gaze(model, X[train], Y[train], validation_data=(X[held_out], Y[held_out])), expected)
    # 22 * (1 - 0.25) = 16.5: Keras trains on the first 16 and holds the last 6 out.
    assert_logs(gaze(model, X, Y, validation_split=0.25), expected)


RAMP = np.linspace(0, 3, 22).astype("float32")
OWN = {"main": np.ones(22, "float32"), "aux1": RAMP, "aux2": RAMP[::-1].copy()}
CLASS_WEIGHT = {"class_weight": {label: 1.0 + label for label in range(CLASSES)}}


@pytest.mark.parametrize(
    ("labels", "arguments", "weights"),
    [
        (Y, CLASS_WEIGHT, 1.0 + Y),
        (Y[:, None], CLASS_WEIGHT, 1.0 + Y),
        (ONE_HOT, CLASS_WEIGHT, 1.0 + Y),
        (Y, {"sample_weight": RAMP}, RAMP),
        (Y, {"sample_weight": list(OWN.values())}, OWN),
        (dict.fromkeys(HEADS, Y), {"sample_weight": OWN}, OWN),
    ],
    ids=["classes", "classes of a column", "classes of one-hot", "examples", "examples per head", "by name"],
)
def test_weights_weigh_the_losses_of_their_examples(model, labels, arguments, weights):
    weights = weights if isinstance(weights, dict) else dict.fromkeys(HEADS, weights)
    # Keras's plain metrics stay unweighted.
    expected = expected_logs(model) | {k: v for k, v in expected_logs(model, weights).items() if k.endswith("loss")}
    assert abs(expected["loss"] / expected_logs(model)["loss"] - 1) > 0.01
    assert_logs(gaze(model, X, labels, batch_size=8, **arguments), expected)
    if "sample_weight" in arguments:
        assert_logs(evaluate(model, X, labels, batch_size=8, **arguments), expected)
    if keras.backend.backend() == "tensorflow" and not isinstance(arguments.get("sample_weight"), list):
        import tensorflow as tf

        parts = (X, labels, *(arguments[key] for key in arguments if key == "sample_weight"))
        data = tf.data.Dataset.from_tensor_slices(parts).batch(8)
        assert_logs(gaze(model, data, **{k: v for k, v in arguments.items() if k == "class_weight"}), expected)


@pytest.mark.parametrize("weights", [(1.0, 0.0, 2.0), {"aux2": 2.0, "main": 1.0, "aux1": 0.0}], ids=["tuple", "dict"])
def test_other_loss_weights_are_used(model, weights):
    assert ki.compile_model(model, "sgd", loss_weights=weights) is model
    logs = evaluate(model, X, Y)
    assert logs["loss"] == pytest.approx(logs["main_loss"] + 2 * logs["aux2_loss"], rel=1e-6)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_compile_model_takes_other_metrics_and_arguments(model):
    ki.compile_model(model, metrics=["accuracy"], run_eagerly=True)
    assert model.run_eagerly
    expected = expected_logs(model)
    assert_logs(evaluate(model, X, Y), {k: v for k, v in expected.items() if "top_5" not in k})


def negative_log_likelihood(y_true, y_pred):
    y_true = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32"), CLASSES)
    return -keras.ops.log(keras.ops.sum(y_true * y_pred, axis=-1))


SPARSE = "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    "loss",
    [
        SPARSE,
        "categorical_crossentropy",
        [SPARSE, SPARSE, keras.losses.SparseCategoricalCrossentropy()],
        dict.fromkeys(HEADS, SPARSE),
        negative_log_likelihood,
        [negative_log_likelihood, SPARSE, "crossentropy"],
        [[SPARSE], (SPARSE,), SPARSE],
    ],
    ids=["string", "of one-hot", "list", "dict", "function", "mixed list", "nested list"],
)
def test_compile_takes_one_loss_for_all_heads_or_one_per_head(model, loss):
    model.compile("sgd", loss=loss, loss_weights=[1.0, 0.3, 0.3], metrics=["accuracy"])
    expected = {k: v for k, v in expected_logs(model).items() if "top_5" not in k}
    assert_logs(evaluate(model, X, Y, batch_size=8), expected)
    if isinstance(loss, str):
        model.compile("sgd", loss=loss, loss_weights=[1.0, 0.3, 0.3], metrics=["accuracy"])
        assert_logs(evaluate(model, X, ONE_HOT, batch_size=8), expected)


def test_several_losses_of_one_head_are_added(model):
    single = ki.inference_model(model)
    expected = expected_logs(model)
    model.compile("sgd", loss={"main": [SPARSE, negative_log_likelihood], "aux1": [SPARSE]})
    logs = evaluate(model, X, Y)
    assert logs["main_loss"] == pytest.approx(2 * expected["main_loss"], rel=1e-5)
    assert logs["loss"] == pytest.approx(2 * expected["main_loss"] + expected["aux1_loss"], rel=1e-5)
    for loss in ([SPARSE, SPARSE], [[SPARSE, SPARSE]]):
        single.compile("sgd", loss=loss)
        assert single.evaluate(X, Y, verbose=0) == pytest.approx(2 * expected["main_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("metrics", "heads"),
    [
        ([["accuracy"], [], []], HEADS[:1]),
        ({"main": ["accuracy"]}, HEADS[:1]),
        ([keras.metrics.SparseCategoricalAccuracy(name="accuracy")], HEADS),
    ],
    ids=["lists", "dict", "an object"],
)
def test_metrics_are_taken_once_or_per_head(model, metrics, heads):
    model.compile("sgd", loss=SPARSE, metrics=metrics)
    logs, expected = evaluate(model, X, Y), expected_logs(model)
    assert {k: v for k, v in logs.items() if "accuracy" in k} == pytest.approx(
        {f"{name}_accuracy": expected[f"{name}_accuracy"] for name in heads}
    )


def test_weighted_metrics_weigh_their_examples(model):
    weight = np.linspace(0, 2, 22).astype("float32")
    model.compile("sgd", loss=SPARSE, weighted_metrics=["accuracy"])
    logs = evaluate(model, X, Y, sample_weight=weight)
    for name, p in zip(HEADS, model.predict(X, verbose=0)):
        assert logs[f"{name}_accuracy"] == pytest.approx(np.average(p.argmax(axis=1) == Y, weights=weight), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables .'aux2_dense/kernel'")  # as is meant here
def test_a_head_without_a_loss_does_not_learn(model):
    model.compile(keras.optimizers.SGD(1.0), loss={"main": SPARSE, "aux1": SPARSE})
    before = {name: model.get_layer(f"{name}_dense").get_weights()[0] for name in HEADS}
    logs = model.fit(X, Y, verbose=0).history
    assert [key for key in logs if key.endswith("loss")] == ["aux1_loss", "loss", "main_loss"]
    after = {name: model.get_layer(f"{name}_dense").get_weights()[0] for name in HEADS}
    assert [not np.array_equal(before[name], after[name]) for name in HEADS] == [True, True, False]


def test_fit_takes_the_step_of_gradient_descent_on_the_weighted_sum(model):
    rate = 0.5
    ki.compile_model(model, keras.optimizers.SGD(rate))
    expected = {}
    for name, weight, p in zip(HEADS, (1.0, 0.3, 0.3), model.predict(X, verbose=0)):
        kernel, bias = model.get_layer(f"{name}_dense").get_weights()
        slope = weight * (p - ONE_HOT) / len(X)  # the gradient of softmax and cross-entropy
        expected[name] = kernel - rate * X.T @ slope, bias - rate * slope.sum(axis=0)
    model.fit(X, Y, batch_size=22, verbose=0)
    for name in HEADS:
        for found, wanted in zip(model.get_layer(f"{name}_dense").get_weights(), expected[name]):
            np.testing.assert_allclose(found, wanted, **CLOSE)


def test_losses_of_layers_are_added(model):
    plain = evaluate(model, X, Y)["loss"]
    model.get_layer("main_dense").kernel.regularizer = keras.regularizers.L2(0.1)
    ki.compile_model(model)
    penalty = 0.1 * np.sum(model.get_layer("main_dense").get_weights()[0] ** 2)
    assert evaluate(model, X, Y)["loss"] == pytest.approx(plain + penalty, rel=1e-5)


def test_logits_give_the_loss_of_their_softmax(three_heads):
    softmax, logits = three_heads(CLASSES, "softmax"), three_heads(CLASSES, None)
    logits.set_weights(softmax.get_weights())
    assert_logs(evaluate(logits, X, Y), expected_logs(softmax))
    assert_logs(evaluate(logits, X, ONE_HOT), expected_logs(softmax))


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([Y, Y], r"`y` must be given once for all heads or once per head, 3 times for .*Received: a list of 2"),
        ({"main": Y, "aux1": Y}, r"`y` by output names must be given for .*Received: y for \['aux1', 'main'\]"),
        ({"main": Y, "aux1": Y, "aux2": Y, "aux3": Y}, r"`y` by output names must be given for .*'aux3'"),
    ],
    ids=["two of three", "one missing", "one unknown"],
)
def test_labels_for_other_heads_are_refused(model, labels, match):
    with pytest.raises(ValueError, match=match):
        model.fit(X, labels, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"loss": [SPARSE, SPARSE]}, "`loss` must be given once for all heads or once per head, 3 times"),
        (
            {"loss": {"softmax0": SPARSE}},
            r"`loss` by output names must be given for .*Received: loss for \['softmax0'\]",
        ),
        ({"loss": SPARSE, "loss_weights": [1.0, 0.3]}, "`loss_weights` must be given once .*Received: a list of 2"),
        ({"loss": SPARSE, "loss_weights": {"main": 1.0}}, r"`loss_weights` by output names .*for \['main'\]"),
        ({"loss": SPARSE, "metrics": [["accuracy"], []]}, "`metrics` must be given once .*Received: a list of 2"),
    ],
)
def test_compile_refuses_what_fits_no_head(model, arguments, match):
    with pytest.raises(ValueError, match=match):
        model.compile("sgd", **arguments)


def test_compile_model_refuses_outputs_whose_loss_it_does_not_know(three_heads):
    with pytest.raises(ValueError, match=r"must be softmaxes or logits.*activation=sigmoid"):
        three_heads(CLASSES, "sigmoid")


def test_the_whole_network_fits_plain_arrays(fitted):
    # Without dropout and batch norm, training sees the numbers that `predict` gave before the step.
    means = [-np.log(p[np.arange(4), fitted.labels].astype("float64")).mean() for p in fitted.before["predictions"]]
    expected = dict(zip(("main_loss", "aux1_loss", "aux2_loss"), means))
    expected["loss"] = means[0] + 0.3 * means[1] + 0.3 * means[2]
    # The graph of training sums in another order than that of prediction, through 22 layers.
    for key, value in expected.items():
        np.testing.assert_allclose(fitted.logs[key][0], value, rtol=1e-4, err_msg=key)
    for weight, before in zip(fitted.model.weights, fitted.before["weights"]):
        assert not np.array_equal(keras.ops.convert_to_numpy(weight), before), weight.path
