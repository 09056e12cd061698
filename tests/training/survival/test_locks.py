"""One process writes to a folder at a time; a killed one keeps nobody out."""

import multiprocessing
import signal

import pytest
from tiny_network import TINY

from keras_inception import files
from keras_inception.errors import InputError

pytest.importorskip("tensorflow")

from keras_inception.study.heads import heads
from keras_inception.training.config import TrainConfig
from keras_inception.training.loop import train
from keras_inception.tuning.search import search


def hold(folder, held):
    with files.locked(folder):
        held.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to `tmp_path / "taken"`."""
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "taken", held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


CALLS = {
    "training": lambda config, folder: train(config, folder, verbose=0),
    "search": lambda config, folder: search(config, folder, max_trials=1),
    "study": lambda config, folder: heads(config, folder, architectures=[TINY], seeds=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_folder_that_another_process_writes_to_is_refused(name, holder, image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(image_folder), architecture=TINY, epochs=1)
    with pytest.raises(
        InputError, match=r"Another process is writing to .*taken\. Wait for it, or choose another folder"
    ):
        CALLS[name](config, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_removed_and_its_lock_keeps_nobody_out(holder, tmp_path):
    holder.kill()
    holder.join()
    (tmp_path / "taken" / f"part-{'0' * 32}-model.keras").write_text("half of it")
    (tmp_path / "taken" / "part-of-mine.txt").write_text("mine")
    with files.locked(tmp_path / "taken"):
        assert sorted(path.name for path in (tmp_path / "taken").iterdir()) == [".lock", "part-of-mine.txt"]


def test_two_writers_of_one_file_never_share_what_is_half_written(tmp_path):
    path = tmp_path / "results.json"
    with files.written_aside(path) as first, files.written_aside(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
        assert not path.exists()
    assert path.read_text() == "first"
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]


def test_a_folder_in_which_nothing_was_written_is_gone_again(tmp_path):
    with pytest.raises(KeyError), files.locked(tmp_path / "runs" / "new"):
        raise KeyError
    assert not (tmp_path / "runs").exists()
    with files.locked(tmp_path / "new"):
        (tmp_path / "new" / "a").touch()
    assert (tmp_path / "new" / "a").exists()


def test_one_process_after_the_other_takes_the_same_folder(tmp_path):
    for _ in range(2):
        with files.locked(tmp_path / "run"):
            (tmp_path / "run" / "a").touch()
            with pytest.raises(InputError, match="Another process"), files.locked(tmp_path / "run"):
                pass
