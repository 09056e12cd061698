"""The configuration of a training: recipe, file and option, and which of them wins."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_network import TINY

from keras_inception import recipes
from keras_inception.errors import InputError
from keras_inception.recipes import MODERN, QUICK, Augmentation
from keras_inception.training.config import OPTIONS, TrainConfig, changes, to_options


def through_a_file(config, path):
    path.write_text(json.dumps(to_options(config)))
    return TrainConfig.from_file(path)


def test_a_training_has_a_recipe_and_an_augmentation():
    assert TrainConfig().recipe is QUICK
    config = TrainConfig(recipe="modern", dataset="tf_flowers")
    assert (config.recipe, config.resolved_augmentation) == (MODERN, MODERN.augmentation)
    assert TrainConfig(recipe="modern", augmentation=Augmentation()).resolved_augmentation == Augmentation()


def test_options_that_are_given_win_over_the_recipe_which_keeps_its_others():
    config = TrainConfig.of(recipe="modern", epochs=7, mixup=0.2, seed=3, dataset="tf_flowers")
    assert config.recipe == replace(MODERN, epochs=7, augmentation=replace(MODERN.augmentation, mixup=0.2))
    assert config.resolved_augmentation == config.recipe.augmentation
    assert config.seed == 3


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
    assert TrainConfig.of(recipe="paper", **options).resolved_augmentation.flip is flip


def test_what_is_not_given_follows_from_what_is():
    mine = Augmentation(mixup=0.5, flip=True)
    assert replace(TrainConfig(), recipe=MODERN).resolved_augmentation == replace(MODERN.augmentation, flip=False)
    assert replace(TrainConfig(recipe="paper"), dataset="tf_flowers").resolved_augmentation.flip
    assert not replace(TrainConfig(recipe="paper", dataset="tf_flowers"), dataset="mnist").resolved_augmentation.flip
    assert replace(TrainConfig.of(recipe="paper", mixup=0.2), dataset="tf_flowers").resolved_augmentation.flip
    given = TrainConfig(augmentation=mine)  # wins, whatever changes beside it
    assert replace(given, recipe=MODERN, dataset="mnist").resolved_augmentation == mine
    assert replace(TrainConfig.of(flip=True), dataset="mnist").resolved_augmentation.flip
    assert not replace(TrainConfig.of(recipe="paper", flip=False), dataset="tf_flowers").resolved_augmentation.flip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1. Received: epochs=0"),
        ({"epochs": 1.5}, "`epochs` must be a whole number"),
        ({"epochs": "many"}, "`epochs` must be a whole number of at least 1. Received: epochs='many'"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1. Received: batch_size=0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0. Received: learning_rate=0.0"),
        ({"learning_rate": math.inf}, "`learning_rate` must be"),
        ({"learning_rate": 10**400}, "`learning_rate` must be"),
        ({"optimizer": "lion"}, r"`optimizer` must be one of \('sgd', 'adam'\). Received: optimizer='lion'"),
        ({"schedule": ["linear"]}, "`schedule` must be one of"),
        ({"momentum": 1}, "`momentum` must be at least 0 and below 1. Received: momentum=1"),
        ({"decay_rate": 0}, "`decay_rate` must be above 0 and at most 1. Received: decay_rate=0"),
        ({"weight_decay": -1}, "`weight_decay` must be a finite number of at least 0"),
        ({"loss_weights": (0, 0, 0)}, "`loss_weights` must be None or numbers of at least 0, not all 0"),
        ({"loss_weights": 1}, "`loss_weights` must be"),
        ({"loss_weights": [1, "a"]}, "`loss_weights` must be"),
        ({"bias_rate": 2}, '`bias_rate` needs `optimizer="sgd"`'),
        ({"crop_area": [0, 1]}, "`crop_area` must be None or two shares"),
        ({"mixup": 0}, "`mixup` must be None or a finite number above 0. Received: mixup=0"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295. Received: seed=-1"),
        ({"seed": 2**32}, "`seed` must be a whole number from 0 to 4294967295"),
        ({"seed": True}, "`seed` must be a whole number from 0 to 4294967295. Received: seed=True"),
        ({"dropout": 1.0}, "`dropout` must be None or a number of at least 0 and below 1. Received: dropout=1.0"),
        (
            {"aux_dropout": "a"},
            "`aux_dropout` must be None or a number of at least 0 and below 1. Received: aux_dropout='a'",
        ),
        ({"dataset": 3}, "`dataset` must be the name of a dataset or the path of a folder. Received: dataset=3"),
        ({"architecture": "vgg"}, "`architecture` must be .*googlenet, .*Received: architecture='vgg'"),
        ({"architecture": 3}, "`architecture` must be .*Received: architecture=3"),
        ({"architecture": "googlenet@0.5"}, "width"),
        ({"width": "wide"}, "`width` must be a number from 0.05 to 10. Received: width='wide'"),
        ({"recipe": "best"}, "`recipe` must be a `Recipe` or one of quick, paper, bvlc, modern. Received: recipe='b"),
        ({"recipe": 3}, "`recipe` must be .* Received: recipe=3"),
        ({"augmentation": "paper"}, "no option of this name.* Received: 'augmentation'"),
        ({"weights": 3}, "`weights` must be None or a text"),
        ({"weights": ""}, "`weights` must be None or a text, not empty"),
        ({"loss_weights": (1, 0.5)}, r"for each head of 'googlenet': main, aux1, aux2\. Received: .*1, 0\.5"),
        ({"precision": "int4"}, "`precision` must be one of .*Received: precision='int4'"),
        ({"strategy": ["one"]}, "`strategy` must be one of"),
        ({"image_size": 0}, "`image_size` must be None or a whole number of pixels"),
        ({"validation_fraction": 1.5}, "`validation_fraction` must be at least 0 and below 1"),
        ({"aux_heads": "yes"}, "`aux_heads` must be True or False"),
        ({"freeze_through": "inception_9z"}, "`freeze_through` must be a row of 'googlenet'"),
        ({"epoch": 3}, "Did you mean epochs\\? Received: 'epoch'"),
        ({"aux_loss_schedule": "step"}, r"`aux_loss_schedule` must be one of \('constant', 'linear', 'cosine'\)\. Rec"),
        (
            {"kernel_initializer": "xavier_uniform"},
            "`kernel_initializer` must be the name .*Received: .*'xavier_uniform'",
        ),
        ({"kernel_initializer": "lecun_unifrom"}, r"Did you mean lecun_uniform\? Received: .*'lecun_unifrom'"),
        ({"kernel_initializer": 0.01}, "`kernel_initializer` must be None or a text"),
        ({"bias_initializer": "constant(0.2)"}, "`bias_initializer` must be the name .*This one does not do: "),
    ],
)
def test_values_out_of_range_and_of_wrong_types_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainConfig.of(**options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": ["quick"]}, r"`recipe` must be a `Recipe` or one of .*Received: recipe=\('quick',\)"),
        ({"recipe": {"name": "quick"}}, "`recipe` must be a `Recipe` or one of .*Received: recipe={'name': 'quick'}"),
        ({"architecture": {"a": 1}}, "An architecture must be what `Architecture.to_dict` returns"),
        (
            {"architecture": ["googlenet"]},
            "`architecture` must be None or the name of an architecture or an `Architecture`",
        ),
        ({"augmentation": 3}, "`augmentation` must be None or an `Augmentation`"),
        ({"freeze_through": 3}, "`freeze_through` must be None or a text"),
        ({"dataset": "x" * 10**6, "seed": "y" * 10**6}, r"`seed` must be .*Received: seed='y{20,200}\.\.\.y+'$"),
    ],
)
def test_fields_of_wrong_types_are_refused_in_python_too(fields, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**fields)


def test_a_message_is_short_whatever_it_is_about():
    text = str(InputError("rule " + "x" * 10**6 + " way out"))
    assert len(text) < 2100
    assert (text[:6], text[-8:]) == ("rule x", " way out")


def test_loss_weights_are_those_of_the_architecture_s_heads_in_their_order():
    assert TrainConfig().loss_weights == {"main": 1, "aux1": 0.3, "aux2": 0.3}  # the paper's
    assert TrainConfig.of(loss_weights=(1, 0.5, 0)).loss_weights == {"main": 1, "aux1": 0.5, "aux2": 0}
    assert TrainConfig.of(architecture="inception_v1_slim", loss_weights=(2,)).loss_weights == {"main": 2}
    with pytest.raises(InputError, match=r"for each head of 'googlenet': main, aux1, aux2\. Received: .*1, 0\.5"):
        replace(TrainConfig(), recipe=replace(QUICK, loss_weights=(1, 0.5)))


FILES = {
    "config.toml": 'dataset = "flowers"\nrecipe = "paper"\nepochs = 3\ncrop_area = "off"\nrandaugment = [2, 9]\n',
    "config.yaml": "dataset: flowers\nrecipe: paper\nepochs: 3\ncrop_area: false\nrandaugment: [2, 9]\n",
    "config.json": '{"dataset": "flowers", "recipe": "paper", "epochs": 3, "crop_area": null, "randaugment": [2, 9]}',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_hold_any_option(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    config = TrainConfig.from_file(tmp_path / name)
    assert config == TrainConfig.of(dataset="flowers", recipe="paper", epochs=3, crop_area=None, randaugment=(2, 9))


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig.of(recipe="modern", mixup=0.2, loss_weights=(1, 0.5, 0), width=0.5),
        TrainConfig(architecture=TINY),
        TrainConfig(recipe=replace(QUICK, name="mine", epochs=3)),
        TrainConfig(recipe=replace(QUICK, name="mine", augmentation=Augmentation(flip=True, mixup=0.1))),
        TrainConfig(recipe=replace(MODERN, augmentation=Augmentation(flip=True, hue=0.1)), dataset="tf_flowers"),
        TrainConfig.of(recipe="paper", flip=True),
        TrainConfig.of(recipe="paper", flip=False, dataset="tf_flowers"),
    ],
    ids=["options", "a record", "a recipe of one's own", "its images", "a recipe's images", "mirrored", "not mirrored"],
)
def test_a_configuration_survives_a_file(config, tmp_path):
    again = through_a_file(config, tmp_path / "config.json")
    assert again == config
    assert to_options(again) == to_options(config)
    assert again.resolved_architecture == config.resolved_architecture


def test_an_augmentation_of_its_own_is_the_recipe_s_after_a_file(tmp_path):
    config = TrainConfig(recipe="modern", augmentation=Augmentation(flip=True, zoom=0.1))
    again = through_a_file(config, tmp_path / "config.json")
    assert again.resolved_augmentation == config.augmentation == again.recipe.augmentation
    assert to_options(again) == to_options(config)


def test_numbers_and_arrays_of_numpy_and_paths_are_those_of_python(tmp_path):
    config = TrainConfig.of(
        seed=np.int64(3), width=np.float32(0.5), deterministic=np.bool_(True), dataset=tmp_path, epochs=np.uint8(2),
        loss_weights=np.array([1, 0.5, 0]), crop_area=(np.float16(0.5), 1), image_size=np.array(96),
    )  # fmt: skip
    assert config == TrainConfig.of(
        seed=3, width=0.5, deterministic=True, dataset=str(tmp_path), epochs=2, loss_weights=(1, 0.5, 0),
        crop_area=(0.5, 1), image_size=96,
    )  # fmt: skip
    assert through_a_file(config, tmp_path / "config.json") == config


# Everything that may be 0, next to what its default is.
ZEROS = {
    "dropout": 0, "aux_dropout": 0, "seed": 0, "split_seed": 0, "gradient_flow": 0, "validation_fraction": 0,
    "test_fraction": 0,
    "momentum": 0, "warmup_fraction": 0, "weight_decay": 0, "ema_epochs": 0, "label_smoothing": 0, "brightness": 0,
    "contrast": 0, "saturation": 0, "hue": 0, "lighting": 0, "shift": 0, "zoom": 0, "rotation_degrees": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "config.toml", "config.yaml"])
def test_an_explicit_0_stays_0_in_files(name, tmp_path):
    sign = " = " if name.endswith("toml") else ": "
    lines = [f"{option}{sign}{value}" for option, value in ZEROS.items()]
    (tmp_path / name).write_text(json.dumps(ZEROS) if name.endswith("json") else "\n".join(lines))
    config = TrainConfig.from_file(tmp_path / name)
    for found in (to_options(config), to_options(through_a_file(config, tmp_path / "again.json"))):
        assert {option: found[option] for option in ZEROS} == ZEROS  # None is not 0


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", '{"epochs": 3}'), ("a.toml", "epochs = 3"), ("a.yaml", "epochs: 3")]
)
def test_a_file_may_begin_with_a_byte_order_mark(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert TrainConfig.from_file(tmp_path / name).recipe.epochs == 3


def test_the_files_of_earlier_versions_are_read(tmp_path):
    was = {"recipe": "quick", "epochs": 2, "loss_weights": [1.0, 0.3, 0.3], "architecture": "googlenet@0.5"}
    (tmp_path / "config.json").write_text(json.dumps(was))
    config = TrainConfig.from_file(tmp_path / "config.json")
    assert (config.recipe.epochs, config.architecture, config.width) == (2, "googlenet", 0.5)
    assert config.loss_weights == {"main": 1.0, "aux1": 0.3, "aux2": 0.3}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "config.json",
            '{"epoch": 3}',
            r"config.json: A training has no .* mean epochs\? Received: 'epoch'",
        ),
        ("config.toml", "epochs 3", "is missing or no TOML file"),
        ("config.yaml", "[unclosed", "is missing or no YAML file"),
        ("config.yaml", "flip: !!bool foo", "is missing or no YAML file"),
        ("config.yaml", "dataset: !!timestamp foo", "is missing or no YAML file"),
        ("config.yaml", "- 3", "must hold options of a training"),
        ("config.yaml", "epochs: 1:30", "`epochs` must be a whole number .*Received: epochs='1:30'"),
        ("config.json", '{"epochs": 3, "seed": 1, "epochs": 4}', r"no JSON file \('epochs' stands there twice"),
        ("config.yaml", "epochs: 3\nseed: 1\nepochs: 4", r"no YAML file \('epochs' stands there twice"),
        ("config.toml", "epochs = 3\nseed = 1\nepochs = 4", "no TOML file"),
        ("config.json", '{"architecture": {"name": "a", "name": "b"}}', "'name' stands there twice"),
        ("config.json", '{"weights": ""}', "config.json: `weights` must be"),
        ("config.json", '{"freeze_through": "3a"}', "config.json: `freeze_through` must be a row"),
        ("config.json", '{"loss_weights": [1]}', "config.json: `loss_weights` must hold a weight for each head"),
        ("config.json", '{"bias_rate": 2}', "config.json: `bias_rate` needs"),
        ("config.ini", "{}", r"name ends in .toml, .yaml, .yml, .json\. Received: .*config.ini"),
        ("config", "{}", "name ends in .toml, .yaml, .yml, .json"),
        (
            "config.yaml",
            "epochs: '3'",
            r"config.yaml: `epochs` must be a whole .* Received: epochs='3'",
        ),
        ("config.json", '{"architecture": {"name": "mine"}}', "architecture"),
    ],
)
def test_files_that_are_no_configuration_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        TrainConfig.from_file(tmp_path / name)


def test_numbers_in_yaml_are_those_of_yaml_1_2(tmp_path):
    (tmp_path / "config.YAML").write_text("epochs: 010\nlearning_rate: 1e-3\ndecay_epochs: 1.5E+1\nweight_decay: .5")
    recipe = TrainConfig.from_file(tmp_path / "config.YAML").recipe
    assert (recipe.epochs, recipe.learning_rate, recipe.decay_epochs, recipe.weight_decay) == (10, 0.001, 15, 0.5)


def test_options_beside_a_file_are_said_in_the_errors(tmp_path):
    (tmp_path / "config.json").write_text('{"freeze_through": "conv1_7x7_s2"}')
    with pytest.raises(InputError, match=r"config.json, with the options given beside it: `freeze_through` must be a"):
        TrainConfig.from_file(tmp_path / "config.json", architecture="googlenet_small")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is missing or no JSON file"):
        TrainConfig.from_file(tmp_path / "nothing.json")


def test_changes_are_what_would_keep_a_training_from_going_on():
    was = TrainConfig.of(epochs=2, image_size=80)
    assert changes(was, replace(was, strategy="mirrored")) == ""
    assert changes(was, replace(was, image_size=None)) == ""  # chosen from the images again
    assert changes(was, TrainConfig.of(epochs=3, image_size=64)) == (
        "image_size was 80 and is 64, epochs was 2 and is 3"
    )  # fmt: skip
    earlier = TrainConfig.of(epochs=2, loss_weights=(1, 0.3, 0.3))  # what earlier versions wrote for the paper's
    assert changes(earlier, TrainConfig.of(epochs=2)) == ""
    assert changes(earlier, TrainConfig.of(epochs=2, loss_weights=(1, 0, 0))).startswith("loss_weights was ")


def test_no_option_stands_for_two_fields():
    records = (TrainConfig, recipes.Recipe, Augmentation)
    names = [name for record in records for name in record.__dataclass_fields__]
    assert sorted({*names} - {"name", "augmentation"}) == sorted(OPTIONS)
    assert len(OPTIONS) == len(names) - 3  # `name` and the two `augmentation` are none
