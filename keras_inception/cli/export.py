"""`keras-inception export`."""

import json
from pathlib import Path

from keras_inception.cli.console import Refused, command

FORMATS = ("savedmodel", "onnx", "litert", "openvino")


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(commands, "export", run, "Write a trained model in a form that serves.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("--out", metavar="FOLDER", help="where to write (saved_models/NAME); a new version each time")
    parser.add_argument("--version", type=int, metavar="N", help="number of the version (one more than the highest)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of weights and maps")
    parser.add_argument("--top", type=int, default=5, help="how many classes to name")
    parser.add_argument("--on-bad-image", choices=("error", "mask"), default="error",
                        help="what an unreadable image does: fail its request, or leave its row empty")  # fmt: skip
    parser.add_argument("--all-heads", action="store_true", help="serve the auxiliary heads too")
    parser.add_argument("--early-exit", action="store_true",
                        help="let images leave early, as `keras-inception exits RUN` calibrated it")  # fmt: skip


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception import runs
    from keras_inception.export import export_saved_model

    if arguments.top < 1:
        raise Refused(f"--top must be at least 1. Received: {arguments.top}")
    model = runs.load_model(arguments.model)
    out = Path(arguments.out) if arguments.out else Path("saved_models") / name_of(arguments.model)
    version = export_saved_model(
        model,
        out,
        arguments.version,
        precision=arguments.precision,
        top_k=arguments.top,
        on_bad_image=arguments.on_bad_image,
        all_heads=arguments.all_heads,
        summary=training_of(arguments.model),
        network=early_exit_of(arguments, model) if arguments.early_exit else None,
    )
    megabytes = sum(file.stat().st_size for file in version.rglob("*") if file.is_file()) / 1e6
    print(f"wrote {version}: {megabytes:.1f} MB, {arguments.precision}; what it answers to: {version / 'README.md'}")
    print(f"next:  tensorflow_model_server --rest_api_port=8501 --model_name={out.name} "
          f"--model_base_path={out.absolute()}")  # fmt: skip
    return 0


def early_exit_of(arguments, model):
    """Returns the network with the early exits that a run folder holds."""
    from keras_inception import runs
    from keras_inception.exits import ExitCalibration
    from keras_inception.export import early_exit_network

    path = Path(arguments.model) / runs.EXITS
    if not path.is_file():
        raise Refused(f"--early-exit needs thresholds: run `keras-inception exits` first, {path} is not there")
    return early_exit_network(model, ExitCalibration.from_file(path), arguments.precision)


def name_of(run):
    """Returns the name of a run folder, or of a `.keras` file without the ending."""
    path = Path(run).absolute()
    return path.stem if path.suffix == ".keras" else path.name


def training_of(run):
    """Returns what a run folder says about its training: a dict, empty for a file."""
    from keras_inception import runs

    files = {"results": Path(run) / runs.RESULTS, "config": Path(run) / runs.CONFIG}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}
