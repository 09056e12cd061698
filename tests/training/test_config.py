"""The configuration of a training: recipe, file and option, and which of them wins."""

import argparse
import json
from dataclasses import asdict, fields, replace

import pytest

from keras_inception import TrainConfig
from keras_inception.cli import train
from keras_inception.cli.console import Refused
from keras_inception.recipes.recipe import MODERN, PAPER, QUICK, Recipe


def test_fields_that_are_not_given_are_the_recipes():
    config = TrainConfig(recipe="modern", epochs=7)
    assert config.epochs == 7
    for field in fields(Recipe):
        if field.name not in ("epochs", "flip"):
            assert getattr(config, field.name) == getattr(MODERN, field.name), field.name
    assert TrainConfig().batch_size == QUICK.batch_size


def test_replacing_a_field_keeps_the_others():
    config = replace(TrainConfig(recipe="paper", mixup=0.2), seed=3)
    assert (config.seed, config.mixup, config.schedule) == (3, 0.2, "exponential")


@pytest.mark.parametrize(
    ("options", "flip"),
    [
        ({"dataset": "digits"}, False),
        ({"dataset": "mnist"}, False),
        ({"dataset": "tf_flowers"}, True),
        ({"dataset": "digits", "flip": True}, True),
    ],
)
def test_digits_are_not_mirrored_unless_asked_for(options, flip):
    assert TrainConfig(recipe="paper", **options).flip is flip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1. Received: epochs=0"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0. Received: seed=-1"),
        ({"dropout": 1.0}, "`dropout` must be None, or at least 0 and below 1. Received: dropout=1.0"),
        ({"aux_dropout": -0.5}, "`aux_dropout` must be None, or at least 0 and below 1. Received: aux_dropout=-0.5"),
        ({"architecture": "vgg"}, "`architecture` must be one of googlenet, .*Received: architecture='vgg'"),
        ({"recipe": "best"}, "`recipe` must be one of quick, paper, bvlc, modern. Received: recipe='best'"),
        ({"precision": "int4"}, "`precision` must be one of .*Received: precision='int4'"),
        ({"strategy": "parameter-server"}, "`strategy` must be one of"),
        ({"image_size": 0}, "`image_size` must be None, or a whole number of pixels"),
        ({"validation_fraction": 1.5}, "`validation_fraction` must be at least 0 and below 1"),
        ({"aux_heads": "yes"}, "`aux_heads` must be True or False"),
        ({"freeze_through": "inception_9z"}, "`freeze_through` must be a row of 'googlenet'"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_unknown_fields_are_refused_with_what_was_meant():
    with pytest.raises(TypeError, match=r"Did you mean epochs\? Received: epoch"):
        TrainConfig(epoch=3)


FILES = {
    "config.toml": 'dataset = "flowers"\nrecipe = "paper"\nepochs = 3\ncrop_area = "off"\nrandaugment = [2, 9]\n',
    "config.yaml": "dataset: flowers\nrecipe: paper\nepochs: 3\ncrop_area: false\nrandaugment: [2, 9]\n",
    "config.json": '{"dataset": "flowers", "recipe": "paper", "epochs": 3, "crop_area": null, "randaugment": [2, 9]}',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_hold_any_field(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    config = TrainConfig.from_file(tmp_path / name)
    assert config == TrainConfig(dataset="flowers", recipe="paper", epochs=3, crop_area=None, randaugment=(2, 9))


def test_a_configuration_survives_json(tmp_path):
    config = TrainConfig(recipe="modern", mixup=0.2, loss_weights=(1, 0.5, 0))
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)))
    assert TrainConfig.from_file(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", '{"epoch": 3}', r"must hold fields of a training.*Received: \['epoch'\]"),
        ("config.toml", "epochs 3", "is missing or no TOML file"),
        ("config.yaml", "[unclosed", "is missing or no YAML file"),
        ("config.yaml", "- 3", "must hold fields of a training"),
    ],
)
def test_files_that_are_no_configuration_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_file(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is missing or no JSON file"):
        TrainConfig.from_file(tmp_path / "nothing.json")


def configured(*options):
    """Returns the configuration that options of the command make."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    train.add(parser.add_subparsers(dest="command"))
    arguments = vars(parser.parse_args(["train", *options]))
    values = {name: value for name, value in arguments.items() if name not in ("command", "run")}
    return train._config(values, {name: values.pop(name) for name in ("out", "resume") if name in values})


def test_every_field_is_an_option():
    parser = argparse.ArgumentParser()
    train.add(parser.add_subparsers())
    helped = {action.dest: action for action in parser._subparsers._group_actions[0].choices["train"]._actions}
    for field in fields(TrainConfig):
        assert helped[field.name].help, field.name


def test_options_of_every_kind():
    config = configured(
        *("--recipe", "paper", "--dataset", "flowers", "--epochs", "5", "--learning-rate", "0.25", "--no-aux-heads"),
        *("--crop-area", "0.5", "1", "--randaugment", "2", "9.5", "--mixup", "0.2", "--loss-weights", "1", "0.1", "0"),
        *("--no-flip", "--precision", "auto", "--deterministic"),
    )
    assert (config.dataset, config.epochs, config.learning_rate, config.aux_heads) == ("flowers", 5, 0.25, False)
    assert (config.crop_area, config.randaugment, config.mixup) == ((0.5, 1), (2, 9.5), 0.2)
    assert (config.loss_weights, config.flip, config.precision) == ((1, 0.1, 0), False, "auto")
    assert config.deterministic
    assert config.momentum == PAPER.momentum


def test_off_switches_a_step_of_the_recipe_off():
    config = configured("--recipe", "modern", "--randaugment", "off", "--crop-area", "off")
    assert (config.randaugment, config.crop_area) == (None, None)


def test_options_win_over_the_file_and_the_file_over_the_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "modern"\nepochs = 4\nseed = 9\n')
    config = configured("--config", str(path), "--seed", "1")
    assert (config.epochs, config.seed, config.label_smoothing) == (4, 1, 0.1)
    with pytest.raises(Refused, match="is of the recipe 'modern', and its fields would win over --recipe"):
        configured("--config", str(path), "--recipe", "paper")


def test_resume_takes_the_runs_own_configuration_and_no_other(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(asdict(TrainConfig(epochs=4))))
    assert configured("--resume", str(tmp_path)) == TrainConfig(epochs=4)
    assert configured("--resume", str(tmp_path), "--strategy", "one") == TrainConfig(epochs=4, strategy="one")
    with pytest.raises(Refused, match="leave out --epochs, --out"):
        configured("--resume", str(tmp_path), "--epochs", "5", "--out", "elsewhere")
    with pytest.raises(Refused, match=r"there is no run to go on with: .*nothing has no config\.json"):
        configured("--resume", str(tmp_path / "nothing"))
