"""The gradient that each head sends to each row is the one that training uses."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_trainings import CLASSES, examples

import keras_inception as ki
from keras_inception import architectures
from keras_inception.training import diagnosis

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def gradients(googlenet, images):
    """Labels, the gradient of each head on the paper's network, and its norms."""
    labels = np.array([0, 3, 6, 2])
    by_head = diagnosis.head_gradients(googlenet, images, labels)
    return labels, by_head, diagnosis.gradient_norms(googlenet, images, labels)


# Table 1's rows with weights, typed again, in order.
ROWS = [
    "conv1_7x7_s2", "conv2_3x3", "inception_3a", "inception_3b", "inception_4a", "inception_4b", "inception_4c",
    "inception_4d", "inception_4e", "inception_5a", "inception_5b", "linear", "aux1", "aux2",
]  # fmt: skip


def test_rows_behind_a_tap_get_exactly_nothing_from_its_head(gradients):
    _, _, norms = gradients
    assert list(norms) == ["main", "aux1", "aux2"]
    reached = {"main": {*ROWS[:12]}, "aux1": {*ROWS[:5], "aux1"}, "aux2": {*ROWS[:8], "aux2"}}
    for head, by_row in norms.items():
        assert list(by_row) == ROWS
        assert {row for row, norm in by_row.items() if norm > 0} == reached[head]
        assert all(by_row[row] == 0 for row in set(ROWS) - reached[head])


def test_norms_equal_an_independent_computation(gradients, googlenet, images):
    labels, _, norms = gradients
    with tf.GradientTape(persistent=True) as tape:
        outputs = googlenet(images, training=True)
        values = [tf.reduce_mean(-tf.math.log(tf.gather(p, labels, axis=1, batch_dims=1))) for p in outputs]
    for head, value in zip(("main", "aux1", "aux2"), values):
        for row, prefix in (("conv1_7x7_s2", "conv1_7x7_s2"), ("inception_3b", "inception_3b_"), ("aux2", "loss2_")):
            found = [w.value for w in googlenet.trainable_variables if w.path.startswith(prefix)]
            expected = [g for g in tape.gradient(value, found) if g is not None]
            norm = np.sqrt(sum(np.square(g.numpy().astype("float64")).sum() for g in expected))
            np.testing.assert_allclose(norms[head][row], norm, rtol=1e-4)  # float32 sums of 100,000 terms


def test_the_weighted_sum_of_the_heads_is_the_gradient_of_the_total_loss(gradients, googlenet, images):
    labels, by_head, _ = gradients
    weights = googlenet.trainable_variables
    with tf.GradientTape() as tape:
        total = googlenet.compute_loss(images, labels, googlenet(images, training=True))
    for weight, gradient in zip(weights, tape.gradient(total, [weight.value for weight in weights])):
        ours = sum(share * by_head[head][weight.path] for head, share in (("main", 1), ("aux1", 0.3), ("aux2", 0.3)))
        # Float32 rounds relative to the largest term of a sum.
        np.testing.assert_allclose(ours, gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max())


# All of the trunk's rows, typed again: those with weights, and the poolings and normalizations between.
TRUNK = [
    "conv1_7x7_s2", "pool1_3x3_s2", "pool1_norm1", "conv2_3x3", "conv2_norm2", "pool2_3x3_s2", "inception_3a",
    "inception_3b", "pool3_3x3_s2", *ROWS[4:9], "pool4_3x3_s2", *ROWS[9:11],
]  # fmt: skip


def test_norms_at_outputs_are_the_product_of_the_rows_factors(googlenet, images):
    labels = np.array([0, 3, 6, 2])
    found = diagnosis.row_gradients(googlenet, images, labels)
    taps = {"main": "inception_5b", "aux1": "inception_4a", "aux2": "inception_4d"}
    for head, by_row in found.items():
        assert list(by_row) == [*TRUNK, "linear", "aux1", "aux2"]
        reached = TRUNK[: TRUNK.index(taps[head]) + 1]
        assert [row for row in TRUNK if by_row[row].output > 0] == reached
        assert [row for row in TRUNK if by_row[row].factor is not None] == reached[1:]
        product = np.prod([by_row[row].factor for row in reached[1:]]) * by_row[taps[head]].output
        assert by_row["conv1_7x7_s2"].output == pytest.approx(product, rel=1e-6)
        assert {row for row in by_row if by_row[row].output is None} == {"linear", "aux1", "aux2"}
        without_weights = {row for row in by_row if by_row[row].weights is None}
        assert without_weights == {row for row in TRUNK if "pool" in row or "norm" in row}


def test_norms_at_outputs_equal_an_independent_computation(googlenet, images):
    """From the map of 4d on the heads are computed by their own layers, and the gradient is taken at the map."""
    labels = np.array([0, 3, 6, 2])
    found = diagnosis.row_gradients(googlenet, images, labels)
    state = [np.array(variable) for variable in googlenet.non_trainable_variables]
    tap = googlenet.get_layer("inception_4d_output").output
    lower = keras.Model(googlenet.input, tap)
    upper = keras.Model(tap, [googlenet.get_layer(name).output for name in ("main", "aux2")])
    maps = lower(images, training=True)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        outputs = upper(maps, training=True)
        values = [-tf.reduce_mean(tf.math.log(tf.gather(p, labels, axis=1, batch_dims=1))) for p in outputs]
    for variable, value in zip(googlenet.non_trainable_variables, state):
        variable.assign(value)
    for head, value in zip(("main", "aux2"), values):
        norm = np.sqrt(np.square(tape.gradient(value, maps).numpy().astype("float64")).sum())
        np.testing.assert_allclose(found[head]["inception_4d"].output, norm, rtol=1e-4)


def test_rows_that_do_not_learn_pass_the_gradient_on(googlenet, images):
    labels = np.array([0, 3, 6, 2])
    expected = diagnosis.row_gradients(googlenet, images, labels)["main"]["conv2_3x3"].output
    layers_of_the_stem = [googlenet.get_layer(name) for name in ("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3")]
    for layer in layers_of_the_stem:
        layer.trainable = False
    found = diagnosis.row_gradients(googlenet, images, labels)["main"]["conv2_3x3"]
    for layer in layers_of_the_stem:
        layer.trainable = True
    assert (found.weights, found.output) == (None, pytest.approx(expected, rel=1e-5))


def rows_of_dense_layers(dropout=0.2):
    """A model with the names of rows of the paper's network, which trains at once."""
    x = image = keras.Input((8,))
    outputs = {}
    x = layers.Dense(6, "relu", name="conv1_7x7_s2")(x)
    x = layers.BatchNormalization(name="conv1_7x7_s2_bn")(x)
    for row, head, prefix in (
        ("inception_4a", "aux1", "loss1"),
        ("inception_4d", "aux2", "loss2"),
        ("inception_5b", "main", "loss3"),
    ):
        x = layers.Dense(6, "relu", name=f"{row}_1x1")(x)
        y = layers.Dense(CLASSES, name=f"{prefix}_classifier")(layers.Dropout(dropout)(x))
        outputs[head] = layers.Activation("softmax", name=head)(y)
    model = ki.InceptionModel(
        image, [outputs[head] for head in ("main", "aux1", "aux2")], architecture=architectures.GOOGLENET
    )
    return ki.compile_model(model)


def test_gradient_flow_does_not_change_the_training(tmp_path):
    def trained(callbacks):
        keras.utils.set_random_seed(2)
        model = rows_of_dense_layers()
        model.fit(*examples(), epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights()

    flow = diagnosis.GradientFlow(*examples(16), tmp_path / "gradients.csv")
    for ours, theirs in zip(trained([flow]), trained([])):
        np.testing.assert_array_equal(ours, theirs)


def test_gradient_flow_logs_start_and_every_nth_epoch_also_of_a_resumed_training(tmp_path):
    probe, model, path = examples(16), rows_of_dense_layers(dropout=0), tmp_path / "gradients.csv"
    at_start = diagnosis.gradient_norms(model, *probe)

    def fit(**epochs):
        model.fit(*examples(), verbose=0, callbacks=[diagnosis.GradientFlow(*probe, path, every=2)], **epochs)
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    rows = fit(epochs=5)
    columns = ["epoch", "head", "loss_weight", "row", "gradient_norm", "output_gradient_norm", "jacobian_factor"]
    assert list(rows[0]) == columns
    assert list(dict.fromkeys(row["epoch"] for row in rows)) == ["0", "2", "4"]
    assert {(row["head"], row["loss_weight"]) for row in rows} == {("main", "1.0"), ("aux1", "0.3"), ("aux2", "0.3")}
    first = {(row["head"], row["row"]): float(row["gradient_norm"]) for row in rows if row["epoch"] == "0"}
    assert first == {(head, row): norm for head, norms in at_start.items() for row, norm in norms.items()}
    assert first["aux1", "inception_5b"] == 0 < first["aux1", "inception_4a"]
    of_4a, of_conv1 = (next(row for row in rows if (row["head"], row["row"]) == ("aux1", name)) for name in
                       ("inception_4a", "conv1_7x7_s2"))  # fmt: skip
    factor = float(of_conv1["output_gradient_norm"]) / float(of_4a["output_gradient_norm"])
    assert (float(of_4a["jacobian_factor"]), of_conv1["jacobian_factor"]) == (pytest.approx(factor), "")
    # Killed in the fourth epoch, and resumed after the third: what was written later is written again.
    resumed = fit(initial_epoch=3, epochs=4)
    assert resumed[: 2 * len(first)] == rows[: 2 * len(first)]
    assert list(dict.fromkeys(row["epoch"] for row in resumed)) == ["0", "2", "3", "4"]
    assert [resumed.count(row) for row in resumed] == [1] * len(resumed)
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.csv"]


def test_gradients_need_a_compiled_model_that_knows_its_architecture(three_heads):
    with pytest.raises(ValueError, match=r"`every` must be at least 1\. Received: every=0"):
        diagnosis.GradientFlow(None, None, "gradients.csv", every=0)
    with pytest.raises(ValueError, match=r"must know its architecture, .* Received: .*'three_heads'"):
        diagnosis.gradient_norms(three_heads(), None, None)
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="must be an `InceptionModel` that is compiled"):
        diagnosis.head_gradients(ki.InceptionModel(x, layers.Dense(2)(x)), None, None)
