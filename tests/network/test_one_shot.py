"""Each batch of a source is read once an epoch: one that can be read once is trained on whole, on every backend."""

import collections

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


@pytest.fixture(params=["generator", "loader"])
def source(request):
    """Returns `source(labels)`: a generator or PyTorch's own loader, and the count of what is read of it."""
    return of_loader if request.param == "loader" else lambda labels: (iter(once := OneShot(labels)), once)


def of_loader(labels):
    torch, once = pytest.importorskip("torch"), OneShot(labels)

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(once)

    return torch.utils.data.DataLoader(Batches(), batch_size=None), once


@pytest.mark.parametrize("by_name", [False, True])
def test_each_batch_of_a_source_that_can_be_read_once_is_a_step(three_heads, source, by_name):
    model = three_heads(CLASSES)
    if by_name:
        model.compile(keras.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for count, labels in enumerate((Y, ONE_HOT), start=1):
        data, once = source(labels)
        model.fit(data, shuffle=False, verbose=0)
        assert (int(model.optimizer.iterations), once.read) == (6 * count, 6)
    assert_evaluation_is_whole(model, source)


def assert_evaluation_is_whole(model, source):
    data, once = source(Y)
    found = model.evaluate(data, verbose=0)
    assert once.read == 6
    assert found == pytest.approx(model.evaluate(X.reshape(-1, 5), Y.reshape(-1), batch_size=8, verbose=0), rel=1e-5)


def test_an_evaluation_before_any_training_loses_no_batch(three_heads, source):
    assert_evaluation_is_whole(three_heads(CLASSES), source)


class Batches(keras.utils.PyDataset):
    """Notes what is read of it; the end of each epoch changes the order of its batches."""

    def __init__(self, **options):
        super().__init__(**options)
        self.read, self.begins, self.ends = [], [], 0

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        which = (index + self.ends) % len(X)
        self.read.append(which)
        return X[which], Y[which]

    def on_epoch_begin(self):
        self.begins.append(len(self.read))

    def on_epoch_end(self):
        self.ends += 1


@pytest.mark.parametrize("workers", [1, 2])
def test_each_batch_of_a_py_dataset_is_read_once_an_epoch(three_heads, workers):
    model, train, validation = three_heads(CLASSES), Batches(workers=workers), Batches(workers=workers)
    model.fit(train, validation_data=validation, epochs=2, verbose=0)
    for data in (train, validation):
        assert sorted(data.read[:6]) == sorted(data.read[6:]) == list(range(6))
        assert len(data.begins) == 2
        assert workers > 1 or data.begins == [0, 6]  # Keras's workers begin before the epoch does
    expected = model.evaluate(X.reshape(-1, 5), Y.reshape(-1), batch_size=8, verbose=0)
    for method in (model.evaluate, model.predict):
        data = Batches(workers=workers)
        found = method(data, verbose=0)
        assert sorted(data.read) == list(range(6))
        assert method == model.predict or found == pytest.approx(expected, rel=1e-5)


class Examples:
    """Counts how often each example is read."""

    def __init__(self):
        self.read = collections.Counter()

    def __len__(self):
        return 46

    def __getitem__(self, index):
        self.read[index] += 1
        return X.reshape(-1, 5)[index], Y.reshape(-1)[index]


def test_each_example_of_a_loader_is_read_once_an_epoch(three_heads):
    torch, model = pytest.importorskip("torch"), three_heads(CLASSES)

    def loader(examples):
        return torch.utils.data.DataLoader(examples, batch_size=8)  # the last batch has 6

    train, validation, test = Examples(), Examples(), Examples()
    model.fit(loader(train), validation_data=loader(validation), epochs=2, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 12
    assert train.read == validation.read == dict.fromkeys(range(46), 2)
    expected = model.evaluate(X.reshape(-1, 5)[:46], Y.reshape(-1)[:46], batch_size=8, verbose=0)
    assert model.evaluate(loader(test), verbose=0) == pytest.approx(expected, rel=1e-5)
    assert test.read == dict.fromkeys(range(46), 1)
    model.predict(loader(test), verbose=0)
    assert test.read == dict.fromkeys(range(46), 2)


@pytest.mark.tensorflow
def test_a_loader_at_its_end_is_refused(three_heads):
    data, once = of_loader(Y)
    list(once)
    with pytest.raises(ValueError, match=r"must give batches.*Received: DataLoader"):
        three_heads(CLASSES).predict(data, verbose=0)


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
