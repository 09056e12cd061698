"""`keras-inception export`."""

import json
import tempfile
from pathlib import Path

from keras_inception.cli.console import Refused, command
from keras_inception.cli.evaluate import dataset_of

FORMATS = ("savedmodel", "onnx", "litert", "openvino")


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(commands, "export", run, "Write a trained model in a form that serves.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("--out", metavar="FOLDER", help="where to write (saved_models/NAME); a new version each time")
    parser.add_argument("--format", choices=FORMATS, default="savedmodel", help="for which engine")
    parser.add_argument("--version", type=int, metavar="N", help="number of the version (one more than the highest)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of weights and maps")
    parser.add_argument("--top", type=int, default=5, help="how many classes to name")
    parser.add_argument("--on-bad-image", choices=("error", "mask"), default="error",
                        help="what an unreadable image does: fail its request, or leave its row empty")  # fmt: skip
    parser.add_argument("--all-heads", action="store_true", help="serve the auxiliary heads too")
    parser.add_argument("--early-exit", action="store_true",
                        help="let images leave early, as `keras-inception exits RUN` calibrated it")  # fmt: skip
    parser.add_argument("--int8", action="store_true",
                        help="round litert's weights and maps to 8 bits, calibrated on validation images")  # fmt: skip
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images for --int8 than the run's")
    parser.add_argument("--batch-size", type=int, default=64, help="images of --int8 at once")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.serving.export import export_saved_model
    from keras_inception.training import runs

    _check(arguments)
    model = runs.load_model(arguments.model)
    if arguments.format != "savedmodel":
        return _export_format(arguments, model)
    out = _out(arguments)
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
    print(f"wrote {version}: {_megabytes(version)}, {arguments.precision}; what it answers to: {version / 'README.md'}")
    print(f"next:  tensorflow_model_server --rest_api_port=8501 --model_name={out.name} "
          f"--model_base_path={out.absolute()}")  # fmt: skip
    return 0


def _check(arguments):
    if arguments.top < 1:
        raise Refused(f"--top must be at least 1. Received: {arguments.top}")
    if arguments.int8 and arguments.format != "litert":
        raise Refused(f"--int8 is for --format litert. Received: --format {arguments.format}")
    if arguments.format != "savedmodel":
        served = {
            "--precision": arguments.precision != "float32",
            "--all-heads": arguments.all_heads,
            "--early-exit": arguments.early_exit,
            "--on-bad-image": arguments.on_bad_image != "error",
        }
        given = [option for option, is_given in served.items() if is_given]
        if given:
            raise Refused(f"{', '.join(given)} is for a SavedModel. Received: --format {arguments.format}")


def _out(arguments):
    suffix = "" if arguments.format == "savedmodel" else f"-{arguments.format}{'-int8' if arguments.int8 else ''}"
    return Path(arguments.out or Path("saved_models") / (name_of(arguments.model) + suffix))


def _export_format(arguments, model):
    """Writes the model for another engine."""
    from keras_inception.serving.export import accuracy, export_format

    kind, out = arguments.format, _out(arguments)
    if not arguments.int8:
        version, difference = export_format(model, out, kind, arguments.version)
        print(f"wrote {version}: {_megabytes(version)}; at most {difference:.1e} from the SavedModel's probabilities")
        return 0
    dataset = dataset_of(arguments, model)
    images = dataset.test if dataset.test is not None else dataset.validation
    if dataset.validation is None:
        raise Refused("there are no validation images to calibrate on; give a --dataset that has some")
    with tempfile.TemporaryDirectory() as aside:
        plain, _ = export_format(model, aside, kind)
        before, size = accuracy(plain, kind, images, model.preprocessing), _megabytes(plain)
    version, difference = export_format(model, out, kind, arguments.version, calibration=dataset.validation)
    after = accuracy(version, kind, images, model.preprocessing)
    print(f"wrote {version}: {_megabytes(version)} (float32: {size}); at most {difference:.1e} from the SavedModel's "
          f"probabilities")  # fmt: skip
    count = dataset.sizes["test" if dataset.test is not None else "validation"]
    print(f"accuracy on {count} images: {before:.2%} in float32, {after:.2%} in int8")
    return 0


def _megabytes(folder):
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB"


def early_exit_of(arguments, model):
    """Returns the network with the early exits that a run folder holds."""
    from keras_inception.serving.exits import ExitCalibration
    from keras_inception.serving.export import early_exit_network
    from keras_inception.training import runs

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
    from keras_inception.training import runs

    files = {"results": Path(run) / runs.RESULTS, "config": Path(run) / runs.CONFIG}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}
