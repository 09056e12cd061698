"""Numbered folders: whole or not there, never replaced."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from keras_inception.serving.export import versions
from keras_inception.serving.export.versions import publish


def write(folder, text="whole"):
    (folder / "variables").mkdir()
    (folder / "saved_model.pb").write_text(text)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_versions_count_from_one(tmp_path):
    directory = tmp_path / "a" / "model"
    assert [publish(write, directory).name for _ in range(3)] == ["1", "2", "3"]
    assert names(directory) == ["1", "2", "3"]


def test_the_next_version_is_one_more_than_the_highest(tmp_path):
    for name in ("7", "0012", "latest", "part-of-something"):
        (tmp_path / name).mkdir()
    assert publish(write, tmp_path).name == "13"
    assert publish(write, tmp_path, 9).name == "9"


@pytest.mark.parametrize("existing", ["4", "004"])
def test_a_version_is_never_replaced(tmp_path, existing):
    (tmp_path / existing).mkdir()
    with pytest.raises(ValueError, match=r"4 exists, and a version is never replaced.*version=4"):
        publish(write, tmp_path, 4)
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


def test_what_fails_leaves_nothing(tmp_path):
    def fail(folder):
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        publish(fail, tmp_path)
    assert names(tmp_path) == []


def test_a_killed_export_leaves_no_version(tmp_path):
    code = (
        "import os, runpy, sys\n"
        "publish = runpy.run_path(sys.argv[1])['publish']\n"
        "publish(lambda folder: ((folder / 'saved_model.pb').write_text('half'), os.kill(os.getpid(), 9)), sys.argv[2])"
    )
    killed = subprocess.run([sys.executable, "-c", code, versions.__file__, str(tmp_path)], timeout=120)
    assert killed.returncode == -9
    assert [name for name in names(tmp_path) if name.isdigit()] == []
    assert publish(write, tmp_path).name == "1"
    assert names(tmp_path) == ["1"]  # what it left is gone


def test_exports_at_the_same_time_take_numbers_of_their_own(tmp_path):
    threads = [threading.Thread(target=publish, args=(write, tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == [str(number) for number in range(1, 9)]


def test_a_server_under_another_name_can_read_it(tmp_path):
    version = publish(write, tmp_path)
    assert stat.S_IMODE(version.stat().st_mode) == 0o777 & ~_umask()


def _umask():
    value = os.umask(0o022)
    os.umask(value)
    return value


@pytest.mark.parametrize("version", [-1, 1.0, "1", True])
def test_what_is_no_number_is_refused(tmp_path, version):
    with pytest.raises(ValueError, match="`version` must be a whole number"):
        publish(write, tmp_path, version)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(ValueError, match="`directory` must be a folder, and this is a file"):
        publish(write, tmp_path / "model")
