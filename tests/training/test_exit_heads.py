"""Heads at other rows, trained on a trunk that stays what it is: from the options to a calibrated exit."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import AuxiliaryHead
from keras_inception.cli import train as command
from keras_inception.errors import InputError
from keras_inception.serving.exits import exit_names
from keras_inception.training import TrainConfig, train
from keras_inception.training.config import to_options


def test_an_architecture_has_heads_where_they_are_asked_for():
    network = architectures.get("googlenet_bn", 0.5)
    found = network.with_heads(["inception_4d", "inception_3b", "pool2_3x3_s2"])
    assert found.auxiliary_heads == (
        AuxiliaryHead("aux_pool2_3x3_s2", "pool2_3x3_s2", "aux_pool2_3x3_s2"),
        AuxiliaryHead("aux_3b", "inception_3b", "aux_3b"),
        AuxiliaryHead("aux2", "inception_4d", "loss2"),  # the paper's, with its name and weights
    )
    assert (found.name, found.rows) == (network.name, network.rows)
    assert network.with_heads(()).heads == ("main",)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (["inception_9z"], r"`heads` must be rows of 'googlenet': conv1_7x7_s2, .*Received: heads=inception_9z"),
        (["inception_3b", "inception_3b"], "`heads` must be .*names of rows, each once. Received: heads="),
        ("inception_3b", "`heads` must be .*names of rows, each once. Received: heads='inception_3b'"),
    ],
)
def test_heads_that_are_no_rows_are_refused(heads, message):
    with pytest.raises(InputError, match=message):
        TrainConfig.of(heads=heads)


def test_the_command_takes_heads_and_distillation():
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = "--heads inception_3b inception_4a --distillation 0.5 --distillation-temperature 4 --freeze-through main"
    config = command.config_of(vars(parser.parse_args(["train", *options.split()])))
    assert config.resolved_architecture.heads == ("main", "aux_3b", "aux1")
    assert (config.recipe.distillation, config.recipe.distillation_temperature) == (0.5, 4)
    assert config.freeze_through == "main"
    assert TrainConfig.of(**json.loads(json.dumps(to_options(config)))) == config  # as a run's file keeps it
    own = replace(config.recipe, name="own")
    earlier = to_options(replace(config, recipe=own))
    for name in ("distillation", "distillation_temperature"):  # which an earlier version's file lacks
        del earlier[name]
    assert TrainConfig.of(**earlier).recipe == replace(own, distillation=0.0, distillation_temperature=3.0)


@pytest.mark.slow
def test_heads_alone_are_trained_on_a_finished_run_and_become_exits(run, image_folder, tmp_path):
    config = TrainConfig.of(
        dataset=str(image_folder),
        weights=str(run.folder),
        architecture=TINY,
        heads=["conv1_3x3_s1", "conv4_3x3"],
        freeze_through="main",
        distillation=0.9,
        epochs=1,
        batch_size=8,
        weight_decay=0.1,
        ema_epochs=0.5,
    )
    with pytest.warns(UserWarning, match=r"except those of aux_conv1_3x3_s1_conv, .*, which begin anew"):
        model = train(config, tmp_path / "heads", verbose=0, report=lambda message: None).model
    assert model.output_names == ["main", "aux_conv1_3x3_s1", "aux2"]
    before = {layer.name: layer.get_weights() for layer in run.model.layers}
    for layer in model.layers:
        if layer.weights and not layer.name.startswith(("loss2", "aux")):
            assert all(map(np.array_equal, layer.get_weights(), before[layer.name])), layer.name
    assert not np.array_equal(model.get_layer("loss2_fc").get_weights()[0], before["loss2_fc"][0])

    again = ki.load_model(tmp_path / "heads")
    assert exit_names(again) == ["aux_conv1_3x3_s1", "aux2", "main"]
    images = np.random.default_rng(0).uniform(-1, 1, (40, 10, 10, 3)).astype("float32")
    exits = ki.calibrate_exits(again, (images, np.arange(40) % 2), 1.0)
    left = np.array(ki.early_exit_model(again, exits)(images)["exit"])
    for index, name in enumerate(exit_names(again)):
        assert np.mean(left == index) == pytest.approx(exits.chosen.shares.get(name, 0), abs=0.03)


def test_a_frozen_main_head_learns_again_where_less_is_frozen():
    model = ki.GoogLeNet(architecture=TINY, classes=3)

    def learning():
        return {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}

    ki.freeze(model, through="main")
    assert learning() == {"loss1", "loss2"}
    ki.freeze(model, through="conv4_3x3")
    assert learning() == {"loss1", "loss2", "loss3"}
