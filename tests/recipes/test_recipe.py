"""Recipes against their sources, typed again; their optimizers against what NumPy computes."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_inception import recipes
from keras_inception.recipes import BVLC, MODERN, PAPER, QUICK, Augmentation
from keras_inception.training import optimizers


def test_paper_is_what_the_paper_says():
    # Going Deeper with Convolutions, sections 5 and 6.
    assert (PAPER.optimizer, PAPER.momentum) == ("sgd", 0.9)
    assert (PAPER.schedule, PAPER.decay_rate, PAPER.decay_epochs) == ("exponential", 0.96, 8)
    assert PAPER.ema_epochs > 0  # Polyak averaging
    assert (PAPER.loss_weights, PAPER.weight_decay, PAPER.label_smoothing) == (None, 0, 0)  # None: the heads' own
    images = PAPER.augmentation
    assert (images.crop_area, images.crop_aspect) == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert images.random_interpolation
    assert images.flip
    # Photometric distortions, as strong as in Howard 2013 and Krizhevsky et al. 2012.
    assert (images.brightness, images.contrast, images.saturation, images.lighting) == (0.5, 0.5, 0.5, 0.1)
    assert (images.mixup, images.cutmix, images.randaugment) == (None, None, None)


def test_bvlc_is_what_its_solver_says():
    # models/bvlc_googlenet/quick_solver.prototxt and train_val.prototxt of BVLC Caffe
    assert (BVLC.optimizer, BVLC.momentum, BVLC.learning_rate) == ("sgd", 0.9, 0.01)
    assert (BVLC.schedule, BVLC.decay_power, BVLC.epochs, BVLC.batch_size) == ("polynomial", 0.5, 60, 32)
    assert (BVLC.weight_decay, BVLC.bias_rate) == (2e-4, 2)
    assert BVLC.augmentation == Augmentation(crop_area=(0.765625, 0.765625), crop_aspect=(1, 1), flip=True)
    assert BVLC.ema_epochs == 0


def test_modern_has_what_it_is_called_after():
    assert (MODERN.schedule, MODERN.label_smoothing) == ("cosine", 0.1)
    assert min(MODERN.warmup_fraction, MODERN.weight_decay, MODERN.ema_epochs) > 0
    # MixUp and CutMix are there to be switched on.
    assert MODERN.augmentation == Augmentation(crop_area=(0.08, 1), flip=True, randaugment=(2, 9))


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        # the paper's: 4% every 8 epochs
        ({"schedule": "exponential", "warmup_fraction": 0}, (0, 79, 80, 160), (0.5, 0.5, 0.5 * 0.96, 0.5 * 0.96**2)),
        # BVLC's: with the square root of what is left
        ({"schedule": "polynomial", "warmup_fraction": 0}, (0, 75, 96, 100), (0.5, 0.25, 0.1, 0)),
        # a tenth of the peak at first: the first of ten steps of warm-up; half of it half way down
        ({"schedule": "cosine", "warmup_fraction": 0.1}, (0, 10, 55, 100), (0.05, 0.5, 0.25, 0)),
    ],
    ids=["paper", "bvlc", "quick"],
)
def test_rates_fall_as_their_sources_say(changes, steps, expected):
    rate = optimizers.learning_rate(replace(QUICK, learning_rate=0.5, epochs=10, **changes), 10)
    assert [float(rate(step)) for step in steps] == pytest.approx(expected, abs=5e-8)


def test_a_constant_rate_is_a_number():
    assert optimizers.learning_rate(replace(QUICK, schedule="constant", warmup_fraction=0.0), 10) == 5e-4


@pytest.fixture
def layers():
    """A model of a kernel, a bias, gamma and beta, with weights that are not zero."""
    x = keras.Input((3,))
    norm = keras.layers.BatchNormalization(beta_initializer="ones", name="norm")
    dense = keras.layers.Dense(2, bias_initializer="ones", name="dense")
    model = keras.Model(x, norm(dense(x)))
    return model, {variable.path: variable for variable in model.trainable_variables}


def steps_with_gradient_one(optimizer, variables, steps):
    for _ in range(steps):
        optimizer.apply([keras.ops.ones(variable.shape) for variable in variables], variables)


def test_caffes_sgd_decays_weights_through_the_momentum_and_moves_biases_twice_as_fast(layers):
    model, variables = layers
    start = {path: np.array(variable) for path, variable in variables.items()}
    constant = replace(BVLC, schedule="constant", learning_rate=0.1, weight_decay=0.5)
    steps_with_gradient_one(optimizers.optimizer(constant, 10), model.trainable_variables, 2)
    expected = {}
    for path, value in start.items():
        decay, speed = {"dense/kernel": (0.5, 1), "dense/bias": (0, 2)}.get(path, (0, 1))
        velocity = 0.0
        for _ in range(2):  # Caffe: V = 0.9 V + rate * (gradient + decay * W); W = W - V
            velocity = 0.9 * velocity + 0.1 * speed * (1 + decay * value)
            value = value - velocity
        expected[path] = value
    assert len(expected) == 4
    for path, variable in variables.items():
        np.testing.assert_allclose(np.array(variable), expected[path], rtol=1e-5, err_msg=path)


def test_adamw_spares_biases_and_norms_also_after_a_round_trip(layers):
    model, variables = layers
    optimizer = optimizers.optimizer(replace(MODERN, schedule="constant", warmup_fraction=0.0, weight_decay=0.5), 10)
    optimizer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    before = {path: np.array(variable) for path, variable in variables.items()}
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables],
                    model.trainable_variables)  # fmt: skip
    for path, variable in variables.items():
        factor = 1 - 5e-4 * 0.5 if path == "dense/kernel" else 1
        np.testing.assert_allclose(np.array(variable), before[path] * factor, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_optimizer_survives_a_round_trip(name, layers):
    model, _ = layers
    optimizer = optimizers.optimizer(recipes.RECIPES[name], 10)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()
    before = [np.array(variable) for variable in model.trainable_variables]
    steps_with_gradient_one(optimizer, model.trainable_variables, 2)
    first = [np.array(variable) for variable in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, before):
        variable.assign(value)
    steps_with_gradient_one(again, model.trainable_variables, 2)
    for variable, value in zip(model.trainable_variables, first):
        np.testing.assert_array_equal(np.array(variable), value)


def test_the_average_spans_as_many_epochs_as_the_recipe_says():
    optimizer = optimizers.optimizer(replace(QUICK, ema_epochs=2), steps_per_epoch=50)
    assert optimizer.ema_momentum**100 == pytest.approx(1 / math.e)  # after two epochs of 50 steps


def test_averaged_weights_come_and_go_without_a_rounding(layers):
    model, _ = layers
    optimizer = optimizers.optimizer(replace(PAPER, ema_epochs=1), steps_per_epoch=2)
    model.compile(optimizer)
    first = [np.array(variable) for variable in model.trainable_variables]
    steps_with_gradient_one(optimizer, model.trainable_variables, 3)
    weights = [np.array(variable) for variable in model.trainable_variables]
    with optimizers.averaged_weights(model):
        for variable, begin, end in zip(model.trainable_variables, first, weights):
            assert (np.array(variable) < begin).all()
            assert (np.array(variable) > end).all()
    for variable, value in zip(model.trainable_variables, weights):
        np.testing.assert_array_equal(np.array(variable), value)


def test_weights_of_auxiliary_losses_fall_to_0_over_all_steps():
    weights, heads = {"main": 1.0, "aux1": 0.3, "aux2": 0.0}, ("main", "aux1", "aux2")

    def found(schedule, step):
        recipe = replace(QUICK, epochs=10, aux_loss_schedule=schedule)
        fallen = optimizers.loss_weights(recipe, weights, heads, 4).values()
        return [float(weight(step)) if callable(weight) else weight for weight in fallen]

    assert found("constant", 20) == [1.0, 0.3, 0.0]
    assert [found("linear", step) for step in (0, 10, 40)] == [
        pytest.approx([1.0, weight, 0.0], abs=1e-7) for weight in (0.3, 0.225, 0.0)
    ]
    half = 0.3 * (1 + math.cos(math.pi / 4)) / 2
    assert [found("cosine", step) for step in (0, 10, 40)] == [
        pytest.approx([1.0, weight, 0.0], abs=1e-7) for weight in (0.3, half, 0.0)
    ]
    assert list(optimizers.loss_weights(QUICK, weights, heads[:1], 4)) == ["main"]
