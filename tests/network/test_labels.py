"""Labels that name no class are refused, in words, before the step that would learn from them."""

import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.network.labels import check_labels

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
@pytest.mark.tensorflow
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [changed(Y, 4, 7), changed(Y, 4, 0.5), changed(ONE_HOT, 4, 0)])
def test_a_late_batch_of_a_dataset_is_refused_before_its_step(labels, smoothing, three_heads):
    import tensorflow as tf

    def data(y):
        return tf.data.Dataset.from_tensor_slices((X, y)).batch(2)

    model = ki.compile_model(three_heads(CLASSES), label_smoothing=smoothing)
    with pytest.raises(InputError, match=RULE):
        model.fit(data(labels), verbose=0)
    assert int(model.optimizer.iterations) == 2  # the third batch is wrong
    with pytest.raises(InputError, match=RULE):
        model.evaluate(data(labels), verbose=0)
    with pytest.raises(InputError, match=RULE):
        model.fit(data(Y), validation_data=data(labels), verbose=0)
    assert int(model.optimizer.iterations) == 5
