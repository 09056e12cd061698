"""The hypermodel under every tuner of KerasTuner: three losses, their weights, plain data."""

import json
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.errors import FailedTrialError, FatalValueError
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.training.config import to_options
from keras_inception.tuning import Range, space


def tiny(**options):
    return ki.TrainConfig.of(architecture=TINY, **{"epochs": 2, **options})


def hypermodel_of(space, **options):
    return Watched((10, 10, 3), 2, space, config=tiny(**options))


class Watched(ki.GoogLeNetHyperModel):
    """Keeps what each trial was compiled with, as it stands when training begins."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def fit(self, hp, model, *args, **kwargs):
        history = super().fit(hp, model, *args, **kwargs)
        self.seen.append((hp, model, history))
        return history


TUNERS = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 1, "optimizer": "adam", "metrics": ["accuracy"]}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 1, "optimizer": "sgd"}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 1}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 3, "metrics": ["accuracy"]}),
}


@pytest.mark.parametrize("kind", ["random", *(pytest.param(kind, marks=pytest.mark.slow) for kind in [*TUNERS][1:])])
def test_every_tuner_keeps_the_weights_of_the_losses(kind, tmp_path):
    tuner_class, options = TUNERS[kind]
    hypermodel = hypermodel_of(["aux1_weight", "aux2_weight", "learning_rate"])
    tuner = tuner_class(hypermodel, ki.OBJECTIVE, directory=tmp_path, seed=1, **options)
    images, labels = images_and_labels()
    tuner.search(images, labels, validation_split=0.25, epochs=1, verbose=0)
    assert hypermodel.seen
    for hp, model, history in hypermodel.seen:
        weights = [1.0, hp.get("aux1_weight"), hp.get("aux2_weight")]
        np.testing.assert_allclose(model.get_compile_config()["loss_weights"], weights, rtol=1e-5)
        assert "val_main_accuracy" in history.history
        expected = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}.get(options.get("optimizer"))
        assert expected is None or isinstance(model.optimizer, expected)
    assert (tuner.oracle.get_best_trials()[0].status, tuner.oracle.objective) == ("COMPLETED", ki.OBJECTIVE)
    best = tuner.get_best_models()[0]
    assert best.output_names == ["main", "aux1", "aux2"]
    hp = tuner.get_best_hyperparameters()[0]
    weights = [1.0, hp.get("aux1_weight"), hp.get("aux2_weight")]
    np.testing.assert_allclose(best.get_compile_config()["loss_weights"], weights, rtol=1e-5)


def test_the_total_is_the_weighted_sum_in_a_trial_with_a_tuners_optimizer():
    model = hypermodel_of({"aux1_weight": 0.0, "aux2_weight": 0.5}).build(keras_tuner.HyperParameters())
    model.compile(optimizer="sgd", loss=model.loss, metrics=model.metrics)  # what KerasTuner calls
    images, labels = images_and_labels()
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(logs["main_loss"] + 0.5 * logs["aux2_loss"], rel=1e-5)
    assert "main_accuracy" in logs
    model.compile("sgd", "sparse_categorical_crossentropy", loss_weights=[0, 1, 0])
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(logs["aux1_loss"], rel=1e-5)


def test_the_schedule_of_the_rate_has_the_length_of_the_training(tmp_path):
    hypermodel = hypermodel_of({"schedule": "polynomial", "learning_rate": 0.01, "dropout": [0.0]}, optimizer="sgd")
    tuner = keras_tuner.RandomSearch(hypermodel, ki.OBJECTIVE, max_trials=1, directory=tmp_path)
    tuner.search(*images_and_labels(), validation_split=0.25, epochs=3, batch_size=6, verbose=0)
    _, model, _ = hypermodel.seen[0]
    assert int(model.optimizer.iterations) == 9  # 18 images in 3 batches, three times
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-6)


def test_the_default_space_holds_what_matters():
    hypermodel = ki.GoogLeNetHyperModel((224, 224, 3), 10)
    hp = keras_tuner.HyperParameters()
    first = hypermodel.config(hp)  # the recipe's own values
    assert first == ki.TrainConfig.of(dropout=0.4, aux_dropout=0.7, loss_weights=(1.0, 0.3, 0.3))
    ranges = {item.name: item for item in hp.space}
    assert list(ranges) == [
        "learning_rate", "schedule", "warmup_fraction", "optimizer", "weight_decay", "label_smoothing", "dropout",
        "aux_dropout", "width", "normalization", "augmentation", "batch_size", "aux1_weight", "aux2_weight",
    ]  # fmt: skip
    assert 0 in list(ranges["aux1_weight"].values)
    assert ranges["learning_rate"].sampling == "log"


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"width": 0.25}, {"width"}),
        ({"architecture": "googlenet_bn", "seed": 1}, {"normalization"}),
        ({"zoom": 0.1, "optimizer": "sgd"}, {"augmentation", "optimizer"}),
        ({"loss_weights": (1.0, 0.0, 0.2)}, {"aux1_weight", "aux2_weight"}),
    ],
)
def test_an_option_that_is_given_is_not_searched(options, absent):
    config = ki.TrainConfig.of(**options)
    assert set(space.read(None, config)) - set(space.unless_given(options, config)) == absent


def test_values_become_a_configuration():
    hypermodel = ki.GoogLeNetHyperModel((96, 96, 3), 10)
    hp = keras_tuner.HyperParameters()
    hp.values = {"width": 0.5, "normalization": "batch", "aux1_weight": 0.0, "augmentation": 0.5, "batch_size": 64.0}
    config = hypermodel.config(hp)
    assert (config.architecture, config.width, config.recipe.loss_weights) == ("googlenet_bn", 0.5, (1.0, 0.0, 0.3))
    assert (config.recipe.batch_size, config.resolved_augmentation.shift, config.resolved_augmentation.flip) == (
        64,
        0.05,
        False,
    )
    assert isinstance(config.recipe.batch_size, int)


def test_initializers_and_falling_weights_may_be_searched():
    space = {"kernel_initializer": ["he_normal", "lecun_uniform"], "aux_loss_schedule": ["constant", "linear"]}
    hp = keras_tuner.HyperParameters()
    hp.values = {"kernel_initializer": "lecun_uniform", "aux_loss_schedule": "linear"}
    recipe = ki.GoogLeNetHyperModel((96, 96, 3), 10, space=space).config(hp).recipe
    assert (recipe.kernel_initializer, recipe.aux_loss_schedule) == ("lecun_uniform", "linear")
    with pytest.raises(ki.InputError, match=r"no training takes: .*='lecun_normul'\. .*Did you mean lecun_normal"):
        ki.GoogLeNetHyperModel((96, 96, 3), 10, space={"kernel_initializer": ["he_normal", "lecun_normul"]})


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("dropout", 0, 0),
        ("dropout", "off", 0),
        ("aux_dropout", [0.0], 0),
        ("weight_decay", [0.0], 0),
        ("flip", [False], False),
        ("flip", [True], True),
        ("aux_heads", False, False),
        ("mixup", "off", None),
        ("mixup", [False], None),
        ("batch_size", [8.0], 8),
    ],
)
def test_what_is_0_or_off_in_a_trial_is_so_when_it_trains_again(name, entry, expected, tmp_path):
    others = {"aux_dropout": 0.5, "dropout": 0.5, "weight_decay": 0.1, "mixup": 0.2, "flip": expected is False}
    base = ki.TrainConfig.of(**others)
    hypermodel, hp = ki.GoogLeNetHyperModel((96, 96, 3), 10, {name: entry}, config=base), keras_tuner.HyperParameters()
    config = hypermodel.config(hp)
    value = to_options(config)[name]
    assert value == expected
    assert isinstance(value, bool) == isinstance(expected, bool)  # KerasTuner makes 0 of False
    assert {**to_options(config), name: None} == {**to_options(base), name: None}
    again = keras_tuner.HyperParameters()
    again.values = json.loads(json.dumps(hp.values))  # as the journal holds them
    assert hypermodel.config(again) == config
    files.write_json(tmp_path / "best.json", to_options(config))
    assert ki.TrainConfig.from_file(tmp_path / "best.json") == config


def test_small_images_get_the_small_network():
    hypermodel = ki.GoogLeNetHyperModel((32, 32, 3), 10)
    assert hypermodel.base.architecture == "googlenet_small"
    assert "normalization" not in hypermodel.space


def test_a_space_is_a_subset_other_ranges_and_more_choices():
    space = {
        "learning_rate": (1e-3, 1e-2),
        "dropout": Range(0.1, 0.3),
        "width": {"min_value": 0.5, "max_value": 2.0, "step": 2, "sampling": "log"},
        "label_smoothing": True,
        "momentum": [0.8, 0.9],
        "optimizer": "sgd",
    }
    hypermodel = ki.GoogLeNetHyperModel((96, 96, 3), 10, space)
    hp = keras_tuner.HyperParameters()
    recipe = hypermodel.config(hp).recipe
    ranges = {item.name: item for item in hp.space}
    assert set(ranges) == set(space)
    assert (ranges["learning_rate"].min_value, ranges["learning_rate"].sampling) == (1e-3, "log")
    assert list(ranges["width"].values) == [0.5, 1, 2]
    assert (recipe.optimizer, recipe.momentum, recipe.learning_rate) == ("sgd", 0.9, 1e-3)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "`space` must name what is searched, such as learning_rate.* Received: an empty space"),
        ("dropout", "`space` must be a list of names, or a dict by names. Received: space='dropout'"),
        (["droput"], "`space` must hold names of what a training can vary: .* Received: 'droput'"),
        ({"train_image_size": [8, 10]}, "`space` must hold names .* Received: 'train_image_size'"),
        ({"final_epochs": [1, 2]}, "`space` must hold names .* Received: 'final_epochs'"),
        (["momentum"], "`space` must say what values 'momentum' may take"),
        ({"dropout": (0.5, 0.1)}, "must have a smallest value that is not above its largest. Received: dropout="),
        ({"learning_rate": (0, 0.1)}, "must be above 0 for log sampling. Received: learning_rate="),
        ({"dropout": {"min_value": 0, "max_value": 0.5, "step": 0}}, "must have a step above 0"),
        ({"dropout": {"min_value": 0, "max_value": 0.5, "sampling": "cubic"}}, 'have the sampling "linear" or "log"'),
        ({"dropout": {"min": 0, "max": 1}}, "A range in `space` must have min_value and max_value"),
        ({"dropout": (0.1, 0.2, 0.3)}, r"A range in `space` must be \(smallest, largest\); choices are a list"),
        ([["dropout"]], r"`space` must hold names of what a training can vary. Received: space=\[\['dropout'\]\]"),
        ({3: True}, "`space` must hold names of what a training can vary. Received: space={3: True}"),
        ({"dropout": None}, "Choices in `space` must be different numbers"),
        ({"dropout": [[0.1, 0.2]]}, "Choices in `space` must be different numbers"),
        ({"dropout": Range(0.0, 0.5, step=float("nan"))}, "must be of finite numbers"),
        ({"normalization": ["layer"]}, "`normalization` must be one of lrn, batch. Received: 'layer'"),
        ({"augmentation": "strong"}, "`augmentation` must be a number from 0 to 1. Received: augmentation='strong'"),
        ({"augmentation": [True]}, "`augmentation` must be a number from 0 to 1. Received: augmentation=True"),
        ({"batch_size": ["many"]}, "holds a value that no training takes: batch_size='many'"),
        ({"batch_size": float("inf")}, "holds a value that no training takes: batch_size=inf"),
        ({"batch_size": Range(8, 64, step=0.5)}, "must be of whole numbers for batch_size"),
        ({"flip": [0, 1]}, "`flip` must be True or False. Received: flip=0"),
        ({"optimizer": []}, "Choices in `space` must be different numbers, or different words"),
        ({"optimizer": ["adam", 3]}, "Choices in `space` must be different numbers"),
        ({"dropout": (0.0, 1.5)}, "holds a value that no training takes: dropout=1.5. `dropout` must be"),
        ({"optimizer": ["adam", "lion"]}, "holds a value that no training takes: optimizer='lion'"),
        ({"architecture": ["googlenet"], "normalization": True}, "one of 'normalization' and 'architecture'"),
        ({"augmentation": True, "shift": (0.0, 0.1)}, "must hold one of 'augmentation' and 'shift'"),
    ],
)
def test_a_space_that_is_empty_or_contradicts_itself_is_refused(space, message):
    with pytest.raises(InputError, match=message):
        ki.GoogLeNetHyperModel((96, 96, 3), 10, space)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((96, 96), 10), r"`input_shape` must be \(height, width, channels\).* Received: input_shape=\(96, 96\)"),
        ((96, 10), "Received: input_shape=96"),
        (("abc", 10), "Received: input_shape='abc'"),
        (((0, 96, 3), 10), "in whole numbers of at least 1"),
        (((96.0, 96, 3), 10), "in whole numbers of at least 1"),
        (((96, 96, 3), 1), "`classes` must be a whole number of at least 2. Received: classes=1"),
        (((96, 96, 3), "ten"), "Received: classes='ten'"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_at_once(arguments, message):
    with pytest.raises(InputError, match=message):
        ki.GoogLeNetHyperModel(*arguments)
    with pytest.raises(InputError, match=r"`config` must be a `TrainConfig`\. Received: config='quick'"):
        ki.GoogLeNetHyperModel((96, 96, 3), 10, config="quick")


def test_a_space_that_contradicts_the_network_is_refused():
    with pytest.raises(InputError, match=r"its auxiliary heads are left out\. Received: 'aux1_weight' in the space"):
        ki.GoogLeNetHyperModel((96, 96, 3), 10, ["aux1_weight"], config=ki.TrainConfig(aux_heads=False))
    with pytest.raises(InputError, match="only googlenet and googlenet_bn differ in their normalization alone"):
        ki.GoogLeNetHyperModel((32, 32, 3), 10, ["normalization"])
    with pytest.raises(InputError, match=r"`space` must hold names of what a training can vary: .*'aux3_weight'"):
        ki.GoogLeNetHyperModel((96, 96, 3), 10, ["aux3_weight"])


def search(objective, space, tmp_path, *args, config=None, **kwargs):
    hypermodel = Watched((10, 10, 3), 2, space, config=config or tiny())
    tuner = keras_tuner.RandomSearch(hypermodel, objective, max_trials=1, directory=tmp_path, overwrite=True)
    tuner.search(*args, verbose=0, **kwargs)
    return hypermodel.seen[0][1], tuner.oracle.get_best_trials()[0]


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (keras_tuner.Objective("val_mian_accuracy", "max"), {"validation_split": 0.25},
         "The objective must be one of what the model logs: loss, main_loss, main_accuracy.*: val_mian_accuracy"),
        (ki.OBJECTIVE, {}, "The objective needs validation data, and `search` got none"),
        (ki.OBJECTIVE, {"validation_split": 0.25, "batch_size": 4}, "`batch_size` is searched: leave it out"),
        (ki.OBJECTIVE, {"validation_split": 0.25, "config": tiny(mixup=0.2, mixup_off_epoch=1)},
         "`mixup_off_epoch` is of the epochs of a dataset that the configuration names: leave it out"),
    ],
)  # fmt: skip
def test_what_no_trial_can_do_ends_the_search_before_the_first_step(objective, options, message, tmp_path):
    with pytest.raises(FatalValueError, match=message):
        search(objective, ["batch_size"], tmp_path, *images_and_labels(), **options)


@pytest.mark.slow
def test_batch_size_and_augmentation_are_applied_to_arrays_and_datasets(tmp_path):
    images, labels = images_and_labels(24)
    space = {"batch_size": 8, "augmentation": 1.0, "dropout": [0.0, 0.2, 0.4]}
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    model, best = search(ki.OBJECTIVE, space, tmp_path, dataset, validation_data=dataset, epochs=2)
    assert (int(model.optimizer.iterations), best.status) == (6, "COMPLETED")
    model, best = search(ki.OBJECTIVE, space, tmp_path, images, labels, validation_split=0.25, epochs=2)
    assert (int(model.optimizer.iterations), best.status) == (6, "COMPLETED")  # 18 images, 3 steps


def test_a_dataset_is_augmented_anew_in_each_epoch_in_its_own_batches():
    images, labels = images_and_labels(6)
    hypermodel = hypermodel_of({"augmentation": 1.0, "dropout": [0.0]})
    hp = keras_tuner.HyperParameters()
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    arguments, steps = hypermodel.feed(hypermodel.config(hp), hypermodel.build(hp), dataset)
    epochs = [list(arguments["x"].as_numpy_iterator()) for _ in range(2)]
    assert steps == 2
    assert [batch[0].shape for batch in epochs[0]] == [(4, 10, 10, 3), (2, 10, 10, 3)]
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in epochs[0]]), labels)
    assert not np.allclose(epochs[0][0][0], images[:4], atol=0.01)
    assert not np.allclose(epochs[0][0][0], epochs[1][0][0], atol=0.01)


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        ("val_main_accuracy", "max"),
        ("val_accuracy", "max"),
        ("main_accuracy", "max"),
        ("val_aux2_top_5_accuracy", "max"),
        ("val_main_loss", "min"),
        ("aux1_loss", "min"),
    ],
)
def test_an_objective_may_be_a_text(objective, direction, tmp_path):
    tuner = keras_tuner.RandomSearch(hypermodel_of(["dropout"]), objective, directory=tmp_path)
    assert tuner.oracle.objective == keras_tuner.Objective(objective, direction)


@pytest.mark.slow
def test_the_import_alone_tells_the_direction_of_text_objectives():
    """As where a function builds the network: KerasTuner asks before it is called."""
    code = """
import keras_inception, keras_tuner
for name in ("val_main_accuracy", "val_top_5_accuracy", "val_aux1_loss", "val_aux2_sparse_top_k_categorical_accuracy"):
    print(name, keras_tuner.oracles.RandomSearchOracle(name).objective.direction)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == [
        "val_main_accuracy max",
        "val_top_5_accuracy max",
        "val_aux1_loss min",
        "val_aux2_sparse_top_k_categorical_accuracy max",
    ]


@pytest.mark.parametrize("objective", [ki.OBJECTIVE, "val_accuracy"])
def test_a_network_of_one_head_has_the_same_objective(objective, tmp_path):
    data, config = images_and_labels(), tiny(aux_heads=False)
    model, best = search(objective, ["dropout"], tmp_path, *data, config=config, validation_split=0.25, epochs=1)
    assert (model.output_names, best.status) == (["main"], "COMPLETED")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "OOM when\nmore"), "out of memory: OOM when$"),
        (MemoryError(), "out of memory: no memory$"),
        (tf.errors.InvalidArgumentError(None, None, "a shape\nof 0"), "bad combination: a shape of 0"),
    ],
)
def test_what_goes_wrong_in_a_trial_fails_it_with_the_reason_in_one_line(error, reason, monkeypatch):
    def fit(model, *args, **kwargs):
        raise error

    monkeypatch.setattr(ki.InceptionModel, "fit", fit)
    hypermodel, hp = hypermodel_of(["dropout"]), keras_tuner.HyperParameters()
    with pytest.raises(FailedTrialError, match=f"^{reason}"):
        hypermodel.fit(hp, hypermodel.build(hp), *images_and_labels(), validation_split=0.25)


def test_each_execution_of_a_trial_begins_with_other_weights(tmp_path, monkeypatch):
    begun = []

    def fit(model, *args, **kwargs):
        begun.append(model.get_layer("conv1_3x3_s1").kernel.numpy())
        return {"val_main_accuracy": 0.5}

    monkeypatch.setattr(ki.InceptionModel, "fit", fit)
    options = {"max_trials": 2, "executions_per_trial": 2, "directory": tmp_path}
    tuner = keras_tuner.GridSearch(hypermodel_of({"dropout": [0.1, 0.2]}), ki.OBJECTIVE, **options)
    tuner.search(*images_and_labels(), validation_split=0.25)
    assert len(begun) == 4
    assert not np.array_equal(begun[0], begun[1])
    np.testing.assert_array_equal(begun[0], begun[2])  # trials differ in what is searched, not in their seeds


@pytest.mark.slow
def test_a_trial_that_diverges_fails_with_its_reason(tmp_path):
    hypermodel = hypermodel_of({"learning_rate": [1e37, 1e38]})
    tuner = keras_tuner.RandomSearch(hypermodel, ki.OBJECTIVE, max_trials=2, directory=tmp_path)
    tuner.search(*images_and_labels(), validation_split=0.25, epochs=1, verbose=0)
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["FAILED", "FAILED"]
    assert all("diverged: " in trial.message for trial in tuner.oracle.trials.values())


def test_images_that_are_not_finite_end_the_search(tmp_path):
    images, labels = images_and_labels()
    images[3] = np.nan
    tuner = keras_tuner.RandomSearch(hypermodel_of(["dropout"]), ki.OBJECTIVE, max_trials=2, directory=tmp_path)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="Images must hold finite numbers"):
        tuner.search(images, labels, validation_split=0.25, epochs=1, verbose=0)
