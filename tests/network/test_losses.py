"""The loss of every head against Keras's own and against NumPy."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.network.losses import SparseCategoricalCrossentropy, logs_by_head, other_names

LABELS = np.array([0, 2, 1, 2])
LOGITS = np.array([[1.0, 0.5, -1.0], [0.2, 0.1, 0.0], [-2.0, 3.0, 1.0], [0.0, 0.0, 4.0]], "float32")


def by_hand(labels, smoothing):
    """Cross-entropy of (1 - smoothing) of the label plus an even share of all classes, one value an image."""
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    return -(1 - smoothing) * log_p[np.arange(4), labels] - smoothing * log_p.mean(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("form", ["integers", "column", "floats", "one-hot"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_every_form_of_labels_gives_the_same_loss(form, smoothing, from_logits):
    labels = {
        "integers": LABELS,
        "column": LABELS[:, None],
        "floats": LABELS.astype("float32"),
        "one-hot": np.eye(3, dtype="float32")[LABELS],
    }[form]
    predictions = LOGITS if from_logits else np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    loss = SparseCategoricalCrossentropy(from_logits, smoothing, reduction=None)
    # float32 with Keras's clipping of probabilities at 1e-7
    np.testing.assert_allclose(loss(labels, predictions), by_hand(LABELS, smoothing), rtol=1e-5)


def test_the_loss_is_saved_with_its_smoothing():
    config = keras.saving.serialize_keras_object(SparseCategoricalCrossentropy(True, 0.2))
    again = keras.saving.deserialize_keras_object(config)
    assert (again.from_logits, again.label_smoothing) == (True, 0.2)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ki.InputError, match=f"at least 0 and below 1. Received: label_smoothing={smoothing}"):
        SparseCategoricalCrossentropy(label_smoothing=smoothing)


@pytest.mark.parametrize("loss", [lambda y_true, y_pred: keras.ops.sum(y_pred, -1) * 0 + 2, "kl_divergence"])
def test_a_loss_may_be_a_function_or_a_name(loss, three_heads):
    model = three_heads(classes=3)
    model.compile("sgd", loss)
    logs = model.evaluate(np.zeros((4, 5)), np.eye(3)[LABELS], verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(sum(logs[f"{head}_loss"] for head in ("main", "aux1", "aux2")))
    assert logs["main_loss"] > 0


def test_logs_are_sorted_by_head():
    logs = {"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0}
    assert logs_by_head(logs, ["main"], "val_") == {"main": {"loss": 2.0}}
    logs = {"loss": 3.0, "val_main_loss": 1.0, "main_loss": 2.0, "aux1_loss": 4.0, "val_aux1_accuracy": 0.5}
    assert logs_by_head(logs, ["main", "aux1"]) == {"main": {"loss": 2.0}, "aux1": {"loss": 4.0}}
    assert logs_by_head(logs, ["main", "aux1"], "val_") == {"main": {"loss": 1.0}, "aux1": {"accuracy": 0.5}}


def test_heads_whose_names_begin_alike_keep_their_logs():
    logs = {"aux_loss": 1.0, "aux_1_loss": 2.0, "aux_1_accuracy": 3.0, "val_aux_1_loss": 4.0}
    for names in (["aux", "aux_1"], ["aux_1", "aux"]):
        found = logs_by_head(logs, names)
        assert found == {"aux": {"loss": 1.0}, "aux_1": {"loss": 2.0, "accuracy": 3.0}}
        assert logs_by_head(logs, names, "val_") == {"aux": {}, "aux_1": {"loss": 4.0}}
    assert other_names({"aux_accuracy": 0, "aux_1_accuracy": 0}, ["aux", "aux_1"]) == {"accuracy": "aux_accuracy"}
