"""A training that waits for its data is said with both times."""

import re

import numpy as np
import pytest
from small_trainings import classifier

from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow

FIGURES = (
    r"Training waits for the input pipeline: ([\d.]+) ms for each batch, beside ([\d.]+) ms of computing, (\d+)% of "
    r"the time\. What helps: `\.prefetch\(tf\.data\.AUTOTUNE\)`"
)


@pytest.fixture
def watch(said):
    """Returns `watch(waits, computing)`: a training whose steps waited, and computed, for so many seconds."""
    model = classifier()

    def watch(waits, computing):
        callback = diagnosis.InputPipeline(said.append)
        callback.set_model(model)
        callback.on_train_begin()
        for batch, waiting in enumerate(waits):
            callback.on_train_batch_begin(batch)
            callback.on_batch((None, np.array([0])), waiting)
            callback.computing_since -= computing
            callback.on_train_batch_end(batch, {})
        return callback

    return watch


def test_the_first_hundred_steps_that_count_are_enough(said, watch):
    watch([0.05] * 101, computing=1.0)  # the first two steps do not count
    assert not said
    watch([0.5] * 102, computing=1.0)
    assert len(said) == 1
    waiting, computing, share = re.match(FIGURES, said[0]).groups()
    assert (waiting, share) == ("500.0", "33")
    assert float(computing) == pytest.approx(1000, rel=0.01)  # and what the test itself takes


@pytest.mark.parametrize(
    ("waits", "computing", "reported"),
    [
        ([0.5] * 12, 1.0, 1),
        ([0.5] * 11, 1.0, 0),  # ten steps count
        ([0.2] * 110, 1.0, 0),  # a sixth of the time
        ([0.0019] * 110, 0.0001, 0),  # below two milliseconds
        ([9.0, 9.0] + [0.01] * 108, 1.0, 0),  # the first batch and step
    ],
)
def test_at_the_epochs_end_only_a_slow_pipeline_is_reported(waits, computing, reported, said, watch):
    watch(waits, computing).on_epoch_end(0)
    assert len(said) == reported
