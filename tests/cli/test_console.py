"""What the commands show while they check the images of a folder."""

import gc
import itertools
import subprocess
import sys

import pytest

from keras_inception.cli import console, quiet


def test_the_check_of_a_folder_is_at_most_a_hundred_lines_of_a_log(monkeypatch, capsys):
    seconds = itertools.count()
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    shown = console.CheckProgress()
    for done in range(1, 5001):
        shown(done, 5000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"checked {done:,} of 5,000 images" for done in range(50, 5001, 50)]


def test_a_check_that_is_over_at_once_says_nothing_in_a_log(monkeypatch, capsys):
    monkeypatch.setattr(console.time, "monotonic", lambda: 0.0)
    shown = console.CheckProgress()
    for done in range(1, 101):
        shown(done, 100)
    assert capsys.readouterr() == ("", "")


def test_the_check_of_a_folder_is_a_bar_in_a_terminal_and_leaves_the_cursor(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = console.CheckProgress()
    shown(1, 100)
    begun = capsys.readouterr().err
    assert begun.rindex("\x1b[?25h") > begun.rindex("\x1b[?25l")
    for done in range(2, 101):
        shown(done, 100)
    said = capsys.readouterr()
    assert "checking images" in said.err
    assert "100/100" in said.err
    assert said.out == ""


@pytest.mark.parametrize("name", ["[red] fox", "a [/b]", ":cat:", "[a]"])
def test_a_table_shows_names_as_they_are(name, capsys):
    console.print_table("title", ["class", name], [[name, "1"], ["other", "2"]])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[2].split(maxsplit=1) == ["class", name]
    assert lines[4].rsplit(maxsplit=1) == [name, "1"]


def test_a_narrow_terminal_folds_long_names_and_cuts_no_number_off(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    name = "one_long_name_" * 5
    console.print_table("title", ["class", "train", "validation", "test"], [[name, "1,234", "567", "89"]])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    assert rows[0][1:] == ["1,234", "567", "89"]
    assert "".join(row[0] for row in rows if row) == name


def test_the_collector_rests_while_tensorflow_is_imported_and_at_no_other_time():
    program = "import gc, sys; sys.argv[0] = 'keras-inception'; from keras_inception.cli import quiet; "
    program += "quiet.import_tensorflow_quietly(); print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert found.stdout.split() == ["True", "True"]
    quiet.import_tensorflow_quietly()
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]
    quiet.import_tensorflow_quietly()  # here it is imported already
    assert gc.isenabled()
    assert gc.get_freeze_count() < before + len(kept)
