"""Files that are written whole or not at all, and JSON that every reader takes."""

import errno
import json
import os

import pytest

from keras_inception import files
from keras_inception.errors import InputError


def test_json_holds_no_number_that_is_not_finite(tmp_path):
    value = {"loss": float("nan"), "rows": [[1.5, float("inf")], (2, -float("inf"))], "name": "NaN", "none": None}
    files.write_json(tmp_path / "x.json", value)

    def refuse(name):
        raise AssertionError(name)

    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert found == {"loss": None, "rows": [[1.5, None], [2, None]], "name": "NaN", "none": None}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_failed_write_names_the_file_that_was_asked_for_and_leaves_nothing(tmp_path, number, is_named):
    def write():
        with files.written_aside(tmp_path / "x.json") as aside:
            aside.write_text("half")
            raise OSError(number, os.strerror(number), *([str(aside)] if is_named else []))

    with pytest.raises(OSError, match=r"x\.json") as caught:
        write()
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "x.json"))
    assert not list(tmp_path.iterdir())


def test_a_failure_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.txt"), files.written_aside(tmp_path / "x.json"):
        (tmp_path / "other.txt").read_text()


@pytest.mark.parametrize("file", ["run/sub/x.png", "run", "."])
def test_a_failed_write_has_a_note_and_names_what_was_asked_for(tmp_path, file):
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / file))
    with pytest.raises(PermissionError) as caught, files.writing(tmp_path / "run"):
        raise error
    assert (caught.value.filename, caught.value.__notes__) == (str(tmp_path / "run"), [files.MAKE_ROOM])


def test_a_failed_copy_names_the_copy(tmp_path):
    def copy():
        with files.written_aside(tmp_path / "x.json") as aside:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/best/model.keras", None, str(aside))

    with pytest.raises(OSError, match=r"x\.json") as caught:
        copy()
    assert caught.value.__notes__ == [files.MAKE_ROOM]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "", "/other"), ConnectionError("no number")])
def test_what_failed_beside_a_write_is_let_through_without_a_note(tmp_path, error):
    with pytest.raises(type(error)) as caught, files.writing(tmp_path / "run"):
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no folder to write x\.json into.*Received: .*nosuch/x\.json"):
        files.write_json(tmp_path / "nosuch" / "x.json", {})
