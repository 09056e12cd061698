"""Labels that name no class are refused, in words, before the step that would learn from them."""

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.network.labels import check_labels
from keras_inception.network.losses import _resolve_loss, check_labels_of

CLASSES = 4
Y = np.array([0, 3, 1, 2, 2])
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]


def changed(labels, row, value):
    labels = np.array(labels, dtype="float32")
    labels[row] = value
    return labels


@pytest.mark.parametrize(
    "labels",
    [
        Y, Y[:, None], Y.astype("uint8"), Y.astype("float16"), np.array([True, False]), ONE_HOT, 0.9 * ONE_HOT + 0.025,
        0.3 * ONE_HOT + 0.7 * ONE_HOT[::-1], (0.9 * ONE_HOT + 0.025).astype("float16"), Y[:0],
    ],
    ids=["integers", "column", "bytes", "floats", "booleans", "one-hot", "smoothed", "mixed", "rounded", "none"],
)  # fmt: skip
def test_labels_that_name_classes_pass(labels):
    check_labels(labels, CLASSES)


RULE = "Labels must be integers from 0 to 3, or one-hot, for a model of 4 classes."


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        (changed(Y, 1, 4), "from 0.0 to 4.0, 4.0 among them"),
        (changed(Y, 1, -1), "-1.0 among them"),
        (Y + 1, "labels from 1 to 4, 4 among them"),
        (changed(Y, 1, 0.5), "0.5 among them"),
        (changed(Y, 1, np.nan), "nan among them"),
        (changed(Y[:, None], 1, np.inf), "inf among them"),
        (changed(ONE_HOT, 2, 0), r"row 2 of the batch, \[0, 0, 0, 0\], with a sum of 0"),
        (changed(ONE_HOT, 2, 1), "row 2 .* with a sum of 4"),
        (changed(ONE_HOT, 2, (2, -1, 0, 0)), r"row 2 of the batch, \[2, -1, 0, 0\]"),
        (changed(ONE_HOT, 2, np.nan), "row 2 .* with a sum of nan"),
        (np.eye(5)[Y], r"labels of shape \(5, 5\)"),
        (ONE_HOT[None], r"labels of shape \(1, 5, 4\)"),
        (np.array(["cat", "dog"]), "labels of type <U3"),
    ],
)
def test_labels_that_name_no_class_are_refused(labels, received):
    with pytest.raises(InputError, match=f"{RULE}.*Received: .*{received}"):
        check_labels(labels, CLASSES)


X = np.zeros((5, 5), "float32")


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.sparse_categorical_crossentropy, "sparse_categorical_crossentropy", "KLDivergence",
        keras.losses.CategoricalFocalCrossentropy(), "categorical_focal_crossentropy", ["kl_divergence", "mse"],
    ],
    ids=["function", "name", "class", "object", "focal", "list"],
)  # fmt: skip
def test_every_loss_of_classes_has_its_labels_looked_at(three_heads, loss):
    model = three_heads(CLASSES)
    model.compile("sgd", [loss] * 3 if isinstance(loss, list) else loss)
    for labels in (changed(ONE_HOT, 2, 0), changed(ONE_HOT, 2, np.nan), Y + 1):
        with pytest.raises(InputError, match=RULE):
            model.train_on_batch(X, labels)


@pytest.mark.parametrize("loss", ["binary_crossentropy", keras.losses.BinaryFocalCrossentropy(), "mse", lambda y, p: p])
def test_labels_of_other_losses_are_numbers(loss):
    function = _resolve_loss(loss)
    check_labels_of(function, changed(ONE_HOT, 2, 1), CLASSES)  # several classes are true
    with pytest.raises(InputError, match=r"Labels must be numbers.*Received: nan"):
        check_labels_of(function, changed(ONE_HOT, 2, np.nan), CLASSES)
    outside = changed(ONE_HOT, 2, 2)
    if loss == "mse" or (callable(loss) and not isinstance(loss, keras.losses.Loss)):
        check_labels_of(function, outside, CLASSES)
    else:
        with pytest.raises(InputError, match=r"Labels must be numbers from 0 to 1, .*Received: 2"):
            check_labels_of(function, outside, CLASSES)


def test_the_class_that_a_loss_ignores_is_allowed(three_heads):
    model = three_heads(CLASSES)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    assert np.isfinite(model.train_on_batch(X, changed(Y, 1, -1))).all()
    with pytest.raises(InputError, match=RULE):
        model.train_on_batch(X, changed(Y, 1, -2))


def test_labels_of_any_head_are_looked_at_before_the_first_step(three_heads):
    """Arrays, on every backend."""
    model, bad = three_heads(CLASSES), changed(Y, 4, 7)
    before = model.get_weights()
    for labels in (bad, [Y, Y, bad], {"main": Y, "aux1": bad, "aux2": Y}):
        for train in (model.fit, model.evaluate):
            with pytest.raises(InputError, match=RULE):
                train(X, labels, batch_size=1, verbose=0)
    with pytest.raises(InputError, match=RULE):
        model.fit(X, Y, validation_data=(X, bad), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


# Keras says so to everybody who fits a `tf.data.Dataset` without `shuffle=False`.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has no `steps_per_execution` there")
@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (changed(Y, 4, 7), {}),
        (changed(Y, 4, 0.5), {"label_smoothing": 0.1}),
        (changed(ONE_HOT, 4, 0), {}),
        (changed(ONE_HOT, 4, 0), {"label_smoothing": 0.1}),
        (changed(Y, 4, 7), {"steps_per_execution": 3}),
    ],
)
def test_a_late_batch_of_a_dataset_is_refused_before_its_step(labels, options, three_heads):
    tf = pytest.importorskip("tensorflow")

    def data(y):
        return tf.data.Dataset.from_tensor_slices((X, y)).batch(2)

    model = ki.compile_model(three_heads(CLASSES), **options)
    with pytest.raises(InputError, match=RULE):
        model.fit(data(labels), verbose=0)
    # The third batch is wrong; on JAX the batches of an execution are looked at before its first step.
    steps = 0 if options.get("steps_per_execution") and keras.backend.backend() == "jax" else 2
    assert int(model.optimizer.iterations) == steps
    with pytest.raises(InputError, match=RULE):
        model.evaluate(data(labels), verbose=0)
    with pytest.raises(InputError, match=RULE):
        model.fit(data(Y), validation_data=data(labels), verbose=0)
    assert int(model.optimizer.iterations) == steps + 3


WEIGHTS = np.ones(5, "float32")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1])
@pytest.mark.parametrize("per_head", [False, True])
def test_weights_of_examples_that_harm_are_refused_before_the_first_step(three_heads, value, per_head):
    weights = changed(WEIGHTS, 4, value)
    weights = {"aux1": weights} if per_head else weights
    model = three_heads(CLASSES)
    match = rf"`sample_weight` must be finite numbers of at least 0. Received: {value}.* among sample_weight"
    for train in (model.fit, model.evaluate):
        with pytest.raises(InputError, match=match):
            train(X, Y, sample_weight=weights, batch_size=2, verbose=0)
    with pytest.raises(InputError, match=match):
        model.fit(X, Y, validation_data=(X, Y, weights), verbose=0)
    with pytest.raises(InputError, match=match):
        model.train_on_batch(X, Y, sample_weight=weights)
    assert int(model.optimizer.iterations) == 0


def test_weights_of_another_shape_are_refused(three_heads):
    with pytest.raises(InputError, match=r"`sample_weight` must be \(batch,\). Received: sample_weight.shape=\(5, 4\)"):
        three_heads(CLASSES).fit(X, Y, sample_weight=np.ones((5, 4)), verbose=0)


@pytest.mark.slow
def test_classes_are_weighed_by_their_names_too(three_heads):
    logs = []
    for class_weight in ({1: 2.0, 3: 0.5}, {"b": 2.0, 3: 0.5}, {np.int64(1): 2, "d": 0.5}):
        model = three_heads(CLASSES)
        model.set_weights([np.full(w.shape, 0.1 * i) for i, w in enumerate(model.get_weights())])
        model.class_names = list("abcd")
        logs.append(model.fit(X, Y, class_weight=class_weight, verbose=0).history["loss"])
        model.train_on_batch(X, Y, class_weight=class_weight)
    assert logs[0] == logs[1] == logs[2]
    assert logs[0] != three_heads(CLASSES).fit(X, Y, verbose=0).history["loss"]


def test_a_class_that_is_left_out_weighs_1_in_batches_too(three_heads):
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(len(X))
    losses = []
    for data in ((X, Y), (batches,)):
        model = three_heads(CLASSES)
        model.set_weights([np.full(w.shape, 0.1 * i) for i, w in enumerate(model.get_weights())])
        losses.append(model.fit(*data, class_weight={0: 2.0}, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        (
            {"main": {0: 2.0}},
            r"`class_weight` must be a dict.*`sample_weight` may be given by head. Received: .* 'main'",
        ),
        ({"b": 1.0, "z": 2.0}, "or by the model's class names.*Received: the key 'z'"),
        ({4: 1.0}, "from 0 to 3.*Received: the key 4"),
        ({-1: 1.0}, "Received: the key -1"),
        ({0.5: 1.0}, "Received: the key 0.5"),
        ([1, 2, 3, 4], r"Received: class_weight=\[1, 2, 3, 4\]"),
        ("balanced", "Received: class_weight='balanced'"),
        ({0: 2.0, "a": 1.0}, "must name each class once. Received: class_weight={0: 2.0, 'a': 1.0}"),
        ({0: np.nan}, "`class_weight` must be finite numbers of at least 0. Received: nan among"),
        ({0: -2}, "`class_weight` must be finite.*Received: -2"),
        (dict.fromkeys(range(4), 0), "`class_weight` must be above 0 for a class"),
        ({0: None}, "`class_weight` must be finite"),
        ({0: {"main": 1}}, "`class_weight` must be finite"),
    ],
)
def test_weights_of_no_classes_are_refused(three_heads, class_weight, match):
    model = three_heads(CLASSES)
    model.class_names = list("abcd")
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(InputError, match=match):
            train(X, Y, class_weight=class_weight)
    with pytest.raises(InputError, match=match):
        model.fit(X, Y, 5, 1, 0, None, 0.0, None, True, class_weight)
    with pytest.raises(InputError, match=r"goes with labels that are given once for all heads.*Received: y=dict"):
        model.fit(X, {"main": Y, "aux1": Y, "aux2": Y}, class_weight={0: 1.0}, verbose=0)


@pytest.mark.parametrize(
    ("loss_weights", "match"),
    [
        ([1.0, np.nan, 0.3], "finite numbers of at least 0. Received: nan"),
        ({"main": 1.0, "aux1": -0.3, "aux2": 0.3}, "finite numbers of at least 0. Received: -0.3"),
        (np.array([1.0, np.inf, 1.0]), "finite numbers of at least 0. Received: inf"),
        ([1.0, None, 0.3], "finite numbers of at least 0"),
        ("heavy", "finite numbers of at least 0"),
        ([0, 0, 0], r"one of them above 0. Received: loss_weights=\[0, 0, 0\]"),
        ([1.0, 0.3, 0.3, 0.3], "once per head, 3 times for .*Received: a list of 4"),
        (
            {"main": 1.0, "aux3": 0.3},
            r"by output names must be given for .*Received: loss_weights for \['aux3', 'main'\]",
        ),
    ],
)
def test_loss_weights_that_do_nothing_or_harm_are_refused(three_heads, loss_weights, match):
    with pytest.raises(InputError, match=match):
        ki.compile_model(three_heads(CLASSES), loss_weights=loss_weights)


@pytest.mark.tensorflow  # elsewhere Keras makes arrays of what is there before its step
def test_a_training_without_labels_is_refused(three_heads):
    with pytest.raises(InputError, match=r"needs labels: data of \(images, labels\). Received: y=None"):
        three_heads(CLASSES).fit(X, verbose=0)


@pytest.mark.parametrize("labels", [-np.ones(4, "int32"), np.zeros((4, 2), "float32")])
def test_predict_looks_at_no_labels(labels):
    tf = pytest.importorskip("tensorflow")
    model = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=np.int64(2))
    images, _ = images_and_labels(4)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    found, expected = model.predict(dataset, verbose=0), model.predict(images, verbose=0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
