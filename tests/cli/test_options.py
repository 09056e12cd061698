"""The options of a training: each is there with its help, and which of file, option and recipe wins."""

import argparse
import json
import re
from dataclasses import replace

import pytest

from keras_inception.cli import convert, data, evaluate, exits, explain, export, predict, study, summary, train, tune
from keras_inception.errors import InputError
from keras_inception.recipes import PAPER, Augmentation
from keras_inception.training.config import OPTIONS, TrainConfig, to_options


def parsed(*options, module=train):
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add(parser.add_subparsers(dest="command"))
    return parser.parse_args(options)


def configured(*options):
    """Returns the configuration that options of `keras-inception train` make."""
    return train.config_of(vars(parsed("train", *options)))


def test_every_option_is_explained(capsys):
    with pytest.raises(SystemExit):
        parsed("train", "--help")
    text = capsys.readouterr().out
    explained = re.findall(r"^  --([\w-]+)", text, re.MULTILINE)
    assert [explained.count(name.replace("_", "-")) for name in OPTIONS] == [1] * len(OPTIONS)
    text = " ".join(text.split())
    assert "(default: 12; paper 120, bvlc 60, modern 300)" in text  # epochs, as the recipes say
    assert "(default: off; paper 0.08 1, bvlc 0.7656 0.7656, modern 0.08 1)" in text
    assert "(default: --no-flip; paper --flip, bvlc --flip, modern --flip)" in text
    assert not re.search(r"None|False|True|In Python|`Recipe`|SUPPRESS", text)


def test_the_help_begins_with_the_ten_options_that_people_use(capsys):
    with pytest.raises(SystemExit):
        parsed("train", "--help")
    groups = re.split(r"\n(?=\S.*:\n)", capsys.readouterr().out)
    assert re.findall(r"^  --([\w-]+)", groups[2], re.MULTILINE) == [
        *("dataset", "architecture", "weights", "recipe", "epochs", "batch-size", "learning-rate", "image-size"),
        *("out", "resume"),
    ]


@pytest.mark.parametrize("module", [data, evaluate, exits, explain, export, predict, convert, summary, study, tune])
def test_no_help_shows_a_default_that_cannot_be_typed(module, capsys):
    name = module.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit):
        parsed(name, *(["heads"] if name == "study" else []), "--help", module=module)
    assert not re.search(r"\(default: (None|False|True|\[|==)", capsys.readouterr().out)


def test_options_of_every_kind():
    config = configured(
        *("--recipe", "paper", "--dataset", "flowers", "--epochs", "5", "--learning-rate", "0.25", "--no-aux-heads"),
        *("--crop-area", "0.5", "1", "--randaugment", "2", "9.5", "--mixup", "0.2", "--loss-weights", "1", "0.1", "0"),
        *("--no-flip", "--precision", "auto", "--deterministic", "--width", "0.5", "--dropout", "0"),
    )
    recipe, augmentation = config.recipe, config.resolved_augmentation
    assert (config.dataset, config.aux_heads, config.precision) == ("flowers", False, "auto")
    assert config.deterministic
    assert (config.width, config.resolved_architecture.name, config.dropout) == (0.5, "googlenet_0.5", 0)
    assert (recipe.epochs, recipe.learning_rate, recipe.loss_weights) == (5, 0.25, (1, 0.1, 0))
    assert (augmentation.crop_area, augmentation.randaugment) == ((0.5, 1), (2, 9.5))
    assert (augmentation.mixup, augmentation.flip) == (0.2, False)
    assert recipe.decay_epochs == PAPER.decay_epochs


def test_off_switches_a_step_of_the_recipe_off_and_0_does_not():
    config = configured("--recipe", "modern", "--randaugment", "off", "--crop-area", "off")
    assert (config.resolved_augmentation.randaugment, config.resolved_augmentation.crop_area) == (None, None)
    assert configured("--split-seed", "off").split_seed is None
    assert configured("--mixup", "off", "--mixup-off-epoch", "off").resolved_augmentation.mixup_off_epoch is None
    for name in ("--mixup", "--cutmix"):
        with pytest.raises(InputError, match=r"must be None or a finite number above 0\. Received: .*=0\.0"):
            configured(name, "0")


@pytest.mark.parametrize("value", ["0", "off"])
def test_a_dropout_of_0_or_off_is_none_and_not_the_architecture_s_own(value, tmp_path):
    config = configured("--dropout", value, "--aux-dropout", value)
    assert (config.dropout, config.aux_dropout) == (0, 0)
    for name, text in (
        ("a.toml", f'dropout = "{value}"'),
        ("b.yaml", f"dropout: {value}"),
        ("c.toml", "dropout = false"),
    ):
        (tmp_path / name).write_text(text.replace('"0"', "0"))
        assert configured("--config", str(tmp_path / name)).dropout == 0


@pytest.mark.parametrize("option", ["image-size", "loss-weights", "epochs", "learning-rate"])
def test_what_can_be_no_less_than_1_is_neither_0_nor_off(option):
    for value in ("0", "off"):
        with pytest.raises(InputError, match=f"`{option.replace('-', '_')}` must be"):
            configured(f"--{option}", value)


def test_options_win_over_the_file_and_the_file_over_the_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "modern"\nepochs = 4\nseed = 9\n')
    config = configured("--config", str(path), "--seed", "0")
    assert (config.recipe.epochs, config.seed, config.recipe.label_smoothing) == (4, 0, 0.1)
    with pytest.raises(InputError, match="is of the recipe 'modern', and its options would win over --recipe"):
        configured("--config", str(path), "--recipe", "paper")


def test_resume_takes_the_runs_own_configuration_and_no_other(tmp_path):
    was = TrainConfig.of(epochs=4, dropout=0, weight_decay=0)
    (tmp_path / "config.json").write_text(json.dumps(to_options(was)))
    assert configured("--resume", str(tmp_path)) == was
    assert configured("--resume", str(tmp_path), "--strategy", "one").strategy == "one"
    longer = configured("--resume", str(tmp_path), "--epochs", "9")
    assert longer == replace(was, recipe=replace(was.recipe, epochs=9))
    ended = configured("--resume", str(tmp_path), "--patience", "7", "--max-minutes", "2.5")
    assert ended == replace(was, patience=7, max_minutes=2.5)
    off = configured("--resume", str(tmp_path), "--patience", "off", "--cache", "off")
    assert (off.patience, off.cache) == (None, None)
    with pytest.raises(InputError, match="leave out --seed, --out"):
        configured("--resume", str(tmp_path), "--seed", "5", "--out", "elsewhere")
    with pytest.raises(InputError, match=r"There is no run to go on with: .*nothing has no config\.json"):
        configured("--resume", str(tmp_path / "nothing"))


def test_a_study_has_the_options_of_a_training_but_for_those_that_it_chooses():
    given = vars(parsed("study", "heads", "--width", "0.25", "--recipe", "paper", "--epochs", "2", module=study))
    assert (given["width"], given["epochs"], given["architecture"]) == (0.25, 2, ["googlenet", "googlenet_bn"])
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parsed("study", "heads", "--no-aux-heads", module=study)


@pytest.mark.parametrize("dataset", ["digits", "photographs"])
@pytest.mark.parametrize("flip", [True, False])
def test_an_augmentation_of_its_own_survives_flat_options(dataset, flip):
    config = TrainConfig(dataset=dataset, recipe=PAPER, augmentation=Augmentation(flip=flip, zoom=0.1))
    assert config.resolved_augmentation == Augmentation(flip=flip, zoom=0.1)
    assert TrainConfig.of(**to_options(config)) == config
