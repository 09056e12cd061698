"""What is logged: callbacks know which way each name goes, and lists have the main head first."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.network.logs import other_names

X = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
Y = np.arange(8) % 7
LOGGED = [
    "loss", "main_loss", "aux1_loss", "aux2_loss",
    "main_accuracy", "main_top_5_accuracy", "aux1_accuracy", "aux1_top_5_accuracy", "aux2_accuracy",
    "aux2_top_5_accuracy",
]  # fmt: skip

MONITORED = ["val_main_accuracy", "val_aux1_loss", "val_main_loss", "aux2_top_5_accuracy", "val_accuracy", "accuracy"]


@pytest.fixture(scope="module")
def logs_and_callbacks(tmp_path_factory):
    """Two epochs of three linear heads under callbacks that monitor some names, and what they found."""
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    outputs = [
        keras.layers.Activation("softmax", name=name)(keras.layers.Dense(7)(x)) for name in ("main", "aux1", "aux2")
    ]
    model = ki.compile_model(ki.InceptionModel(x, outputs))
    path = tmp_path_factory.mktemp("checkpoints") / "{epoch}-{val_accuracy:.2f}.weights.h5"
    kinds = {
        keras.callbacks.EarlyStopping: {"patience": 9},
        keras.callbacks.ReduceLROnPlateau: {"patience": 9},
        keras.callbacks.ModelCheckpoint: {"filepath": str(path), "save_best_only": True, "save_weights_only": True},
    }
    callbacks = {name: [kind(monitor=name, **options) for kind, options in kinds.items()] for name in MONITORED}
    flat = [callback for each in callbacks.values() for callback in each]
    history = model.fit(X, Y, validation_data=(X[:4], Y[:4]), epochs=2, verbose=0, callbacks=flat).history
    return model, history, callbacks


def test_callbacks_know_the_direction_of_each_name(logs_and_callbacks):
    _, history, callbacks = logs_and_callbacks
    for name, each in callbacks.items():
        falls = name.endswith("loss")
        best = (min if falls else max)(history[name])
        for callback in each:
            assert callback.monitor_op is (keras.ops.less if falls else keras.ops.greater), name
            assert callback.best == pytest.approx(best, rel=1e-5)


def test_names_without_a_head_mean_the_main_one(logs_and_callbacks):
    _, history, _ = logs_and_callbacks
    for name in ("accuracy", "top_5_accuracy", "val_accuracy"):
        prefix = "val_" if name.startswith("val_") else ""
        assert history[name] == history[f"{prefix}main_{name.removeprefix(prefix)}"]
    assert history["loss"] != history["main_loss"]


def test_lists_have_the_main_head_first_in_the_order_of_their_names(logs_and_callbacks):
    model, _, _ = logs_and_callbacks
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(logs) == model.metrics_names == LOGGED
    assert model.evaluate(X, Y, verbose=0) == list(logs.values())
    assert model.test_on_batch(X, Y) == pytest.approx(list(logs.values()), rel=1e-5)
    assert list(model.test_on_batch(X, Y, return_dict=True)) == LOGGED
    probabilities = model.predict(X, verbose=0)
    for head, rows in zip(("main", "aux1", "aux2"), probabilities):
        assert logs[f"{head}_accuracy"] == pytest.approx(np.mean(rows.argmax(axis=1) == Y))
    results = {name: float(value) for name, value in model.get_metrics_result().items()}
    assert model.train_on_batch(X, Y, return_dict=True).keys() == results.keys()
    assert [float(value) for value in model.test_on_batch(X, Y)] == pytest.approx(
        [float(value) for value in model.get_metrics_result().values()]
    )


def test_a_single_head_has_both_names_and_one_number_without_metrics():
    x = keras.Input((5,))
    model = ki.InceptionModel(x, keras.layers.Dense(7, activation="softmax", name="main")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert isinstance(model.evaluate(X, Y, verbose=0), float)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stopping = [keras.callbacks.EarlyStopping(name, patience=9) for name in ("main_accuracy", "val_main_loss")]
    history = model.fit(X, Y, validation_split=0.5, verbose=0, callbacks=stopping).history
    assert [callback.monitor_op for callback in stopping] == [keras.ops.greater, keras.ops.less]
    assert history["val_main_loss"] == history["val_loss"]
    assert history["main_accuracy"] == history["accuracy"]
    assert model.metrics_names == ["loss", "accuracy"]


@keras.saving.register_keras_serializable(package="tests")
def first_class(y_true, y_pred):
    return y_pred[:, 0]


def test_a_metric_without_a_direction_is_still_asked_for_it(three_heads):
    model = three_heads()
    share = keras.metrics.MeanMetricWrapper(first_class, name="share")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[share])
    callback = keras.callbacks.EarlyStopping("aux1_share")
    with pytest.raises(ValueError, match=r"monitor=aux1_share.*Pass `mode='max'`"):
        model.fit(X, Y, verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("names", "logs", "others"),
    [
        (["main", "aux1"], ["loss", "main_loss", "aux1_accuracy"], {}),
        (["main", "aux1"], ["val_main_accuracy"], {"val_accuracy": "val_main_accuracy"}),
        (["main"], ["loss", "val_accuracy"], {"main_loss": "loss", "val_main_accuracy": "val_accuracy"}),
        (["aux2"], ["val_loss", "aux2_loss"], {"val_aux2_loss": "val_loss"}),
    ],
)
def test_other_names_are_those_of_the_first_head(names, logs, others):
    assert other_names(logs, names) == others
