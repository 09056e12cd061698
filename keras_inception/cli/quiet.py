"""TensorFlow without its log lines, which bypass the logging of Python, and without pauses for garbage collection."""

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

from keras_inception import undocumented


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow and lets it start; its log lines are kept, as a note of the error, only if the start fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _captured_standard_error(), _without_collecting():
        tensorflow = importlib.import_module("tensorflow")
        importlib.import_module("keras")
        if not {"TF_CONFIG", "SLURM_PROCID"} & set(os.environ):  # several workers must meet before the first operation
            tensorflow.constant(0) + 1
        tensorflow.get_logger().setLevel("ERROR")
        importlib.import_module("absl.logging").set_verbosity("error")
    undocumented.ignore_missing_optimizers()


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Lets the garbage collector rest within, and never look at what is there by then: a quarter of the time."""
    if not gc.isenabled() or "tensorflow" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _captured_standard_error() -> Iterator[None]:
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception as error:
            log.seek(0)
            error.add_note(log.read().decode(errors="backslashreplace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
