"""The errors of the command: one line for what is refused, a file with the traceback for a defect."""

import contextlib
import errno
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import warnings

import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf

from keras_inception import files
from keras_inception.cli import command, convert, main
from keras_inception.errors import DownloadError, InputError, MissingFileError, MissingPackageError, StoppedError
from keras_inception.training.diagnosis import NotFiniteError
from keras_inception.training.distribute import WorkerLostError
from keras_inception.training.interruption import PreemptedError
from keras_inception.tuning.search import SearchFailedError

ROOT = pathlib.Path(command.__file__).parents[2]


@pytest.fixture
def failing(monkeypatch, capsys):
    """Returns `fails(error, *options)`: the exit code and the lines of a command that raises an error."""

    def fails(error, *options):
        def run(arguments):
            raise error

        monkeypatch.setattr(convert, "run", run)
        code = main([*options, "convert", "bvlc", "x.caffemodel", "x.keras"])
        return code, capsys.readouterr().err.removeprefix("keras-inception convert: ")

    return fails


@pytest.mark.parametrize(
    "kind",
    [
        InputError, MissingFileError, MissingPackageError, DownloadError,
        StoppedError, NotFiniteError, WorkerLostError, SearchFailedError,
    ],
)  # fmt: skip
def test_what_the_library_refuses_or_stops_is_one_line_and_exit_code_2(kind, failing):
    assert failing(kind("a sentence\nin two lines")) == (2, "error: a sentence in two lines\n")


def test_a_warning_is_one_line_without_code(monkeypatch, capsys):
    before = warnings.showwarning

    def run(arguments):
        warnings.showwarning(UserWarning("a sentence\nin two lines"), UserWarning, "code.py", 3)
        return 0

    monkeypatch.setattr(convert, "run", run)
    assert main(["convert", "bvlc", "x.caffemodel", "x.keras"]) == 0
    assert capsys.readouterr().err == "warning: a sentence in two lines\n"
    assert warnings.showwarning is before


def test_all_that_ends_before_its_time_has_one_base():
    assert {NotFiniteError, WorkerLostError, PreemptedError, SearchFailedError} <= set(StoppedError.__subclasses__())


def test_a_preempted_command_says_to_try_again(failing):
    assert failing(PreemptedError("told to end, and saved")) == (75, "told to end, and saved\n")


def test_an_interrupted_command_says_so(failing):
    code, text = failing(KeyboardInterrupt())
    assert (code, text.split()[-1]) == (130, "interrupted")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_a_failed_write_says_what_to_do(number, failing):
    code, text = failing(OSError(number, os.strerror(number), "/disk/run"))
    assert (code, text) == (2, f"error: {os.strerror(number)} (/disk/run): choose another place, or make room\n")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_written_is_told_from_what_may_not_be_read(number, failing, tmp_path):
    error = OSError(number, os.strerror(number), str(tmp_path / "run" / "file"))
    line = f"error: {os.strerror(number)} ({error.filename})"
    assert failing(error) == (2, f"{line}\n")
    with pytest.raises(OSError, match="file") as caught, files.writing(error.filename):
        raise error
    assert failing(caught.value) == (2, f"{line}: choose another place, or make room\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "there is no file or folder of this name (/disk/run)"),
        (errno.ENAMETOOLONG, "the name is too long for a file (/disk/run)"),
        (errno.ENOTDIR, "Not a directory (/disk/run)"),
    ],
)
def test_other_failures_of_files_have_words_of_their_own(number, words, failing):
    assert failing(OSError(number, os.strerror(number), "/disk/run")) == (2, f"error: {words}\n")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a plain one"), TypeError("odd"), ImportError("no such name"), RuntimeError("stop"),
        ConnectionError("no number"), FileNotFoundError("of ours"), OSError("Unable to synchronously open file"),
    ],
)  # fmt: skip
def test_anything_else_is_a_defect_whose_traceback_is_in_a_file(error, failing, tmp_path, monkeypatch):
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    code, text = failing(error)
    assert (code, text.count("\n")) == (70, 1)
    found = re.search(r"^defect of keras-inception: (.*) \(its traceback is in (.*)\)$", text)
    assert found[1] == f"{type(error).__name__}: {error}"
    traceback = pathlib.Path(found[2]).read_text()
    assert traceback.startswith("Traceback (most recent call last):")
    assert "raise error" in traceback
    assert [str(path) for path in tmp_path.iterdir()] == [found[2]]


FULL, NONE = "a/b.tmp; No space left on device", "a/1.png; No such file or directory"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("cannot allocate 4 TiB"), r"not enough memory: .* \(cannot allocate 4 TiB\)"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating"), "not enough memory: .*OOM when alloc"),
        (tf.errors.ResourceExhaustedError(None, None, FULL), r"No space left on device \(a/b.tmp\): choose another"),
        (
            tf.errors.UnknownError(None, None, "events; Disk quota exceeded"),
            r"quota exceeded \(events\): choose another",
        ),
        (tf.errors.NotFoundError(None, None, NONE), r"there is no file or folder of this name \(a/1\.png\)"),
        (tf.errors.PermissionDeniedError(None, None, "/x; Permission denied"), r"Permission denied \(/x\)"),
        (
            tf.errors.DataLossError(None, None, "corrupted record at 12"),
            r"a file is damaged \(corrupted record at 12\)",
        ),
    ],
)
def test_what_tensorflow_lacks_of_the_machine_is_one_line(error, line, failing):
    code, text = failing(error)
    assert code == 2
    assert re.fullmatch(f"error: .*{line}.*\n", text)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.NotFoundError(None, None, "No registered 'Odd' OpKernel for CPU devices"),
        tf.errors.InvalidArgumentError(None, None, "Incompatible shapes"),
    ],
)
def test_other_errors_of_tensorflow_are_defects(error, failing, tmp_path, monkeypatch):
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    assert failing(error)[0] == 70


def test_debug_shows_the_traceback_at_once(failing, tmp_path, monkeypatch):
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    code, text = failing(ValueError("a plain one"), "--debug")
    assert code == 70
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("defect of keras-inception: ValueError: a plain one (its traceback stands above)\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("refused"), 2), (StoppedError("stopped"), 2), (PreemptedError("saved"), 75),
        (MemoryError("4 TiB"), 2), (PermissionError(errno.EACCES, "Permission denied", "x"), 2),
        (tf.errors.NotFoundError(None, None, NONE), 2),
    ],
)  # fmt: skip
def test_debug_shows_the_traceback_of_what_is_no_defect_above_its_line(error, code, failing):
    ended, line = failing(error)
    with_traceback = failing(error, "--debug")
    assert with_traceback[0] == ended == code
    assert with_traceback[1].startswith("Traceback (most recent call last):")
    assert with_traceback[1].endswith(f"\nkeras-inception convert: {line}")


@pytest.mark.parametrize(
    ("before", "after"), [(["--debug"], []), ([], ["--debug"]), (["--debug"], ["--debug"]), ([], [])]
)
def test_debug_may_stand_before_and_after_the_subcommand(before, after, monkeypatch):
    seen = []
    monkeypatch.setattr(convert, "run", lambda arguments: seen.append("debug" in arguments) or 0)
    assert main([*before, "convert", "bvlc", "x.caffemodel", "x.keras", *after]) == 0
    assert seen == [bool(before + after)]


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options)


SUMMARY = f"{shlex.quote(sys.executable)} -m keras_inception summary --architecture googlenet_small"


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        pytest.param("| true", 2, "nothing reads the output any more", marks=pytest.mark.slow),
        ("> /dev/full", 2, "No space left on device: choose another place, or make room"),
        ("<&- >&-", 0, ""),  # and no file gets the numbers of these streams
    ],
)
def test_output_that_goes_nowhere_is_one_line_or_none(redirection, code, error):
    before, after = (SUMMARY, redirection) if "|" in redirection else (f"{SUMMARY} {redirection}", "")
    line = f"set -o pipefail; {before} {after}"
    finished = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert finished.stderr == (f"keras-inception summary: error: {error}\n" if error else "")
    assert finished.returncode == code


@pytest.mark.parametrize(
    ("module", "raised", "code", "text"),
    [
        ("tensorflow", "ImportError('odd')", 70, "defect of keras-inception: ImportError: odd"),
        ("numpy", "AttributeError('odd')", 70, "defect of keras-inception: AttributeError: odd"),
        ("numpy", "KeyboardInterrupt", 130, "interrupted"),
        pytest.param(
            "keras", "ImportError('odd')", 70, "defect of keras-inception: ImportError: odd", marks=pytest.mark.slow
        ),
    ],
)
def test_a_broken_installation_is_one_line(module, raised, code, text, tmp_path):
    (tmp_path / f"{module}.py").write_text(f"raise {raised}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "TMPDIR": str(tmp_path)}
    finished = python("-m", "keras_inception", "summary", env=environment)
    assert (finished.returncode, finished.stdout) == (code, "")
    assert finished.stderr.strip().startswith(f"keras-inception summary: {text}")
    assert finished.stderr.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("refused"), 2), (ValueError("odd"), 70), (KeyboardInterrupt(), 130)]
)
@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_the_exit_code_needs_no_standard_error(error, code, options, failing, tmp_path, monkeypatch):
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    with contextlib.suppress(OSError), open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        ended = failing(error, *options)
    assert ended == (code, "")


def test_a_terminal_of_ascii_gets_what_it_can_show(run, image_folder, tmp_path):
    image = os.fsencode(tmp_path) + "/häus-".encode() + b"\xff.png"  # the last letter is no UTF-8
    shutil.copy(image_folder / "dark" / "3.png", image)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    line = [sys.executable, "-m", "keras_inception", "predict", str(run.folder), image]
    finished = subprocess.run(line, capture_output=True, env=environment, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(os.fsencode(tmp_path) + rb"/h\udcc3\udca4us-\udcff.png  dark ")


EMPTY = {
    "dataset": ["train --dataset", "tune --dataset", "study heads --dataset", "evaluate run --dataset"],
    "out": ["train --out", "tune --out", "study heads --out", "explain run x.png --out", "export run --out",
            "convert bvlc x.caffemodel"],
    "model": ["predict", "evaluate", "exits", "explain", "export", "summary"],
    "images": ["predict run x.png", "explain run"],
    "resume": ["train --resume"], "config": ["train --config", "tune --config"], "others": ["evaluate run"],
    "plot": ["summary --plot"], "path": ["convert bvlc"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EMPTY.items() for line in lines])
def test_an_empty_string_is_no_path(name, line, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Arguments that follow are given, so that the empty one is the only fault.
    arguments = [
        *line.split(),
        "",
        *{"predict": ["x.png"], "explain": ["x.png"], "convert bvlc": ["x.keras"]}.get(line, []),
    ]
    assert f"`{name}` must not be an empty string. Is a variable of the shell not set?" in refused(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "keras-inception.py",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("keras_inception.exe.py", "my-keras-inception")),
    ],
)
def test_programs_of_any_name_load_keras_files(run, tmp_path, name):
    program = tmp_path / name
    program.write_text(
        "import sys, keras\nimport keras_inception\nprint(type(keras.saving.load_model(sys.argv[1])).__name__)"
    )
    finished = python(program, run.folder / "model.keras", env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert finished.stdout == "InceptionModel\n", finished.stderr


def test_the_package_runs_as_a_module():
    finished = python("-m", "keras_inception", "--version")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("keras-inception ")


def test_an_empty_command_line_is_no_defect():
    code = "import sys; sys.argv = []; from keras_inception.cli import main; main()"
    finished = python("-c", code)
    assert finished.returncode == 2
    assert "required: COMMAND" in finished.stderr.splitlines()[-1]  # after TensorFlow's log


def test_neither_help_nor_a_configuration_imports_keras_tensorflow_or_numpy():
    code = (
        "import sys; sys.argv = ['keras-inception', 'train', '--help']\n"
        "from keras_inception.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert exit.code == 0\n"
        "from keras_inception.training.config import TrainConfig\n"
        "print(sorted({'keras', 'tensorflow', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    finished = python("-c", code, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"
