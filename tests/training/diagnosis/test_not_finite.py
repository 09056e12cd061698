"""Losses and weights that are not finite stop the training, and the cause is named."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from small_trainings import CLASSES, batches, classifier, examples

import keras_inception as ki
from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow


def fit_until_stopped(model, data, epochs=3, more=(), **options):
    callbacks = [diagnosis.StopWhenNotFinite(), *more]
    with pytest.raises(diagnosis.NotFiniteError) as stopped:
        model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **options)
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_images_that_are_not_finite_are_refused_before_the_step_also_without_callbacks(bad, eagerly):
    images, labels = examples()
    images[43, 0] = bad
    message = r"Images must hold finite numbers.*in 1 of the 8 images of a batch, the first at index 3"
    model = classifier(run_eagerly=eagerly)
    with pytest.raises(ki.InputError, match=message):
        model.fit(batches(images, labels), verbose=0, shuffle=False)
    assert int(model.optimizer.iterations) == 5
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    for function in (model.evaluate, model.predict):  # as silently wrong
        with pytest.raises(ki.InputError, match=message):
            function(batches(images, labels), verbose=0)


def test_the_first_layer_whose_output_overflows_is_named_and_the_weights_are_those_from_the_step_before():
    images, labels = examples()
    images[40:48] = 100  # exp(100) is infinite in float32

    def build():
        keras.utils.set_random_seed(5)
        return classifier(middle=layers.Activation("exponential", name="overflow"))

    stopped, shorter = build(), build()
    message = fit_until_stopped(stopped, batches(images, labels))
    assert "at step 6 of epoch 1" in message
    assert "The first layer whose output is not finite on that batch is 'overflow'. What helps: a lower" in message
    shorter.fit(batches(images[:40], labels[:40]), verbose=0, shuffle=False)
    for ours, theirs in zip(stopped.get_weights(), shorter.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_break_under_a_finite_loss_are_seen_at_once():
    message = fit_until_stopped(classifier(learning_rate=float("inf")), batches(*examples()))
    assert message.startswith(
        "Weights became NaN or infinite under a finite loss at step 1 of epoch 1, and training stopped. The output of "
        "every layer is finite on that batch, and the gradient is not. What helps: a lower learning rate, a warm-up"
    )


class Break(keras.callbacks.Callback):
    """Makes a weight behind the first one NaN after that many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.steps:
            self.model.get_layer("aux1_dense").bias.assign(np.full(CLASSES, np.nan, "float32"))


def test_weights_that_broke_in_the_step_before_are_named():
    message = fit_until_stopped(classifier(), batches(*examples()), more=[Break(2)])
    assert "(aux1_loss = nan, loss = nan) at step 3 of epoch 1" in message
    assert "The first layer whose weights are not finite since the step before is 'aux1_dense'." in message


def test_weights_that_are_not_finite_are_refused_and_said_without_callbacks():
    model = classifier()
    with pytest.warns(UserWarning, match=r"The training diverged.*aux1_dense/bias holds 4 values that are NaN or inf"):
        model.fit(*examples(), batch_size=192, verbose=0, callbacks=[Break(1)])
    message = r"weights must be finite, and aux1_dense/bias holds 4 values"
    for function in (model.fit, model.evaluate, lambda images, *_, **options: model.predict(images, **options)):
        with pytest.raises(ki.InputError, match=message):
            function(*examples(8), verbose=0)


def test_a_loss_that_is_not_finite_by_itself_is_told_apart():
    model = classifier()

    def infinite(y, y_pred):
        return keras.ops.sum(y_pred, axis=-1) / 0.0

    model.compile("sgd", loss=infinite)
    message = fit_until_stopped(model, batches(*examples()))
    assert "main_loss = inf" in message
    assert "The output of every layer is finite on that batch, and the loss function is not. What helps:" in message


def test_nothing_is_saved_after_weights_broke(tmp_path):
    """Also those that no step looks at: here the weights behind the first break, in the last step of an epoch."""
    images, labels = examples()
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    message = fit_until_stopped(classifier(), batches(images, labels, size=192), epochs=9, more=[Break(3), save])
    assert message.startswith(
        "Weights are NaN or infinite after the last step of epoch 3, and training stopped. The first layer whose "
        "weights are not finite is 'aux1_dense'."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]
    assert all(np.isfinite(weight).all() for weight in keras.saving.load_model(tmp_path / "2.keras").get_weights())


def test_validation_that_is_not_finite_stops_before_the_epoch_is_saved(tmp_path):
    model = classifier(middle=layers.Activation("exponential", name="overflow"))
    images, labels = examples(8)
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    message = fit_until_stopped(model, batches(*examples()), more=[save], validation_data=batches(images + 100, labels))
    assert re.match(r"The losses are not finite \(val_aux1_loss = nan, .*\) after epoch 1, and training", message)
    assert message.endswith("and look for variances of batch normalization that are far too small.")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_goes_on_after_it_was_stopped():
    model = classifier(middle=layers.Activation("exponential", name="overflow"))
    images, labels = examples()
    images[43, 0] = 100
    fit_until_stopped(model, batches(images, labels))
    ki.compile_model(model)
    history = model.fit(*examples(), epochs=1, verbose=0, callbacks=diagnosis.callbacks()).history
    assert np.isfinite(history["loss"]).all()
