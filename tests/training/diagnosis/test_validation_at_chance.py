"""Validation at chance is said with its reason, and nothing is said of a network that overfits."""

import re

import pytest
from small_trainings import CLASSES, classifier, drive, examples, heads

from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow


def fitted(said, model, data, validation):
    model.fit(
        *data, batch_size=8, epochs=5, verbose=0, validation_data=validation,
        callbacks=[diagnosis.ValidationAtChance(said.append)],
    )  # fmt: skip


@pytest.mark.parametrize(("momentum", "reported"), [(0.995, 1), (0.7, 0)])
def test_statistics_of_batch_normalization_that_lag_are_reported_with_their_momentum(said, momentum, reported):
    fitted(said, classifier(normalize=momentum), examples(shift=30.0), examples(64, shift=30.0, seed=1))
    assert len(said) == reported
    pattern = (
        r"Validation is at chance after (\d) epochs? \(main: loss [\d.]+, accuracy [\d.]+%\) while training is not "
        r"\(loss 0\.\d+, accuracy [\d.]+%\)\. The statistics of batch normalization lag: in inference mode the last "
        r"training batch has a loss of [\d.]+ too\. With a momentum of 0\.995, (\d+)% of them are the initial values "
        r"after (\d+) steps, and they are 200 steps behind the weights\. What helps: a momentum of 0\.9, more steps"
    )
    for message in said:
        epoch, share, steps = map(int, re.match(pattern, message).groups())
        assert steps == 24 * epoch
        assert share == round(100 * 0.995**steps)


def test_validation_images_that_differ_are_told_from_statistics_that_lag(said):
    images, labels = examples(64, seed=1)
    fitted(said, classifier(), examples(), (images, (labels + 1) % CLASSES))
    assert len(said) == 1
    assert "In inference mode the last training batch does well (loss 0." in said[0]
    assert said[0].endswith("have the preprocessing and the order of classes of the training images.")


def test_a_network_that_overfits_is_not_at_chance(said):
    overfitted = heads(0.1, 0.1, 0.1) | heads(2.5, 2.5, 2.5, "val_") | {"main_accuracy": 0.99, "val_main_accuracy": 0.6}
    drive(diagnosis.ValidationAtChance(said.append), classifier(normalize=0.99), [overfitted])
    without_accuracy = {name: value for name, value in overfitted.items() if "accuracy" not in name}
    drive(diagnosis.ValidationAtChance(said.append), classifier(), [without_accuracy])
    all_at_chance = heads(1.386, 1.386, 1.386) | heads(1.386, 1.386, 1.386, "val_")
    drive(diagnosis.ValidationAtChance(said.append), classifier(normalize=0.99), [all_at_chance, heads(0.1, 0.1, 0.1)])
    assert not said
