"""Numbered folders: whole or not there, never replaced."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from keras_inception.errors import InputError
from keras_inception.files import LOCK
from keras_inception.serving.export.versions import publish


def write(folder, text="whole"):
    (folder / "variables").mkdir()
    (folder / "saved_model.pb").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


def test_versions_count_from_one_and_then_from_the_highest(tmp_path):
    folder = tmp_path / "a" / "model"
    assert [publish(write, folder).name for _ in range(3)] == ["1", "2", "3"]
    assert (folder / "3").stat().st_mode == folder.stat().st_mode  # a server under another name can read it
    assert names(folder) == ["1", "2", "3"]
    for name in ("7", "0012", "latest", "part-of-something"):
        (folder / name).mkdir()
    assert publish(write, folder).name == "13"
    assert publish(write, folder, 9).name == "9"


@pytest.mark.parametrize("existing", ["4", "004"])
def test_a_version_is_never_replaced_and_a_failed_one_leaves_nothing(tmp_path, existing):
    (tmp_path / existing).mkdir()
    with pytest.raises(InputError, match=r"4 exists, and a version is never replaced.*version=4"):
        publish(write, tmp_path, 4)

    def fail(folder):
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        publish(fail, tmp_path)
    assert names(tmp_path) == [existing]


def test_a_server_that_polls_sees_whole_versions_alone(tmp_path):
    seen, done = [], threading.Event()

    def poll():
        while not done.is_set():
            for name in filter(str.isdigit, os.listdir(tmp_path)):
                seen.append((tmp_path / name / "saved_model.pb").read_text() == "whole" * 100_000)

    def slowly(folder):
        with open(folder / "saved_model.pb", "w") as file:
            for _ in range(100):
                file.write("whole" * 1000)
                file.flush()

    watcher = threading.Thread(target=poll)
    watcher.start()
    while len(seen) < 20:
        publish(slowly, tmp_path)
    done.set()
    watcher.join()
    assert all(seen)


def test_a_killed_export_leaves_no_version(tmp_path):
    code = (
        "import os, sys\n"
        "from keras_inception.serving.export.versions import publish\n"
        "publish(lambda folder: ((folder / 'saved_model.pb').write_text('half'), os.kill(os.getpid(), 9)), sys.argv[1])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=120)
    assert killed.returncode == -9
    [left] = names(tmp_path)
    assert left.startswith("part-")
    assert publish(write, tmp_path).name == "1"  # its lock ended with it
    assert names(tmp_path) == ["1"]  # what it left is gone


def test_a_second_export_at_the_same_time_is_refused_and_the_first_is_whole(tmp_path):
    def meanwhile(folder):
        with pytest.raises(InputError, match=r"Another process is writing to .*model\. Wait for it, or choose another"):
            publish(write, tmp_path / "model")
        write(folder)

    assert publish(meanwhile, tmp_path / "model").name == "1"
    assert names(tmp_path / "model") == ["1"]
    assert publish(write, tmp_path / "model").name == "2"


def test_a_file_system_without_locks_gets_versions_too(tmp_path, monkeypatch):
    def refuse(lock, timeout):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("keras_inception.files.FileLock.acquire", refuse)
    (tmp_path / f"part-{'0' * 32}").mkdir()  # perhaps another's, who writes now
    assert publish(write, tmp_path).name == "1"
    assert names(tmp_path) == ["1", f"part-{'0' * 32}"]


@pytest.mark.parametrize("version", [-1, 0, 2**63, 10**400, 1.0, 1.5, "1", "", True, float("nan")])
def test_what_is_no_number_is_refused(tmp_path, version):
    with pytest.raises(InputError, match=r"`version` must be a whole number from 1 to 2\^63 - 1.*Received: version="):
        publish(write, tmp_path / "model", version)
    assert not (tmp_path / "model").exists()


def test_no_version_follows_the_highest(tmp_path):
    assert publish(write, tmp_path, 2**63 - 1).name == str(2**63 - 1)
    with pytest.raises(InputError, match="holds the highest version that TensorFlow Serving reads"):
        publish(write, tmp_path)
    assert publish(write, tmp_path, np.int64(7)).name == "7"
    (tmp_path / str(2**63)).mkdir()  # the server does not read it either
    assert names(tmp_path) == ["7", str(2**63 - 1), str(2**63)]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(InputError, match="`folder` must be a folder, and this is a file"):
        publish(write, tmp_path / "model")


def test_serving_is_imported_without_fcntl():
    """As on Windows."""
    code = (
        "import sys, warnings\n"
        "sys.modules['fcntl'] = None\n"
        "warnings.simplefilter('ignore')  # filelock says that it has another kind of lock here\n"
        "import keras_inception.serving as serving\n"
        "serving.export_saved_model, serving.calibrate_exits, serving.Classifier"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
