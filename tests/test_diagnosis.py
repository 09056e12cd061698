"""What is wrong with a training is said, with its figures, and nothing is said of a healthy one."""

import csv
import importlib.util
import re
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_inception as ki
from keras_inception import diagnosis

pytestmark = pytest.mark.tensorflow

CLASSES = 4


@pytest.fixture
def said():
    """The messages that a callback reported."""
    return []


def classifier(*, stuck=(), normalize=None, middle=None, dropout=0.0, architecture=None, learning_rate=0.05, **options):
    """Three small heads on one dense layer; those in `stuck` see nothing of the input."""
    x = image = keras.Input((8,), name="image")
    if normalize is not None:
        x = layers.BatchNormalization(momentum=normalize, name="norm")(x)
    if middle is not None:
        x = middle(x)
    x = layers.Dense(16, "tanh", name="trunk")(x)  # TensorFlow's ReLU turns NaN into 0
    x = layers.Dropout(dropout, name="drop")(x)
    outputs = []
    for name in ("main", "aux1", "aux2"):
        y = layers.Rescaling(0.0, name=f"{name}_cut")(x) if name in stuck else x
        y = layers.Dense(CLASSES, name=f"{name}_dense")(y)
        outputs.append(layers.Activation("softmax", name=name)(y))
    model = ki.InceptionModel(image, outputs, architecture=architecture)
    return ki.compile_model(model, keras.optimizers.SGD(learning_rate), **options)


def examples(count=192, shares=None, shift=0.0, seed=0):
    """Images of noise around one corner a class, which a linear layer tells apart, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES if shares is None else np.repeat(np.arange(CLASSES), shares)
    random.shuffle(labels)
    images = 2 * np.eye(8)[labels] + 0.3 * random.standard_normal((len(labels), 8)) + shift
    return images.astype("float32"), labels


def drive(callback, model, epochs, steps=46):
    """Gives a callback the logs of epochs as `fit` would, without training."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_train_batch_end(steps - 1, {})
        callback.on_epoch_end(epoch, logs)


def heads(main, aux1, aux2, prefix=""):
    return {f"{prefix}main_loss": main, f"{prefix}aux1_loss": aux1, f"{prefix}aux2_loss": aux2}


# heads at chance


def test_a_head_that_stays_at_chance_while_another_learns_is_reported_once(said):
    model = classifier(stuck=["main"], architecture="googlenet")
    model.fit(*examples(), batch_size=4, epochs=5, verbose=0, callbacks=[diagnosis.HeadsAtChance(said.append)])
    assert len(said) == 1
    assert re.fullmatch(
        r"Head main \(on inception_5b\) has not left ln\(4\) = 1\.386 after 3 epochs: its loss is 1\.3[89]\d, while "
        r"aux[12] \(on inception_4[ad]\) learns, at 0\.\d{3}\. What helps: a lower learning rate, a warm-up, "
        r'He initialisation \(`kernel_initializer="he_normal"`\), `architecture="googlenet_bn"`\.',
        said[0],
    )


def test_every_stuck_head_is_named_with_its_row(said):
    model = classifier(architecture="googlenet", normalize=0.9)
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
    chance = diagnosis._Chance(classifier())
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


def ten_classes(three_heads):
    return three_heads(classes=10)


def test_a_healthy_training_in_which_a_head_lags_is_not_reported(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), DIGITS)
    without_validation = [{k: v for k, v in logs.items() if not k.startswith("val_")} for logs in DIGITS]
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), without_validation)
    assert not said


def test_one_epoch_is_never_enough_below_ten_thousand_steps(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), [heads(2.303, 0.5, 2.303)], steps=9_999)
    assert not said
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), [heads(2.303, 0.5, 2.303)], steps=10_000)
    assert len(said) == 2


def test_epochs_of_few_steps_are_not_enough(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), [heads(2.303, 0.5, 0.5)] * 19, steps=5)
    assert not said


def test_a_training_in_which_nothing_learns_is_reported_once(said, three_heads):
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), DIGITS_STUCK[:4])
    assert not said  # 184 steps
    drive(diagnosis.HeadsAtChance(said.append), ten_classes(three_heads), DIGITS_STUCK * 2)
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
        drive(diagnosis.HeadsAtChance(), ten_classes(three_heads), DIGITS_STUCK)


# losses that are not finite


def batches(images, labels, size=8):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)


def fit_until_stopped(model, data, epochs=3, more=(), **options):
    callbacks = [diagnosis.StopWhenNotFinite(), *more]
    with pytest.raises(diagnosis.NotFiniteError) as stopped:
        model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **options)
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


@pytest.mark.parametrize("eagerly", [False, True])
def test_images_that_are_not_finite_are_named_with_the_step(eagerly):
    images, labels = examples()
    images[43, 0] = np.nan
    message = fit_until_stopped(classifier(run_eagerly=eagerly), batches(images, labels))
    assert message == (
        "The losses are not finite (aux1_loss = nan, aux2_loss = nan, loss = nan, main_loss = nan) at step 6 of epoch "
        "1, and training stopped. The images of that batch hold NaN or infinite values: look at the input pipeline."
    )


def test_the_first_layer_whose_output_overflows_is_named_and_the_weights_are_those_from_before():
    images, labels = examples()
    images[40:48] = 100  # exp(100) is infinite in float32
    model = classifier(middle=layers.Activation("exponential", name="overflow"), dropout=0.5)
    message = fit_until_stopped(model, batches(images, labels))
    assert "at step 6 of epoch 1" in message
    assert "The first layer whose output is not finite on that batch is 'overflow'. What helps: a lower" in message
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_weights_kept_are_those_of_a_training_that_ended_one_step_earlier():
    images, labels = examples()
    images[40:48] = 100

    def build():
        keras.utils.set_random_seed(5)
        return classifier(middle=layers.Activation("exponential", name="overflow"))

    stopped, shorter = build(), build()
    fit_until_stopped(stopped, batches(images, labels))
    shorter.fit(batches(images[:40], labels[:40]), verbose=0, shuffle=False)
    for ours, theirs in zip(stopped.get_weights(), shorter.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_break_under_a_finite_loss_are_seen_at_once():
    """The hyperbolic tangent of infinity is 1, its gradient NaN; a ReLU does so with NaN in the images."""
    images, labels = examples()
    images[43, 0] = np.inf
    message = fit_until_stopped(classifier(), batches(images, labels))
    assert message == (
        "Weights became NaN or infinite under a finite loss at step 6 of epoch 1, and training stopped. The images of "
        "that batch hold NaN or infinite values: look at the input pipeline."
    )
    message = fit_until_stopped(classifier(learning_rate=float("inf")), batches(*examples()))
    assert message.startswith(
        "Weights became NaN or infinite under a finite loss at step 1 of epoch 1, and training stopped. The output of "
        "every layer is finite on that batch, and the gradient is not. What helps: a lower learning rate, a warm-up"
    )


def test_weights_that_were_broken_before_the_step_are_named():
    model = classifier()
    model.get_layer("aux1_dense").bias.assign(np.full(CLASSES, np.nan, "float32"))
    message = fit_until_stopped(model, batches(*examples()))
    assert "(aux1_loss = nan, loss = nan) at step 1 of epoch 1" in message
    assert "The first layer whose weights are not finite since the step before is 'aux1_dense'." in message


def test_a_loss_that_is_not_finite_by_itself_is_told_apart():
    model = classifier()

    def infinite(y, y_pred):
        return keras.ops.sum(y_pred, axis=-1) / 0.0

    model.compile("sgd", loss=infinite)
    message = fit_until_stopped(model, batches(*examples()))
    assert "main_loss = inf" in message
    assert "The output of every layer is finite on that batch, and the loss function is not. What helps:" in message


def test_without_the_batch_the_first_layer_with_bad_weights_is_named():
    images, labels = examples()
    images[43, 0] = np.nan
    message = fit_until_stopped(classifier(steps_per_execution=4), batches(images, labels))
    assert "at step 8 of epoch 1" in message  # Keras tells the callbacks every fourth step only
    assert "The first layer whose weights are not finite is 'trunk'." in message


def test_nothing_is_saved_after_weights_broke(tmp_path):
    """Also those that no step looks at: here the weights behind the first break, in the last step of an epoch."""

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 3:
                self.model.get_layer("aux1_dense").bias.assign(np.full(CLASSES, np.nan, "float32"))

    images, labels = examples()
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    message = fit_until_stopped(classifier(), batches(images, labels, size=192), epochs=9, more=[Break(), save])
    assert message.startswith(
        "Weights are NaN or infinite after the last step of epoch 3, and training stopped. The first layer whose "
        "weights are not finite is 'aux1_dense'."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "2.keras"]
    assert all(np.isfinite(weight).all() for weight in keras.saving.load_model(tmp_path / "2.keras").get_weights())


def test_validation_that_is_not_finite_stops_before_the_epoch_is_saved(tmp_path):
    images, labels = examples(8)
    images[0, 0] = np.nan
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    message = fit_until_stopped(
        classifier(), batches(*examples()), more=[save], validation_data=batches(images, labels)
    )
    assert re.match(r"The losses are not finite \(val_aux1_loss = nan, .*\) after epoch 1, and training", message)
    assert message.endswith("All weights are finite: look for NaN in the validation images, or for variances of batch "
                            "normalization that are far too small.")  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_training_goes_on_after_it_was_stopped():
    model = classifier()
    images, labels = examples()
    images[43, 0] = np.nan
    fit_until_stopped(model, batches(images, labels))
    ki.compile_model(model)
    history = model.fit(*examples(), epochs=1, verbose=0, callbacks=diagnosis.callbacks()).history
    assert np.isfinite(history["loss"]).all()


# the training itself


def test_a_watched_training_is_bitwise_the_same_and_traces_once(said):
    """Dropout, batch normalization and a smaller last batch included."""
    images, labels = examples(100)
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    def trained(callbacks):
        keras.utils.set_random_seed(3)
        model = classifier(normalize=0.9, dropout=0.3, middle=Counted())
        traces.clear()
        for _ in range(2):
            model.fit(images, labels, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights(), len(traces)

    plain, times = trained([])
    watched, watched_times = trained(diagnosis.callbacks(said.append))
    for ours, theirs in zip(watched, plain):
        np.testing.assert_array_equal(ours, theirs)
    assert watched_times == times


def test_keras_has_its_own_train_function_back_after_the_training():
    model = classifier()
    model.fit(*examples(), verbose=0)
    before = model.train_function
    model.fit(*examples(), verbose=0, callbacks=diagnosis.callbacks())
    assert model.train_function is before


# validation at chance


def test_statistics_of_batch_normalization_that_lag_are_reported_with_their_momentum(said):
    model = classifier(normalize=0.995)
    data, validation = examples(shift=30.0), examples(64, shift=30.0, seed=1)
    model.fit(
        *data, batch_size=8, epochs=5, verbose=0, validation_data=validation,
        callbacks=[diagnosis.ValidationAtChance(said.append)],
    )  # fmt: skip
    assert len(said) == 1
    pattern = (
        r"Validation is at chance after (\d) epochs? \(main: loss [\d.]+, accuracy [\d.]+%\) while training is not "
        r"\(loss 0\.\d+, accuracy [\d.]+%\)\. The statistics of batch normalization lag: in inference mode the last "
        r"training batch has a loss of [\d.]+ too\. With a momentum of 0\.995, (\d+)% of them are the initial values "
        r"after (\d+) steps, and they are 200 steps behind the weights\. What helps: a momentum of 0\.9, more steps"
    )
    epoch, share, steps = map(int, re.match(pattern, said[0]).groups())
    assert steps == 24 * epoch
    assert share == round(100 * 0.995**steps)


def test_the_same_training_with_a_low_momentum_is_silent(said):
    model = classifier(normalize=0.7)
    data, validation = examples(shift=30.0), examples(64, shift=30.0, seed=1)
    model.fit(
        *data, batch_size=8, epochs=5, verbose=0, validation_data=validation,
        callbacks=[diagnosis.ValidationAtChance(said.append)],
    )  # fmt: skip
    assert not said


def test_validation_images_that_differ_are_told_from_statistics_that_lag(said):
    images, labels = examples(64, seed=1)
    model = classifier()
    model.fit(
        *examples(), batch_size=8, epochs=5, verbose=0, validation_data=(images, (labels + 1) % CLASSES),
        callbacks=[diagnosis.ValidationAtChance(said.append)],
    )  # fmt: skip
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


# the input pipeline

FIGURES = (
    r"Training waits for the input pipeline: ([\d.]+) ms for each batch, beside ([\d.]+) ms of computing, (\d+)% of "
    r"the time\. What helps: `\.prefetch\(tf\.data\.AUTOTUNE\)`"
)


def sleep(seconds):
    def slept(x):
        time.sleep(seconds)
        return x

    def apply(x, *label):
        slow = tf.numpy_function(slept, [x], tf.float32)
        slow.set_shape(x.shape)
        return (slow, *label) if label else slow

    return apply


class Slow(layers.Layer):
    """Computes for some seconds."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def call(self, x):
        return tf.grad_pass_through(sleep(self.seconds))(x)


def watched_pipeline(said, *, pipeline_seconds, step_seconds):
    callback = diagnosis.InputPipeline(said.append)
    data = batches(*examples(8 * 32)).map(sleep(pipeline_seconds))
    data = data.prefetch(tf.data.AUTOTUNE)
    classifier(middle=Slow(step_seconds)).fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
    return callback


def test_a_slow_pipeline_is_reported_with_both_times(said):
    """The pipeline takes 60 ms, the step 30: TensorFlow prefetches by itself, and the step waits for what is left."""
    watched_pipeline(said, pipeline_seconds=0.06, step_seconds=0.03)
    assert len(said) == 1
    waiting, computing, share = map(float, re.match(FIGURES, said[0]).groups())
    assert waiting + computing >= 58  # the pace of the pipeline
    assert computing >= 30
    assert 10 < waiting < 40  # above, on a machine that others use too, computing takes longer
    assert share == pytest.approx(100 * waiting / (waiting + computing), abs=1)


def test_a_pipeline_faster_than_the_step_is_not_reported(said):
    watched_pipeline(said, pipeline_seconds=0.005, step_seconds=0.04)
    assert not said


def test_the_first_hundred_steps_are_enough(said):
    callback = diagnosis.InputPipeline(said.append)
    callback.set_model(classifier())
    callback.on_train_begin()
    for batch in range(103):
        assert not said or batch == 102
        callback._steps.waiting, callback._steps.computing_since = 0.05, time.perf_counter() - 0.01
        callback.on_train_batch_end(batch, {})
    assert re.match(FIGURES, said[0]).group(1) == "50.0"


# gradients


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
    model = ki.InceptionModel(image, [outputs[head] for head in ("main", "aux1", "aux2")], architecture="googlenet")
    return ki.compile_model(model)


def test_measuring_leaves_statistics_and_random_state_as_they_were():
    model = rows_of_dense_layers()
    before = [np.array(variable) for variable in model.variables]
    diagnosis.gradient_norms(model, *examples(16))
    for old, variable in zip(before, model.variables):
        np.testing.assert_array_equal(old, variable)
    assert any("seed" in variable.path for variable in model.variables)


def logged(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_gradient_flow_logs_start_and_every_nth_epoch(tmp_path):
    images, labels = examples(16)
    model = rows_of_dense_layers(dropout=0)
    at_start = diagnosis.gradient_norms(model, images, labels)
    path = tmp_path / "gradients.csv"
    model.fit(*examples(), epochs=5, verbose=0, callbacks=[diagnosis.GradientFlow(images, labels, path, every=2)])
    rows = logged(path)
    assert list(rows[0]) == ["epoch", "head", "loss_weight", "row", "gradient_norm"]
    assert list(dict.fromkeys(row["epoch"] for row in rows)) == ["0", "2", "4"]
    assert {(row["head"], row["loss_weight"]) for row in rows} == {("main", "1.0"), ("aux1", "0.3"), ("aux2", "0.3")}
    first = {(row["head"], row["row"]): float(row["gradient_norm"]) for row in rows if row["epoch"] == "0"}
    assert first == {(head, row): norm for head, norms in at_start.items() for row, norm in norms.items()}
    assert first["aux1", "inception_5b"] == 0 < first["aux1", "inception_4a"]
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.csv"]


def test_gradient_flow_does_not_change_the_training(tmp_path):
    def trained(callbacks):
        keras.utils.set_random_seed(2)
        model = rows_of_dense_layers()
        model.fit(*examples(), epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights()

    flow = diagnosis.GradientFlow(*examples(16), tmp_path / "gradients.csv")
    for ours, theirs in zip(trained([flow]), trained([])):
        np.testing.assert_array_equal(ours, theirs)


def test_gradient_flow_goes_on_in_the_file_of_a_resumed_training(tmp_path):
    path, model, probe = tmp_path / "gradients.csv", rows_of_dense_layers(), examples(16)
    model.fit(*examples(), epochs=3, verbose=0, callbacks=[diagnosis.GradientFlow(*probe, path)])
    before = logged(path)
    # Killed in the third epoch, and resumed after the second: what was written of the third is written again.
    model.fit(*examples(), initial_epoch=2, epochs=4, verbose=0, callbacks=[diagnosis.GradientFlow(*probe, path)])
    rows = logged(path)
    until_second = [row for row in before if int(row["epoch"]) <= 2]
    assert rows[: len(until_second)] == until_second
    assert [rows.count(row) for row in rows] == [1] * len(rows)
    assert list(dict.fromkeys(row["epoch"] for row in rows)) == ["0", "1", "2", "3", "4"]


def test_gradient_flow_writes_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    flow = diagnosis.GradientFlow(*examples(16), tmp_path / "gradients.csv", log_dir=tmp_path / "logs")
    rows_of_dense_layers().fit(*examples(), verbose=0, callbacks=[flow])
    (events,) = (tmp_path / "logs").iterdir()
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}
    assert "gradient_norm/aux1/inception_4a" in tags


def test_gradient_flow_refuses_what_it_cannot_do(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"`every` must be at least 1\. Received: every=0"):
        diagnosis.GradientFlow(None, None, tmp_path / "a.csv", every=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"TensorBoard logs need the package tensorboard, .* Received: log_dir='logs'"):
        diagnosis.GradientFlow(None, None, tmp_path / "a.csv", log_dir="logs")


def test_gradients_need_a_compiled_model_that_knows_its_architecture(three_heads):
    with pytest.raises(ValueError, match=r"must know its architecture, .* Received: model 'three_heads'"):
        diagnosis.gradient_norms(three_heads(), None, None)
    x = keras.Input((2,))
    with pytest.raises(ValueError, match="must be an `InceptionModel` that is compiled"):
        diagnosis.head_gradients(ki.InceptionModel(x, layers.Dense(2)(x)), None, None)
