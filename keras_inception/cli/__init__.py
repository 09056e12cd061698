"""The command `keras-inception`.

Nothing heavy is imported before a command has work for it, so that `--help` answers at once. Whatever the library
refuses with a `ValueError`, and every failure of the disk, becomes one line and the exit code 2.
"""

import argparse
import contextlib
import importlib
import os
import sys
import tempfile

from keras_inception import __version__
from keras_inception.cli import convert, evaluate, exits, explain, export, predict, study, summary, train, tune
from keras_inception.cli.console import BAD_INPUT, Refused


def main(argv=None):
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        _import_tensorflow_quietly()
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError, Refused) as error:
        # What the system says of a file has a number; what the library says has a sentence.
        message = _disk_message(error) if getattr(error, "errno", None) else " ".join(str(error).split())
        print(f"keras-inception {arguments.command}: error: {message}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nkeras-inception {arguments.command}: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")


def _parser():
    parser = _Parser(prog="keras-inception", description="GoogLeNet: train it, look at it, predict with it.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (train, tune, study, predict, evaluate, exits, explain, export, summary, convert):
        module.add(commands)
    return parser


def _import_tensorflow_quietly():
    """Imports TensorFlow and lets it start, without its log lines: they come past every setting of Python.

    They go into a file instead, and are shown if the start fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _captured_standard_error():
        tensorflow = importlib.import_module("tensorflow")
        if not {"TF_CONFIG", "SLURM_PROCID"} & set(os.environ):  # several workers must meet before the first operation
            tensorflow.constant(0) + 1
        tensorflow.get_logger().setLevel("ERROR")
        importlib.import_module("absl.logging").set_verbosity("error")


@contextlib.contextmanager
def _captured_standard_error():
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            log.seek(0)
            os.write(2, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _disk_message(error):
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}: choose another place, or make room"
