"""A head that does not learn is said, with its figures, and nothing is said of a healthy training."""

import re

import numpy as np
import pytest
from small_trainings import classifier, drive, examples, heads

from keras_inception import architectures
from keras_inception.training import diagnosis
from keras_inception.training.diagnosis.watcher import Chance

pytestmark = pytest.mark.tensorflow


def test_a_head_that_stays_at_chance_while_another_learns_is_reported_once(said):
    model = classifier(stuck=["main"], architecture=architectures.GOOGLENET)
    model.fit(*examples(), batch_size=4, epochs=5, verbose=0, callbacks=[diagnosis.HeadsAtChance(said.append)])
    assert len(said) == 1
    assert re.fullmatch(
        r"Head main \(on inception_5b\) has not left ln\(4\) = 1\.386 after 3 epochs: its loss is 1\.3[89]\d, while "
        r"aux[12] \(on inception_4[ad]\) learns, at 0\.\d{3}\. What helps: a lower learning rate, a warm-up, "
        r'He initialisation \(`kernel_initializer="he_normal"`\), `architecture="googlenet_bn"`\.',
        said[0],
    )


def test_every_stuck_head_is_named_with_its_row(said):
    model = classifier(architecture=architectures.GOOGLENET, normalize=0.9)
    drive(diagnosis.HeadsAtChance(said.append), model, [heads(0.9, 1.386, 1.385)] * 6)
    assert [message.split(" has")[0] for message in said] == [
        "Head aux1 (on inception_4a)",
        "Head aux2 (on inception_4d)",
    ]
    assert "googlenet_bn" not in said[0]  # it has batch normalization


def test_chance_is_what_a_constant_answer_reaches_where_classes_are_uneven(said):
    images, labels = examples(shares=[160, 16, 8, 8])
    model = classifier(stuck=["aux1"])
    model.fit(images, labels, batch_size=4, epochs=5, verbose=0, callbacks=[diagnosis.HeadsAtChance(said.append)])
    shares = np.array([160, 16, 8, 8]) / 192
    assert len(said) == 1
    assert (
        f"chance, {-(shares * np.log(shares)).sum():.3f} for these frequencies of the classes (ln(4) = 1.386)"
        in said[0]
    )
    assert said[0].startswith("Head aux1 has not left chance")


def test_chance_counts_one_hot_labels_and_sample_weights():
    chance = Chance(classifier())
    chance.update((None, np.eye(4)[[0, 0, 1, 2]], np.array([1.0, 1.0, 4.0, 2.0])))
    shares = np.array([2, 4, 2]) / 8
    assert chance.loss == pytest.approx(-(shares * np.log(shares)).sum() * 8 / 4)
    assert chance.accuracy == 0.5


# Losses of the paper's network on digits under the recipe `quick`: aux1 lags by an epoch, and all is well.
DIGITS = [
    heads(2.358, 2.895, 2.565) | heads(1.959, 2.284, 2.248, "val_"),
    heads(1.270, 2.217, 1.975) | heads(0.929, 2.013, 1.378, "val_"),
    heads(0.434, 1.816, 0.973) | heads(0.247, 1.260, 0.332, "val_"),
    heads(0.196, 1.063, 0.374) | heads(0.231, 0.656, 0.156, "val_"),
]
# The same at a rate of 2e-3 without warm-up.
DIGITS_STUCK = [
    heads(2.496, 2.440, 2.383) | heads(2.307, 2.296, 2.305, "val_"),
    heads(2.295, 2.295, 2.300) | heads(2.319, 2.349, 2.323, "val_"),
    heads(2.304, 2.310, 2.305) | heads(2.303, 2.304, 2.304, "val_"),
    heads(2.304, 2.307, 2.303) | heads(2.304, 2.301, 2.305, "val_"),
    heads(2.304, 2.307, 2.303) | heads(2.304, 2.301, 2.305, "val_"),
]


def test_a_healthy_training_in_which_a_head_lags_is_not_reported(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), three_heads(classes=10), DIGITS)
    without_validation = [{k: v for k, v in logs.items() if not k.startswith("val_")} for logs in DIGITS]
    drive(diagnosis.HeadsAtChance(said.append), three_heads(classes=10), without_validation)
    assert not said


@pytest.mark.parametrize(
    ("losses", "epochs", "steps", "reported"),
    [((2.303, 0.5, 2.303), 1, 9_999, 0), ((2.303, 0.5, 2.303), 1, 10_000, 2), ((2.303, 0.5, 0.5), 19, 5, 0)],
)
def test_few_epochs_and_few_steps_are_not_enough(losses, epochs, steps, reported, said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), three_heads(classes=10), [heads(*losses)] * epochs, steps=steps)
    assert len(said) == reported


def test_a_training_in_which_nothing_learns_is_reported_once(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), three_heads(classes=10), DIGITS_STUCK[:4])
    assert not said  # 184 steps
    drive(diagnosis.HeadsAtChance(said.append), three_heads(classes=10), DIGITS_STUCK * 2)
    assert len(said) == 1
    assert said[0].startswith(
        "Nothing learns: after 5 epochs (230 steps) no head has left ln(10) = 2.303; the losses are main 2.304, aux1 "
        "2.301, aux2 2.303. Look first whether images and labels belong together. What helps otherwise: a lower"
    )


def test_a_head_without_weight_and_other_losses_are_passed_over(said):
    model = classifier(stuck=["aux2"], loss_weights=(1, 0.3, 0))
    drive(diagnosis.HeadsAtChance(said.append), model, [heads(0.5, 0.5, 1.386)] * 4)
    model = classifier()
    model.compile("sgd", loss="mean_squared_error")
    drive(diagnosis.HeadsAtChance(said.append), model, [heads(5.0, 0.5, 5.0)] * 4)
    assert not said


def test_a_healthy_training_is_silent(said):
    """All callbacks on a training that ends well, but that of the pipeline: its steps are too short to time."""
    images, labels = examples(200)
    model = classifier(normalize=0.9)
    history = model.fit(
        images, labels, batch_size=16, epochs=6, verbose=0, validation_data=examples(60, seed=1),
        callbacks=diagnosis.callbacks(said.append)[1:],
    ).history  # fmt: skip
    assert history["val_main_accuracy"][-1] > 0.9
    assert not said


def test_messages_are_warnings_by_default(three_heads):
    with pytest.warns(UserWarning, match="Nothing learns: after 5 epochs"):
        drive(diagnosis.HeadsAtChance(), three_heads(classes=10), DIGITS_STUCK)
