"""A source that can be read once is trained on whole, on every backend."""

import keras
import numpy as np
import pytest

CLASSES = 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8, 5)).astype("float32")
Y = RNG.integers(0, CLASSES, (6, 8))
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]

# Keras says so at the end of every source that does not know how many batches it has.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")


def sparse_by_shape(y_true, y_pred):
    return keras.metrics.sparse_categorical_accuracy(y_true, y_pred)


class OneShot:
    """A loader of PyTorch's kind over batches that come once."""

    def __init__(self, labels):
        self.left, self.read = iter(zip(X, labels)), 0

    def __iter__(self):
        for batch in self.left:
            self.read += 1
            yield batch


def source(labels):
    """Returns a generator, or on PyTorch its own loader, and the count of what is read of it."""
    once = OneShot(labels)
    if keras.backend.backend() != "torch":
        return iter(once), once
    import torch

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(once)

    return torch.utils.data.DataLoader(Batches(), batch_size=None), once


@pytest.mark.parametrize("by_name", [False, True])
def test_each_batch_of_a_source_that_can_be_read_once_is_a_step(three_heads, by_name):
    model = three_heads(CLASSES)
    if by_name:
        model.compile(keras.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for count, labels in enumerate((Y, ONE_HOT), start=1):
        data, once = source(labels)
        model.fit(data, shuffle=False, verbose=0)
        assert (int(model.optimizer.iterations), once.read) == (6 * count, 6)
    assert_evaluation_is_whole(model)


def assert_evaluation_is_whole(model):
    data, once = source(Y)
    found = model.evaluate(data, verbose=0)
    assert once.read == 6
    assert found == pytest.approx(model.evaluate(X.reshape(-1, 5), Y.reshape(-1), batch_size=8, verbose=0), rel=1e-5)


def test_an_evaluation_before_any_training_loses_no_batch(three_heads):
    assert_evaluation_is_whole(three_heads(CLASSES))


SPARSE = keras.losses.SparseCategoricalCrossentropy
SHARES = keras.losses.CategoricalCrossentropy


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"loss": "crossentropy", "metrics": ["acc"]}, (None,)),
        ({"loss": ["crossentropy", None, None]}, (None,)),
        ({"loss": SPARSE(), "metrics": ["accuracy", sparse_by_shape]}, (None,)),
        ({"loss": keras.losses.sparse_categorical_crossentropy}, (None,)),
        ({"loss": SHARES(), "weighted_metrics": ["accuracy"]}, (None, CLASSES)),
        ({"loss": "binary_crossentropy", "metrics": ["mae"]}, (None, CLASSES)),
        ({"loss": [SPARSE(), SHARES(), SHARES()]}, None),
        ({"loss": "crossentropy", "metrics": [sparse_by_shape]}, None),
        ({"loss": "crossentropy", "weighted_metrics": ["crossentropy"]}, None),
        ({"loss": lambda y_true, y_pred: keras.losses.mean_squared_error(y_true, y_pred)}, None),
    ],
)
def test_labels_are_known_by_the_losses_or_left_to_keras(three_heads, options, shape):
    model = three_heads(CLASSES)
    model.compile("sgd", **options)
    batch = model.symbolic_batch()
    assert (None if batch is None else batch[1].shape) == shape
