"""Which folder a training may write to, and which run in it it goes on with."""

import shutil
import signal
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception import GoogLeNet, files
from keras_inception.errors import InputError
from keras_inception.training import checkpoint, runs
from keras_inception.training.config import TrainConfig, read
from keras_inception.training.interruption import interrupt_signal, termination_signal
from keras_inception.training.loop import Training, train


@pytest.fixture
def unfinished(run, tmp_path):
    """A folder with what a run that was killed leaves."""
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "results.json").unlink()
    return folder


def test_an_unfinished_run_of_another_configuration_is_refused_with_the_difference(unfinished):
    config = TrainConfig.of(**read(unfinished / "config.json") | {"epochs": 9, "seed": 5})
    with pytest.raises(InputError, match=r"another configuration: seed was 0 and is 5, epochs was 2 and is 9\. Go on"):
        train(config, unfinished)
    assert (unfinished / "model.keras").is_file()


def test_weights_within_the_folder_that_is_overwritten_are_refused(tmp_path, monkeypatch):
    """A run that is interrupted in its first epoch would have lost what it begins with."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    GoogLeNet(architecture=TINY, classes=2).save(folder / "model.keras")
    monkeypatch.chdir(tmp_path)
    for weights in ("run", str(folder), str(folder / "model.keras")):
        with pytest.raises(InputError, match=r"`weights` must not lie in the folder that is overwritten.*`--out`"):
            train(TrainConfig(weights=weights), folder, overwrite=True)
    assert (folder / "model.keras").is_file()


def test_a_finished_run_of_another_configuration_is_refused_as_what_it_is(run):
    config = TrainConfig.of(**read(run.folder / "config.json") | {"epochs": 9, "seed": 5})
    with pytest.raises(InputError, match=r"a finished run of another configuration: seed was 0 and is 5\. It goes on"):
        train(config, run.folder, resume=True)


def test_a_finished_run_is_not_gone_on_with(run):
    with pytest.raises(InputError, match=r"holds a finished run of 2 epochs: .*More `--epochs` .*Received: epochs=2"):
        train(folder=run.folder, resume=True)


def begun(unfinished, best):
    """The training that goes on with a run after its second epoch, of which the `best` was one."""
    rows = files.read_table(unfinished / "history.csv")
    progress = checkpoint.Progress(2, 0, [{name: float(value) for name, value in row.items()} for row in rows])
    progress.best = {"epoch": best, "val_main_accuracy": 0.5}
    model = runs.load_model(unfinished)
    checkpoint.write(unfinished / "checkpoint.npz", model, progress)
    said = []
    training = Training(runs.begun(unfinished), unfinished, verbose=0, report=said.append)
    return training, progress, model, said


def test_a_checkpoint_of_another_run_is_refused(unfinished):
    training, progress, model, _ = begun(unfinished, 1)
    training.check_folder(resume=True)
    progress.history[1]["loss"] *= 1.01
    checkpoint.write(unfinished / "checkpoint.npz", model, progress)
    with pytest.raises(InputError, match=r"must be that of this run, and its loss of epoch 2 is another"):
        training.check_folder(resume=True)
    (unfinished / "history.csv").unlink()  # the way out that the error names
    training.check_folder(resume=True)


@pytest.mark.parametrize("best", [1, 2])
def test_a_best_model_that_is_lost_is_written_again_or_missed(best, unfinished):
    training, _, model, said = begun(unfinished, best)
    (unfinished / "best.keras").unlink()
    training.check_folder(resume=True)
    training.begin()
    if best == 2:
        kept = keras.saving.load_model(unfinished / "best.keras")
        for ours, theirs in zip(kept.weights, model.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(said) == (best == 1)
    assert all("best.keras, of epoch 1, is lost" in text for text in said)


@pytest.mark.slow
def test_a_finished_run_goes_on_for_more_epochs(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "exits.json").write_text("{}")
    before = read(folder / "config.json")
    steps = int(run.model.optimizer.iterations)
    longer = train(
        TrainConfig.of(**before | {"epochs": 3}), folder, resume=True, verbose=0, report=lambda message: None
    )
    history = files.read_table(folder / "history.csv", ("epoch", "loss"))
    assert [int(float(row["epoch"])) for row in history] == [1, 2, 3]
    assert [row["loss"] for row in history[:2]] == [row["loss"] for row in files.read_table(run.folder / "history.csv")]
    assert int(longer.model.optimizer.iterations) == steps * 3 // 2
    assert read(folder / "config.json") == before | {"epochs": 3}
    assert (folder / "results.json").is_file()
    assert not (folder / "exits.json").exists()
    assert not (folder / "checkpoint.npz").exists()
    with pytest.raises(InputError, match="finished run of another configuration: seed was 0 and is 9"):
        train(TrainConfig.of(**before | {"epochs": 5, "seed": 9}), folder, resume=True)


@pytest.mark.slow
def test_a_training_begins_with_the_weights_of_a_run(run, image_folder, tmp_path):
    options = {"dataset": str(image_folder), "architecture": TINY, "epochs": 1, "batch_size": 8}
    config = TrainConfig.of(**options, weights=str(run.folder), learning_rate=1e-9, warmup_fraction=0)
    tuned = train(config, tmp_path / "tuned", verbose=0, report=lambda message: None)
    for weight, source in zip(tuned.model.trainable_variables, run.model.trainable_variables, strict=True):
        np.testing.assert_allclose(weight, source, atol=1e-5)
    with pytest.raises(InputError, match="where nothing is"):
        train(TrainConfig.of(**options, weights=str(tmp_path / "nothing.keras")), tmp_path / "other", verbose=0)


@pytest.mark.parametrize("content", [None, "thesis.txt"])
def test_a_folder_without_a_run_is_not_gone_on_with(content, tmp_path):
    if content:
        (tmp_path / content).write_text("years of work")
    with pytest.raises(InputError, match=r"There is no run to go on with: .* has no config\.json"):
        train(folder=tmp_path, resume=True)


def test_clearing_leaves_nothing_of_the_earlier_run_and_nothing_else_out(unfinished):
    (unfinished / "notes.txt").write_text("mine")
    runs.clear(unfinished)
    assert {path.name for path in unfinished.iterdir()} - {files.LOCK} == {"notes.txt"}


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_folder_whose_training_was_killed_while_it_was_prepared_is_still_a_run_s(name, unfinished, monkeypatch):
    """A kill before any of the files of a new run, here in the folder of an old one, leaves what goes on."""
    (unfinished / "history.csv").write_text("of an old run")

    def killed(path, value):
        if path.name == name:
            raise KeyError
        write_json(path, value)

    write_json = files.write_json
    config = TrainConfig.from_file(unfinished / "config.json")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", killed)
        with pytest.raises(KeyError):
            train(config, unfinished, overwrite=True, verbose=0)
    Training(config, unfinished, verbose=0).check_folder()
    (unfinished / "config.json").unlink(missing_ok=True)
    assert files.is_empty(unfinished)


def test_all_that_is_left_of_a_run_while_it_is_cleared_is_known_as_one(unfinished, monkeypatch):
    """Whatever file the process is killed at."""
    left, unlink = [], Path.unlink

    def unlinked(path, missing_ok=False):
        unlink(path, missing_ok=missing_ok)
        left.append(runs.is_unfinished(unfinished) or files.is_empty(unfinished))

    monkeypatch.setattr(Path, "unlink", unlinked)
    runs.clear(unfinished)
    assert len(left) > 10
    assert all(left)


def test_the_termination_signal_is_caught_inside_and_not_after():
    before = signal.getsignal(signal.SIGTERM)
    with termination_signal() as came:
        assert not came.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert came.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_waits_while_it_is_held_and_a_second_one_does_not():
    before = signal.getsignal(signal.SIGINT)
    with interrupt_signal() as interrupt:
        interrupt.release()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        for _ in range(2):
            interrupt.hold()
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                interrupt.release()
            interrupt.release()
        interrupt.hold()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt_signal() as interrupt:
            interrupt.hold()
            signal.raise_signal(signal.SIGINT)
            interrupt.release()
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_the_signals_are_left_alone():
    handlers = []

    def enter():
        with termination_signal() as came, interrupt_signal() as interrupt:
            interrupt.release()
            now = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
            handlers.append((*now, came.is_set()))

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [(*before, False)]
