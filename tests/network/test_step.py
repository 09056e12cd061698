"""A model draws each batch once, shows it to its observers, and computes its step, however it is compiled."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError

tf = pytest.importorskip("tensorflow")
tensorflow_step = pytest.importorskip("keras_inception.network.tensorflow_step")
pytestmark = pytest.mark.tensorflow

CLASSES = 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 5)).astype("float32")
Y = RNG.integers(0, CLASSES, 240)
SIGNATURE = (tf.TensorSpec((5,), tf.float32), tf.TensorSpec((), tf.int64))


class Seen:
    """Observes a training."""

    def __init__(self, model):
        self.model, self.steps, self.labels, self.waits = model, [], [], []

    def on_batch(self, batch, waiting_seconds):
        self.steps.append(int(self.model.optimizer.iterations))
        self.labels.append(batch[1].numpy())
        self.waits.append(waiting_seconds)


class Observe(keras.callbacks.Callback):
    """Adds an observer as a diagnosis does."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def on_train_begin(self, logs=None):
        self.model.observe(self.seen.on_batch)


# Keras says so at the end of every dataset that does not know how many elements it has.
unknown_size = pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")


@unknown_size
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_shuffled_dataset_is_read_exactly_once_an_epoch(three_heads, epochs):
    reads = []

    def source():
        for index in range(240):
            reads.append(index)
            yield X[index], Y[index]

    data = tf.data.Dataset.from_generator(source, output_signature=SIGNATURE).shuffle(200).batch(16)
    model = three_heads(CLASSES)
    model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    assert len(reads) == 240 * epochs
    model.fit(X, Y, epochs=epochs, validation_data=data, verbose=0)
    assert len(reads) == 240 * 2 * epochs
    model.evaluate(data, verbose=0)
    assert len(reads) == 240 * (2 * epochs + 1)


@unknown_size
def test_a_source_that_can_be_read_once_loses_no_batch(three_heads):
    once = iter([(X[start : start + 16], Y[start : start + 16]) for start in range(0, 240, 16)])
    batched = tuple(tf.TensorSpec((None, *spec.shape), spec.dtype) for spec in SIGNATURE)
    data = tf.data.Dataset.from_generator(lambda: once, output_signature=batched)
    model = three_heads(CLASSES)
    seen = Seen(model)
    model.fit(data, shuffle=False, verbose=0, callbacks=[Observe(seen)])
    np.testing.assert_array_equal(np.concatenate(seen.labels), Y)


def test_observers_see_each_batch_once_before_its_step_until_fit_ends(three_heads):
    model = three_heads(CLASSES)
    seen = Seen(model)
    model.fit(X, Y, batch_size=100, epochs=2, shuffle=False, verbose=0, callbacks=[Observe(seen)])
    assert seen.steps == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(np.concatenate(seen.labels), [*Y, *Y])
    assert all(wait >= 0 for wait in seen.waits)
    assert model.observers == ()
    model.fit(X, Y, batch_size=100, verbose=0)
    model.evaluate(X, Y, verbose=0)
    assert len(seen.steps) == 6


def test_observers_learn_for_how_long_the_step_waited_for_its_batch(three_heads, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(tensorflow_step, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def slow():
        clock[0] += 5.0
        yield tf.constant(X), tf.constant(Y)

    model = three_heads(CLASSES)
    seen = Seen(model)
    model.observe(seen.on_batch)
    model.make_train_function()(slow())
    assert seen.waits == [5.0]


def test_a_training_that_failed_leaves_no_observer(three_heads):
    model = three_heads(CLASSES)
    with pytest.raises(InputError):
        model.fit(tf.data.Dataset.from_tensors((X, Y + 9)), verbose=0, shuffle=False, callbacks=[Observe(Seen(model))])
    assert model.observers == ()


def trained(three_heads, data, **options):
    keras.utils.set_random_seed(0)
    model = ki.compile_model(three_heads(CLASSES), keras.optimizers.SGD(0.1, momentum=0.9), **options)
    logs = model.fit(*data, batch_size=None if len(data) == 1 else 64, epochs=2, shuffle=False, verbose=0).history
    return [*model.get_weights(), logs["loss"], logs["main_loss"], logs["aux1_accuracy"]]


@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}], ids=lambda value: str(value)
)
def test_every_way_to_compile_gives_the_same_training(three_heads, options):
    expected = trained(three_heads, (X, Y))  # 64, 64, 64 and 48
    for value, wanted in zip(trained(three_heads, (X, Y), **options), expected):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)  # fused operations round otherwise


def test_batches_by_hand_give_the_same_training(three_heads):
    expected = trained(three_heads, (X, Y))
    keras.utils.set_random_seed(0)
    model = ki.compile_model(three_heads(CLASSES), keras.optimizers.SGD(0.1, momentum=0.9))
    for start in 2 * list(range(0, 240, 64)):
        model.train_on_batch(X[start : start + 64], Y[start : start + 64])
    for value, wanted in zip(model.get_weights(), expected):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7)
    by_hand = model.test_on_batch(X, Y, return_dict=True)
    assert by_hand == pytest.approx(model.evaluate(X, Y, batch_size=240, verbose=0, return_dict=True), rel=1e-6)
    with pytest.raises(InputError, match="Labels must be integers from 0 to 3"):
        model.train_on_batch(X, Y + 1)


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_a_smaller_last_batch_is_not_traced_anew(drop_remainder):
    traces, after_steps = [], []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(x.shape)
            return x

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            after_steps.append(len(traces))

    x = keras.Input((5,))
    y = keras.layers.Dense(CLASSES, "softmax", name="main")(Counted()(x))
    model = ki.compile_model(ki.InceptionModel(x, y))
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(100, drop_remainder=drop_remainder)
    for _ in range(2):
        model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[Count()])
    assert len(after_steps) == (8 if drop_remainder else 12)
    assert set(after_steps) == {after_steps[0]}
    assert traces[-1] == (100 if drop_remainder else None, 5)


def test_nothing_of_keras_is_replaced(three_heads):
    """The step's function, the optimizer, random seeds and layers are what they were before they trained."""
    model = three_heads(CLASSES)
    model.fit(X, Y, verbose=0)
    parts = [model, model.optimizer, *model.layers]
    functions = (model.train_function, model.optimizer.scale_loss.__func__, model.compile.__func__)
    before = [{name: id(value) for name, value in vars(part).items() if callable(value)} for part in parts]
    model.fit(X, Y, verbose=0, callbacks=ki.diagnosis.callbacks(lambda message: None))
    assert functions == (model.train_function, model.optimizer.scale_loss.__func__, model.compile.__func__)
    assert before == [{name: id(value) for name, value in vars(part).items() if callable(value)} for part in parts]


def test_a_first_batch_of_fewer_examples_than_replicas_is_refused():
    strategy = SimpleNamespace(
        num_replicas_in_sync=4, run=lambda function, args: function(*args), reduce=lambda kind, value, axis: value
    )
    tensorflow_step._check_size((tf.zeros((4, 5)),), strategy)
    with pytest.raises(InputError, match=r"at least one example for each replica.*Received: 3 examples, 4 replicas"):
        tensorflow_step._check_size((tf.zeros((3, 5)),), strategy)
