"""A training that waits for its data is said with both times."""

import re
import time

import pytest
import tensorflow as tf
from keras import layers
from small_trainings import batches, classifier, examples

from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow

FIGURES = (
    r"Training waits for the input pipeline: ([\d.]+) ms for each batch, beside ([\d.]+) ms of computing, (\d+)% of "
    r"the time\. What helps: `\.prefetch\(tf\.data\.AUTOTUNE\)`"
)


def sleep(seconds):
    def slept(x):
        time.sleep(seconds)
        return x

    def apply(x, *label):
        slow = tf.numpy_function(slept, [x], tf.float32)
        slow.set_shape(x.shape)
        return (slow, *label) if label else slow

    return apply


class Slow(layers.Layer):
    """Computes for some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def call(self, x):
        return tf.grad_pass_through(sleep(self.seconds))(x)


def watched_pipeline(said, *, pipeline_seconds, step_seconds):
    callback = diagnosis.InputPipeline(said.append)
    data = batches(*examples(8 * 32)).map(sleep(pipeline_seconds))
    data = data.prefetch(tf.data.AUTOTUNE)
    classifier(middle=Slow(step_seconds)).fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
    return callback


def test_a_slow_pipeline_is_reported_with_both_times(said):
    """The pipeline takes 60 ms, the step 30: TensorFlow prefetches by itself, and the step waits for what is left."""
    watched_pipeline(said, pipeline_seconds=0.06, step_seconds=0.03)
    assert len(said) == 1
    waiting, computing, share = map(float, re.match(FIGURES, said[0]).groups())
    assert waiting + computing >= 58  # the pace of the pipeline
    assert computing >= 30
    assert 10 < waiting < 40  # above, on a machine that others use too, computing takes longer
    assert share == pytest.approx(100 * waiting / (waiting + computing), abs=1)


def test_a_pipeline_faster_than_the_step_is_not_reported(said):
    watched_pipeline(said, pipeline_seconds=0.005, step_seconds=0.04)
    assert not said


def test_the_first_hundred_steps_are_enough(said):
    callback = diagnosis.InputPipeline(said.append)
    callback.set_model(classifier())
    callback.on_train_begin()
    for batch in range(103):
        assert not said or batch == 102
        callback.waiting_seconds, callback.computing_since = 0.05, time.perf_counter() - 0.01
        callback.on_train_batch_end(batch, {})
    assert re.match(FIGURES, said[0]).group(1) == "50.0"
