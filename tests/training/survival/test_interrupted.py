"""Ctrl-C: what was reported is saved, and what is said to be saved is."""

import signal

import keras
import pytest
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception import data, files
from keras_inception.cli.progress import TrainingProgress
from keras_inception.training import checkpoint, runs, saving
from keras_inception.training.config import TrainConfig
from keras_inception.training.interruption import PreemptedError
from keras_inception.training.loop import train


class CtrlC(keras.callbacks.Callback):
    """Ctrl-C at a moment of a training: a method of a callback, and the number of its call."""

    def __init__(self, method, call):
        super().__init__()
        self.left = call

        def come(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)

        setattr(self, method, come)


@pytest.fixture
def config(image_folder):
    return TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=3, batch_size=16, aux_heads=False)


def interrupted(config, folder, match, **options):
    """Trains until Ctrl-C comes; returns what the checkpoint says is saved."""
    options = {"verbose": 0, "report": lambda message: None, **options}
    with pytest.raises(KeyboardInterrupt, match=match):
        train(config, folder, **options)
    return checkpoint.progress(folder / runs.CHECKPOINT).epoch


def assert_whole(folder, epochs):
    assert len(files.read_table(folder / runs.HISTORY)) == epochs
    assert runs.load_model(folder)
    assert not list(folder.glob("part-*"))


AFTER_ONE = r"^interrupted after 1 epoch; go on with `keras-inception train --resume \S+`$"


def before(owner, name, monkeypatch):
    """Lets Ctrl-C come once, right before a function is called."""
    function, calls = getattr(owner, name), []

    def called(*args, **kwargs):
        calls.append(name)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, called)


@pytest.mark.parametrize(("owner", "name"), [(checkpoint, "write"), (files, "write_table"), (runs, "save_model")])
def test_ctrl_c_while_an_epoch_is_saved_waits_for_that(owner, name, config, tmp_path, monkeypatch, capsys):
    before(owner, name, monkeypatch)
    with TrainingProgress(3) as progress:
        assert interrupted(config, tmp_path / "run", AFTER_ONE, callbacks=[progress]) == 1
    assert capsys.readouterr().out.startswith("epoch 1/3: ")
    assert_whole(tmp_path / "run", 1)


def test_ctrl_c_that_comes_when_a_callback_reports_an_epoch_keeps_it(config, tmp_path):
    ctrl_c = CtrlC("on_epoch_end", 1)
    assert interrupted(config, tmp_path / "run", AFTER_ONE, callbacks=[ctrl_c]) == 1
    assert_whole(tmp_path / "run", 1)


def test_an_epoch_is_printed_when_it_is_saved(config, tmp_path, monkeypatch, capsys):
    printed, end = [], saving.SaveRun.on_epoch_end

    def on_epoch_end(self, *args, **kwargs):
        end(self, *args, **kwargs)
        printed.append(capsys.readouterr().out)  # also where the process is killed, no epoch is reported and lost

    monkeypatch.setattr(saving.SaveRun, "on_epoch_end", on_epoch_end)
    with TrainingProgress(3) as progress:
        train(config, tmp_path / "run", verbose=0, report=lambda message: None, callbacks=[progress])
    printed.append(capsys.readouterr().out)
    assert [text.split(":")[0] for text in printed] == ["", "epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_ctrl_c_within_an_epoch_counts_the_epochs_that_are_saved(config, tmp_path):
    folder = tmp_path / "run"
    nothing = r"^interrupted before the first epoch was saved; begin it again with `\S+ train --resume \S+`$"
    assert interrupted(config, folder, nothing, callbacks=[CtrlC("on_train_batch_end", 2)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "config.json", "data.json"]
    again = {"callbacks": [CtrlC("on_train_batch_end", 4)]}  # the same command
    assert interrupted(config, folder, AFTER_ONE, **again) == 1

    def while_it_reads(done, total):
        raise KeyboardInterrupt

    # Nothing of this call was trained, and all of the earlier one is kept.
    assert interrupted(None, folder, AFTER_ONE, resume=True, on_check=while_it_reads) == 1
    after_two = AFTER_ONE.replace("1 epoch", "2 epochs")
    assert interrupted(config, folder, after_two, callbacks=[CtrlC("on_epoch_end", 1)]) == 2
    assert train(folder=folder, resume=True, verbose=0, report=lambda message: None).epochs == 3


def test_an_epoch_that_has_fewer_steps_than_were_done_begins_again(image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1, batch_size=8, aux_heads=False)

    def after_three_steps(batch, logs):
        if batch == 2:
            signal.raise_signal(signal.SIGTERM)

    told = keras.callbacks.LambdaCallback(on_train_batch_end=after_three_steps)
    with pytest.raises(PreemptedError, match="3 steps"):
        train(config, tmp_path / "run", verbose=0, report=print, callbacks=[told])
    record = runs.data_record(tmp_path / "run")
    kept = set(list(record["splits"]["train"])[::3])  # 11 of 32: two steps
    files.write_json(tmp_path / "run" / runs.DATA, data.without(record, record["splits"]["train"].keys() - kept))
    said = []
    finished = train(config, tmp_path / "run", verbose=0, report=said.append)
    assert finished.model.optimizer.iterations == 3 + 2
    assert said == ["an epoch has 2 steps now, and the one that was begun begins again"]
    assert_whole(finished.folder, 1)
