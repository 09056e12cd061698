"""The loss of every head against Keras's own and against NumPy."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.network.logs import logs_by_head, other_names
from keras_inception.network.losses import DistilledCrossentropy, SparseCategoricalCrossentropy

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


def test_a_distilled_head_learns_from_labels_and_from_the_main_heads_softmax():
    """By hand in float64: Hinton's soft targets at a temperature, whose gradient the square of it keeps alike."""
    teacher = LOGITS[::-1].astype("float64")
    soft = np.exp(teacher / 2) / np.exp(teacher / 2).sum(-1, keepdims=True)
    learned = np.exp(LOGITS / 2.0) / np.exp(LOGITS / 2.0).sum(-1, keepdims=True)
    expected = 0.75 * by_hand(LABELS, 0.1) + 0.25 * 4 * (soft * np.log(soft / learned)).sum(-1)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    for from_logits, predictions in ((True, LOGITS), (False, probabilities)):
        loss = DistilledCrossentropy(from_logits, 0.1, distillation=0.25, temperature=2.0, reduction=None)
        found = loss((LABELS, teacher.astype("float32")), predictions)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(loss(LABELS, predictions), by_hand(LABELS, 0.1), rtol=1e-5)  # no teacher


def test_the_distilled_loss_is_saved_with_its_numbers():
    config = keras.saving.serialize_keras_object(DistilledCrossentropy(True, 0.2, 0.7, 5.0))
    again = keras.saving.deserialize_keras_object(config)
    numbers = (again.from_logits, again.label_smoothing, again.distillation, again.temperature)
    assert numbers == (True, 0.2, 0.7, 5.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distillation": 1.1}, "`distillation` must be a number from 0 to 1. Received: distillation=1.1"),
        ({"distillation": None}, "`distillation` must be a number from 0 to 1. Received: distillation=None"),
        (
            {"distillation": 0.5, "distillation_temperature": 0},
            "`distillation_temperature` must be a number above 0. Received: distillation_temperature=0",
        ),
    ],
)
def test_distillation_out_of_range_is_refused(options, message, three_heads):
    with pytest.raises(ki.InputError, match=message):
        ki.compile_model(three_heads(), **options)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_auxiliary_heads_learn_from_the_main_head_and_it_not_from_them(activation, three_heads):
    """With the softmax alone as a target, auxiliary heads near the main head, which stays as labels made it."""
    images = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
    labels, weights = np.arange(32) % 3, np.random.default_rng(1).uniform(0.5, 2, 32)

    def trained(**options):
        keras.utils.set_random_seed(0)
        model = ki.compile_model(three_heads(3, activation), keras.optimizers.SGD(0.5), [1, 1, 1], **options)
        logs = [model.train_on_batch(images, labels, weights, return_dict=True) for _ in range(12)]
        return model.get_layer("main_dense").get_weights(), logs

    main, logs = trained(distillation=1.0, distillation_temperature=2.0)
    for weight, expected in zip(main, trained()[0]):
        np.testing.assert_allclose(weight, expected, atol=1e-5)  # as if the others had not learned
    for log in logs:
        assert log["loss"] == pytest.approx(sum(log[f"{head}_loss"] for head in ("main", "aux1", "aux2")), rel=1e-4)
    # The divergence is what is learned; the logs are means over the steps so far.
    assert logs[-1]["aux1_loss"] < 0.5 * logs[0]["aux1_loss"]


def test_a_distilled_loss_learns_from_the_main_head_among_several_losses_too(three_heads):
    images, labels = np.random.default_rng(0).normal(size=(8, 5)).astype("float32"), np.arange(8) % 3
    model, plain = three_heads(3), "sparse_categorical_crossentropy"

    def scored(loss):
        model.compile("sgd", {"main": plain, "aux1": loss})
        return model.evaluate(images, labels, verbose=0, return_dict=True)["aux1_loss"]

    distilled = DistilledCrossentropy(distillation=1.0, temperature=2.0)
    alone, labels_alone = scored(distilled), scored(plain)
    assert abs(alone - labels_alone) > 0.01
    assert scored([distilled]) == pytest.approx(alone, rel=1e-4)
    assert scored([plain, distilled]) == pytest.approx(alone + labels_alone, rel=1e-4)


def test_distillation_stays_with_the_model_in_its_file(three_heads, tmp_path):
    model = ki.compile_model(three_heads(3), "sgd", distillation=0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for network in (model, again):
        kinds = [type(loss).__name__ for loss in network.head_losses.losses]
        assert kinds == ["SparseCategoricalCrossentropy", *["DistilledCrossentropy"] * 2]
    images = np.random.default_rng(0).normal(size=(8, 5))
    losses = [network.evaluate(images, np.arange(8) % 3, verbose=0) for network in (model, again)]
    assert losses[0] == pytest.approx(losses[1])
    assert all(type(loss) is SparseCategoricalCrossentropy for loss in ki.compile_model(again).head_losses.losses)
