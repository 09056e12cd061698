"""Weights of losses that follow a schedule: each step has its own, on every backend, and the log says it."""

import json

import keras
import numpy as np
import pytest
from keras.optimizers.schedules import CosineDecay, PolynomialDecay

import keras_inception as ki

IMAGES = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
LABELS = np.arange(40) % 3
FALLING = [1.0, PolynomialDecay(0.4, 10, 0.0), CosineDecay(0.8, 10)]
# Of the ten steps of two epochs: a straight line, and half a wave, both to 0.
EACH = [[1.0, 0.4 * (1 - step / 10), 0.8 * (1 + np.cos(np.pi * step / 10)) / 2] for step in range(10)]


def fitted(three_heads, epochs=2, **options):
    keras.utils.set_random_seed(0)
    model = ki.compile_model(three_heads(3), keras.optimizers.SGD(0.5), FALLING, **options)
    history = model.fit(IMAGES, LABELS, 8, epochs, 0, shuffle=False, validation_data=(IMAGES, LABELS)).history
    return model, history


def stepped(three_heads):
    """Returns the weights after the same ten steps, each with its own numbers."""
    keras.utils.set_random_seed(0)
    model = three_heads(3)
    for step, weights in enumerate(EACH):
        ki.compile_model(model, keras.optimizers.SGD(0.5), [float(weight) for weight in weights])
        batch = slice(8 * (step % 5), 8 * (step % 5) + 8)
        model.train_on_batch(IMAGES[batch], LABELS[batch])
    return model.get_weights()


@pytest.fixture
def expected(three_heads):
    return stepped(three_heads)


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 3}], ids=["step by step", "three at once"])
def test_each_step_weighs_the_losses_as_the_schedule_says(options, three_heads, expected):
    if options and keras.backend.backend() == "torch":
        pytest.skip("Keras does not execute several steps at once on PyTorch")
    model, _ = fitted(three_heads, **options)
    for found, each in zip(model.get_weights(), expected):
        np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-6)


def test_the_log_of_an_epoch_says_the_weights_of_its_last_step(three_heads):
    _, history = fitted(three_heads)
    assert history["aux1_loss_weight"] == pytest.approx([EACH[4][1], EACH[9][1]], rel=1e-6)
    assert history["aux2_loss_weight"] == pytest.approx([EACH[4][2], EACH[9][2]], rel=1e-6)
    assert not any(name in history for name in ("main_loss_weight", "val_aux1_loss_weight"))


def test_an_evaluation_takes_the_first_weights(three_heads):
    """So that the losses of epochs can be compared, whatever the training weighs them with."""
    model, history = fitted(three_heads)
    logs = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    total = logs["main_loss"] + 0.4 * logs["aux1_loss"] + 0.8 * logs["aux2_loss"]
    assert logs["loss"] == pytest.approx(total, rel=1e-5) == history["val_loss"][-1]


def test_a_file_keeps_the_schedules_and_the_step(three_heads, expected, tmp_path):
    model, _ = fitted(three_heads, epochs=1)
    model.save(tmp_path / "model.keras")
    json.dumps(model.get_compile_config())
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(IMAGES, LABELS, 8, 2, 0, initial_epoch=1, shuffle=False)
    for found, each in zip(again.get_weights(), expected):
        np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-6)


def test_a_single_head_may_follow_a_schedule_too():
    x = keras.Input((5,))
    model = ki.InceptionModel(x, keras.layers.Dense(3, "softmax", name="main")(x))
    model.compile("sgd", "sparse_categorical_crossentropy", loss_weights=[CosineDecay(1.0, 10)])
    history = model.fit(IMAGES, LABELS, 8, 2, 0, shuffle=False).history
    assert history["loss_weight"] == pytest.approx([(1 + np.cos(0.4 * np.pi)) / 2, (1 + np.cos(0.9 * np.pi)) / 2])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1.0, PolynomialDecay(-0.3, 10), 0.3],
            r"`loss_weights` must be finite numbers of at least 0\. Received: -0\.3",
        ),
        ([1.0, CosineDecay(float("nan"), 10), 0.3], "`loss_weights` must be finite numbers of at least 0"),
        ([1.0, lambda step: 0.3, 0.3], "`loss_weights` must be finite numbers of at least 0"),
    ],
    ids=["negative", "nan", "function"],
)
def test_schedules_that_are_none_are_refused(weights, message, three_heads):
    with pytest.raises(ki.InputError, match=message):
        ki.compile_model(three_heads(3), loss_weights=weights)
