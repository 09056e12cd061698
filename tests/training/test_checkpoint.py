"""Checkpoints: everything goes in, everything comes out, and the last one is whole whatever happens."""

import numpy as np
import pytest

from keras_inception.training import checkpoint
from keras_inception.training.checkpoint import Progress

ROW = {"epoch": 1, "loss": 0.1 + 0.2}  # a number that a shorter writing would round


def values(model):
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def trained(three_heads):
    model = three_heads()
    x, y = np.random.default_rng(0).normal(size=(8, 5)), np.arange(8) % 7
    model.fit(x, y, verbose=0)
    return model


def test_a_checkpoint_brings_everything_back(trained, three_heads, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, trained, Progress(3, 2, [ROW], {"epoch": 1, "val_main_accuracy": 0.5}))
    other = three_heads()
    other.optimizer.build(other.trainable_variables)
    checkpoint.restore(path, other, "model", "optimizer")
    assert checkpoint.progress(path) == Progress(3, 2, [ROW], {"epoch": 1, "val_main_accuracy": 0.5})
    for restored, expected in zip(values(other), values(trained), strict=True):
        np.testing.assert_array_equal(restored, expected)
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_metrics_come_back_too(trained, tmp_path):
    checkpoint.write(tmp_path / "checkpoint.npz", trained, Progress(), metrics=True)
    expected = [np.array(variable) for variable in trained.metrics_variables]
    assert any(value.any() for value in expected)
    trained.reset_metrics()
    checkpoint.restore(tmp_path / "checkpoint.npz", trained, "metrics")
    for variable, value in zip(trained.metrics_variables, expected):
        np.testing.assert_array_equal(np.array(variable), value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_last_checkpoint_is_whole_when_the_next_cannot_be_written(error, trained, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, trained, Progress(1))

    def fail(file, **arrays):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(type(error)):
        checkpoint.write(path, trained, Progress(2))
    monkeypatch.undo()
    assert checkpoint.progress(path).epoch == 1
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_the_checkpoint_of_another_network_is_refused(trained, three_heads, tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.write(path, trained, Progress())
    other = three_heads(classes=3)
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match=r"checkpoint\.npz must hold the \d+ variables of this model, shape by shape"):
        checkpoint.restore(path, other, "model", "optimizer")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 truncated"])
def test_a_damaged_checkpoint_is_refused(content, trained, tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.npz is damaged .*--overwrite"):
        checkpoint.restore(tmp_path / "checkpoint.npz", trained, "model")


def test_a_training_not_yet_begun_has_no_progress(tmp_path):
    assert checkpoint.progress(tmp_path / "checkpoint.npz") == Progress(0, 0, [], None)
