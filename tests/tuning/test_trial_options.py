"""Options of a training that hold in each trial of a search."""

from types import SimpleNamespace

import keras_tuner
import pytest
import tensorflow as tf
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception import data
from keras_inception.cli import main
from keras_inception.training import TrainConfig
from keras_inception.tuning import search as searches


@pytest.mark.parametrize(("options", "epochs"), [({"patience": 1}, 2), ({"max_minutes": 1e-6}, 1)])
def test_a_trial_ends_as_its_configuration_says(options, epochs):
    config = TrainConfig.of(architecture=TINY, epochs=5, **options)
    # With so low a rate no epoch is better than the first.
    hypermodel = ki.GoogLeNetHyperModel((10, 10, 3), 2, {"learning_rate": [1e-12]}, config=config)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    images, labels = images_and_labels(8)
    history = hypermodel.fit(hp, model, images, labels, validation_data=(images, labels), epochs=5, verbose=0)
    assert len(history.epoch) == epochs


def test_classes_count_alike_in_a_trial_where_they_are_to(image_folder):
    for class_weight, length in ((None, 2), ("balanced", 3)):
        config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, class_weight=class_weight, image_size=10)
        loaded = data.load(image_folder, architecture=TINY)
        hypermodel = searches._OnDataset(tf.distribute.get_strategy(), loaded, ["learning_rate"], config)
        arguments, _ = hypermodel.feed(config, SimpleNamespace(preprocessing="inception"))
        assert len(arguments["x"].element_spec) == length


def test_the_command_offers_them(capsys):
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    text = capsys.readouterr().out
    assert all(option in text for option in ("--patience N", "--max-minutes X", "--class-weight NAME"))
    assert "--cache" not in text  # each trial begins with its images
