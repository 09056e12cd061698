"""What the commands show while a network trains: epoch, loss, accuracy of each head, and the time that is left."""

import types

import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf

from keras_inception.cli import progress


def trained(heads, logs, epochs=4, steps=5):
    """Lets a progress be told of the epochs of a training."""
    with progress.TrainingProgress(epochs) as shown:
        shown.set_model(types.SimpleNamespace(output_names=heads, distribute_strategy=tf.distribute.get_strategy()))
        shown.set_params({"steps": steps})
        shown.on_train_begin()
        for epoch in range(epochs):
            shown.on_epoch_begin(epoch)
            for step in range(steps):
                shown.on_train_batch_end(step, {name: value for name, value in logs.items() if "val" not in name})
            shown.on_epoch_end(epoch, logs)
        shown.on_train_end()


LOGS = {
    "loss": 1.5,
    "main_loss": 1.0,
    "main_accuracy": 0.5,
    "aux1_accuracy": 0.25,
    "main_top_5_accuracy": 0.75,
    "val_loss": 2.5,
    "val_main_accuracy": 0.4,
    "val_aux1_accuracy": 0.2,
}


def test_a_log_has_a_line_an_epoch_of_what_a_person_reads(capsys):
    trained(("main", "aux1"), LOGS)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert (len(lines), printed.err) == (4, "")
    for number, line in enumerate(lines, 1):
        said = f"epoch {number}/4: loss 1.5000; validation: loss 2.5000, accuracy main 40.00%, aux1 20.00%"
        assert line.removesuffix("; 0:00:00 left") == said


def test_the_time_left_is_that_of_the_steps_after_the_first(monkeypatch, capsys):
    now = [100.0]  # the first step, which compiles, took that long
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.TrainingProgress(3) as shown:
        shown.set_model(types.SimpleNamespace(output_names=["main"], distribute_strategy=tf.distribute.get_strategy()))
        shown.set_params({"steps": 2})
        shown.on_train_begin()
        for epoch in range(3):
            shown.on_epoch_begin(epoch)
            for step in range(2):
                shown.on_train_batch_end(step, {"loss": 1.0})
                now[0] += 1800.0
            shown.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "epoch 1/3: loss 1.0000, accuracy main 50.00%; 4:00:00 left",  # an hour for half an epoch
        "epoch 2/3: loss 1.0000, accuracy main 50.00%; 1:20:00 left",  # two hours for one and a half
        "epoch 3/3: loss 1.0000, accuracy main 50.00%",
    ]


def test_a_terminal_has_a_bar_below_the_lines_and_keeps_its_cursor(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    trained(("main", "aux1"), LOGS)
    printed = capsys.readouterr()
    assert printed.out.count("epoch ") == 4
    assert "epoch 4/4 " in printed.err
    assert "loss 1.5000, accuracy main 50.00%, aux1 25.00%" in printed.err
    assert printed.err.rindex("\x1b[?25h") > printed.err.rindex("\x1b[?25l")


def test_workers_other_than_the_chief_say_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress.distribute, "is_chief", lambda strategy: False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    trained(("main", "aux1"), LOGS)
    assert capsys.readouterr() == ("", "")
