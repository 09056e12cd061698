"""A training that is watched is the same training."""

import keras
import numpy as np
import pytest
from keras import layers
from small_trainings import classifier, examples

from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow


def test_a_watched_training_is_bitwise_the_same_and_traces_once(said):
    """Dropout, batch normalization and a smaller last batch included."""
    images, labels = examples(100)
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    def trained(callbacks):
        keras.utils.set_random_seed(3)
        model = classifier(normalize=0.9, dropout=0.3, middle=Counted())
        traces.clear()
        for _ in range(2):
            model.fit(images, labels, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights(), len(traces)

    plain, times = trained([])
    watched, watched_times = trained(diagnosis.callbacks(said.append))
    for ours, theirs in zip(watched, plain):
        np.testing.assert_array_equal(ours, theirs)
    assert watched_times == times
