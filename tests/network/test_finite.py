"""Images of another shape, and images and weights that are not finite, are refused on every backend.

The model answers afterwards as before.
"""

import keras
import numpy as np
import pytest

import keras_inception as ki

CALLS = ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]


def calls(model):
    """Returns what takes images and labels, by name."""
    return {
        "fit": lambda x, y: model.fit(x, y, batch_size=4, shuffle=False, verbose=0),
        "evaluate": lambda x, y: model.evaluate(x, y, batch_size=4, verbose=0),
        "predict": lambda x, _: model.predict(x, batch_size=4, verbose=0),
        "train_on_batch": lambda x, y: model.train_on_batch(x[4:], y[4:]),
        "test_on_batch": lambda x, y: model.test_on_batch(x[4:], y[4:]),
        "predict_on_batch": lambda x, _: model.predict_on_batch(x[4:]),
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CALLS)
def test_images_that_are_not_finite_are_refused_and_counted(three_heads, name, bad):
    model, labels = three_heads(), np.arange(8) % 7
    images = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    sound = images[:4]
    if name != "fit":  # which has taken its first step before it meets the second batch
        before = np.array(model.predict(sound, verbose=0)[0])
    images[5, 2] = bad
    with pytest.raises(ki.InputError, match=r"in 1 of the 4 images of a batch, the first at index 1"):
        calls(model)[name](images, labels)
    found = np.array(model.predict(sound, verbose=0)[0])
    assert np.isfinite(found).all()
    if name != "fit":
        np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("shape", [(8, 4), (8, 5, 1), (8,)])
@pytest.mark.parametrize("name", CALLS)
def test_images_of_another_shape_are_refused(three_heads, name, shape):
    if name in ("train_on_batch", "test_on_batch") and keras.backend.backend() != "tensorflow":
        pytest.skip("Keras itself refuses the batch before")
    model, sound = three_heads(), np.ones((4, 5), "float32")
    before = np.array(model.predict(sound, verbose=0)[0])
    with pytest.raises(ki.InputError, match=r"of shape \(None, 5\), where .* Received: \w+ of shape \(4,"):
        calls(model)[name](np.ones(shape, "float32"), np.arange(8) % 7)
    np.testing.assert_array_equal(np.array(model.predict(sound, verbose=0)[0]), before)


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_data_without_an_image_are_refused(three_heads, name):
    with pytest.raises(ki.InputError, match=r"at least one image.*Received: images of shape \(0, 5\)"):
        calls(three_heads())[name](np.ones((0, 5), "float32"), np.arange(0))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_a_batch_without_an_image_is_refused(three_heads, name):
    import tensorflow as tf

    examples = tf.data.Dataset.from_tensor_slices((np.ones((4, 5), "float32"), np.arange(4)))
    batches = examples.batch(4).concatenate(examples.batch(4).map(lambda x, y: (x[:0], y[:0])))
    model = three_heads()
    with pytest.raises(ki.InputError, match=r"each of its batches.*Received: images of shape \(0, 5\)"):
        getattr(model, name)(batches, verbose=0, **({"shuffle": False} if name == "fit" else {}))


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_complex_images_are_refused(three_heads, name):
    with pytest.raises(ki.InputError, match=r"real numbers.*complex64"):
        calls(three_heads())[name](np.ones((8, 5), "complex64"), np.arange(8) % 7)


@pytest.mark.parametrize("name", CALLS)
def test_weights_that_are_not_finite_are_refused_and_named(three_heads, name):
    model = three_heads()
    weights = model.get_weights()
    weights[0][0, 0] = np.inf
    model.set_weights(weights)
    with pytest.raises(ki.InputError, match=r"must be finite, and main_dense/kernel holds 1 values"):
        calls(model)[name](np.zeros((8, 5), "float32"), np.arange(8) % 7)


class Breaks(keras.callbacks.Callback):
    """Makes a weight NaN at the end of a step; keeps what callbacks see of the validation."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        weights = self.model.get_weights()
        weights[0][0, 0] = np.nan
        self.model.set_weights(weights)

    def on_epoch_end(self, epoch, logs=None):
        self.seen = [value for name, value in logs.items() if name.startswith("val_")]


@pytest.mark.filterwarnings("ignore:The training diverged")
def test_a_validation_of_weights_that_are_not_finite_scores_nan(three_heads):
    model, breaks = three_heads(), Breaks()
    x, y = np.zeros((8, 5), "float32"), np.arange(8) % 7
    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[breaks])
    assert len(breaks.seen) >= 4
    assert np.isnan(breaks.seen).all()
