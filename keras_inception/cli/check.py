"""`keras-inception check`."""

import argparse
from typing import TYPE_CHECKING, Any

from keras_inception.cli.console import command

if TYPE_CHECKING:
    from keras_inception.types import Array


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(
        commands, "check", run, "Load an export as TensorFlow Serving does, and send it its warm-up requests."
    )
    parser.add_argument("folder", metavar="FOLDER", help="a version, or a folder of versions: the highest")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    import tensorflow as tf

    from keras_inception.serving.export import check_export

    check = check_export(arguments.folder)
    files = "files as written" if check.has_checksums else "without checksums, so a changed weight is not noticed"
    print(f"{check.version}: {files}; loaded in {check.load_seconds:.2f} s by TensorFlow {tf.__version__}'s C++ loader")
    for answer in check.answers:
        times = f"first {answer.first_seconds * 1000:.0f} ms, then {answer.seconds * 1000:.1f} ms"
        print(f"{answer.signature}: {times}: {'; '.join(_shown(*output) for output in sorted(answer.outputs.items()))}")
    print("sound: every warm-up request was answered")
    return 0


def _shown(name: str, output: "Array") -> str:
    """Returns the name of an output and the first values of its first row."""
    values = output.reshape(len(output), -1)[0] if output.size else output.ravel()
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.4g}" for value in values[:3]]
    return f"{name} {', '.join(texts)}{', ...' if len(values) > 3 else ''}"
