"""The command: which subcommand runs, and which line and exit code an error gives.

Nothing heavy is imported before a subcommand has work for it, so that `--help` answers at once. What the library
refuses or stops, and every failure of a file, becomes one line; anything else is a defect, and says so.
"""

import argparse
import contextlib
import errno
import io
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from keras_inception import __version__, undocumented
from keras_inception.cli import (
    check,
    convert,
    data,
    evaluate,
    exits,
    explain,
    export,
    predict,
    study,
    summary,
    train,
    tune,
)
from keras_inception.cli.console import BAD_INPUT, DEFECT, INTERRUPTED, PREEMPTED, add_debug
from keras_inception.cli.quiet import import_tensorflow_quietly
from keras_inception.errors import InputError, StoppedError, did_you_mean, shortened
from keras_inception.files import MAKE_ROOM
from keras_inception.training.interruption import PreemptedError

# Only writing fails with these.
FAILED_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
WORDS = {
    errno.ENOENT: "there is no file or folder of this name",
    errno.ENAMETOOLONG: "the name is too long for a file",
    errno.EPIPE: "nothing reads the output any more",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    with _writable_streams(), _warnings_in_a_line():
        return _run(_parser().parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    name = f"keras-inception {arguments.command}"
    try:
        for argument, value in vars(arguments).items():
            if "" in (value if isinstance(value, list) else [value]):  # as a path it would be the current folder
                raise InputError(f"`{argument}` must not be an empty string. Is a variable of the shell not set?")
        import_tensorflow_quietly()
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _complain(f"\n{name}: {str(interrupt) or 'interrupted'}")
        return INTERRUPTED
    except Exception as error:
        where = _shown_traceback() if getattr(arguments, "debug", False) else ""
        if isinstance(error, BrokenPipeError):
            _forget_output()
        if (said := told(error)) is not None:
            was_preempted = isinstance(error, PreemptedError)
            _complain(f"{name}: {'' if was_preempted else 'error: '}{said}")
            return PREEMPTED if was_preempted else BAD_INPUT
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        try:
            where = where or f"its traceback is in {_written_traceback()}"
        except OSError:  # a full disk
            where = _shown_traceback()
        _complain(f"{name}: defect of keras-inception: {what} ({where})")
        return DEFECT
    return code


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # the exit code says it where standard error leads nowhere
        print(text, file=sys.stderr, flush=True)


def told(error: Exception) -> str | None:
    """Returns in a line what the library refuses or the machine lacks: a file, memory, room; None for a defect."""
    if isinstance(error, (InputError, StoppedError)):
        return shortened(" ".join(str(error).split()))
    failure = error if isinstance(error, OSError) else undocumented.system_error(error)
    if failure is not None:
        return None if failure.errno is None else _failure(failure)  # without a number it is not of the system
    message, tensorflow = undocumented.plain_message(error), sys.modules.get("tensorflow")
    if isinstance(error, MemoryError) or (tensorflow and isinstance(error, tensorflow.errors.ResourceExhaustedError)):
        return f"there is not enough memory: use smaller images, smaller batches, or a narrower network ({message})"
    if tensorflow and isinstance(error, tensorflow.errors.DataLossError):
        return f"a file is damaged ({message})"
    return None


def _failure(error: OSError) -> str:
    where = f" ({shortened(str(error.filename), 500)})" if error.filename else ""
    is_of_writing = error.errno in FAILED_WRITES or MAKE_ROOM in getattr(error, "__notes__", ())
    advice = f": {MAKE_ROOM}" if is_of_writing else ""
    return f"{WORDS.get(error.errno or 0, error.strerror)}{where}{advice}"


def _shown_traceback() -> str:
    _complain(traceback.format_exc())
    return "its traceback stands above"


def _written_traceback() -> str:
    descriptor, path = tempfile.mkstemp(prefix="keras-inception-", suffix=".txt")
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exc(file=file)
    return path


@contextlib.contextmanager
def _writable_streams() -> Iterator[None]:
    """Lets every line be printed: closed streams lead nowhere, and what a terminal cannot show is escaped."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed (`>&-`), and the next file to be opened would be printed into
            os.open(os.devnull, os.O_RDWR)
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        if sys.stdout is None:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            yield
        finally:
            try:
                sys.stdout.flush()
            except OSError:
                _forget_output()


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Prints a warning as what it says, without the line of the code that it came from."""
    before = warnings.showwarning
    warnings.showwarning = _show_warning
    try:
        yield
    finally:
        warnings.showwarning = before


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    file = sys.stderr if file is None else file
    with contextlib.suppress(OSError, AttributeError):  # a closed one, or none, as Python has it too
        file.write(f"warning: {' '.join(str(message).split())}\n")


def _forget_output() -> None:
    """Lets Python end without another error, when it flushes what nobody reads."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """argparse's, for a command and its subcommands: names are written out, and for a mistyped one the nearest told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses what it does not know, rather than leave that to the parser of the command as a whole."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            hint = ""
            if unknown[0].startswith("-"):
                hint = did_you_mean(unknown[0].partition("=")[0], re.findall(r"(?<!\w)--[\w-]+", self.format_help()))
            self.error(f"unrecognized arguments: {' '.join(unknown)}. {hint}".rstrip(". "))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the process with one line, and the exit code of bad input."""
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            choices = re.findall("[^', ]+", choice[2])
            message += f". {did_you_mean(choice[1], choices)}".rstrip(". ")
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="keras-inception", description="GoogLeNet: train it, look at it, predict with it.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_debug(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (train, data, tune, study, predict, evaluate, exits, explain, export, check, summary, convert):
        module.add(commands)
    return parser
