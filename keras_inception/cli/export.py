"""`keras-inception export`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception import files
from keras_inception.cli import dataset
from keras_inception.cli.console import command
from keras_inception.errors import InputError

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.network.model import InceptionModel

FORMATS = ("savedmodel", "onnx", "litert", "openvino")


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(commands, "export", run, "Write a trained model for serving.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("--out", metavar="FOLDER",
                        help="where to write a new version (default: saved_models/NAME)")  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="savedmodel",
                        help="for which engine; savedmodel is TensorFlow Serving's (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--version", type=int, metavar="N", help="number of the version (default: one more than the highest)"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32",
                        help="what weights and maps are stored in (default: %(default)s)")  # fmt: skip
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many classes an answer names (default: 5)")
    parser.add_argument("--on-bad-image", choices=("error", "mask"), default="error",
                        help="an unreadable image fails its request, or its row is NaN (default: error)")  # fmt: skip
    parser.add_argument("--all-heads", action="store_true", help="serve the auxiliary heads too")
    parser.add_argument("--early-exit", action="store_true",
                        help="let images leave early, as `keras-inception exits RUN` calibrated it")  # fmt: skip
    parser.add_argument("--int8", action="store_true",
                        help="quantize to 8 bits, calibrated on validation images; not for savedmodel")  # fmt: skip
    dataset.add_options(parser.add_argument_group("images to calibrate --int8 on"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.serving.export import export_saved_model
    from keras_inception.training import runs

    _check(arguments)
    model = runs.load_model(arguments.model, compiled=False)
    suffix = "" if arguments.format == "savedmodel" else f"-{arguments.format}{'-int8' if arguments.int8 else ''}"
    out = Path(arguments.out or Path("saved_models") / (_name_of(arguments.model) + suffix))
    if arguments.format != "savedmodel":
        _export_format(arguments, model, out)
        return 0
    version = export_saved_model(
        model,
        out,
        arguments.version,
        precision=arguments.precision,
        top=arguments.top,
        on_bad_image=arguments.on_bad_image,
        all_heads=arguments.all_heads,
        summary=_training_of(arguments.model),
        exits=_calibration(arguments.model) if arguments.early_exit else None,
    )
    print(f"wrote {version}: {_megabytes(version)}, {arguments.precision}; what it answers to: {version / 'README.md'}")
    print(f"next:  tensorflow_model_server --rest_api_port=8501 --model_name={out.name} "
          f"--model_base_path={out.absolute()}")  # fmt: skip
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.top < 1:
        raise InputError(f"--top must be at least 1. Received: {arguments.top}")
    if arguments.int8 and arguments.format == "savedmodel":
        raise InputError(f"--int8 is for --format {', '.join(FORMATS[1:])}. Received: --format {arguments.format}")
    if arguments.format != "savedmodel":
        served = {
            "--precision": arguments.precision != "float32",
            "--all-heads": arguments.all_heads,
            "--early-exit": arguments.early_exit,
            "--on-bad-image": arguments.on_bad_image != "error",
        }
        given = [option for option, is_given in served.items() if is_given]
        if given:
            raise InputError(f"{', '.join(given)} is for a SavedModel. Received: --format {arguments.format}")


def _export_format(arguments: argparse.Namespace, model: "InceptionModel", out: Path) -> None:
    """Writes the model for another engine."""
    from keras_inception.serving.export import export_format

    if not arguments.int8:
        version, difference = export_format(model, out, arguments.format, arguments.version)
        print(f"wrote {version}: {_megabytes(version)}; at most {difference:.1e} from the SavedModel's probabilities")
        return
    data = dataset.data_of(arguments, model)
    if data.validation is None:
        raise InputError("there are no validation images to calibrate on; give a --dataset that has some")
    with data.reading():
        _export_int8(arguments, model, out, data)


def _export_int8(arguments: argparse.Namespace, model: "InceptionModel", out: Path, data: "Data") -> None:
    """Writes the model in 8 bits, and prints what that costs and saves."""
    from keras_inception.serving.export import export_accuracy, export_format, export_seconds, network_accuracy
    from keras_inception.serving.export.formats import CALIBRATION_IMAGES
    from keras_inception.training.precision import resolve

    kind, count = arguments.format, data.sizes["validation"]
    calibrating = f"{min(count, CALIBRATION_IMAGES)} of {count:,} validation images"
    split = "validation" if data.test is None else "test"
    batches = getattr(data, split)
    before = network_accuracy(model, batches)  # nothing is written where an image is found damaged
    print(f"calibrating on {calibrating}", flush=True)
    version, _ = export_format(model, out, kind, arguments.version, calibration=data.validation)
    print(f"wrote {version}: {_megabytes(version)}", flush=True)
    after = export_accuracy(version, kind, batches, model.preprocessing)
    among = ", those of the calibration among them" if data.test is None else ""
    print(f"accuracy on {data.sizes[split]:,} {split} images{among}: {before:.2%} in float32, {after:.2%} in int8")
    precision = "bfloat16" if resolve("auto")[0] == "mixed_bfloat16" else "float32"
    for batch_size in (1, 16):
        int8, other = export_seconds(version, kind, model, batch_size, precision)
        share = f"{int8 / other:.2f} of the SavedModel's time in {precision}"
        print(f"a batch of {batch_size}: {1e3 * int8:.1f} ms, {share}")


def _megabytes(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB"


def _calibration(run: str) -> Any:
    """Returns the calibration of the early exits that a run folder holds."""
    from keras_inception.serving.exits import ExitCalibration
    from keras_inception.training import runs

    path = Path(run) / runs.EXITS
    if not path.is_file():
        raise InputError(f"--early-exit needs thresholds: run `keras-inception exits` first, {path} is not there")
    calibration = ExitCalibration.from_file(path)
    if not calibration.thresholds:
        raise InputError(
            f"--early-exit: with the thresholds of {path} no image leaves early; export without it, or calibrate with "
            "more images or a larger `keras-inception exits --max-accuracy-loss`"
        )
    return calibration


def _name_of(run: str) -> str:
    """Returns the name of a run folder, or of a `.keras` file without the ending."""
    path = Path(run).absolute()
    return path.stem if path.suffix == ".keras" else path.name


def _training_of(run: str) -> dict[str, Any]:
    """Returns what a run folder says about its training: a dict, empty for a file."""
    from keras_inception.training import runs

    paths = {"results": Path(run) / runs.RESULTS, "config": Path(run) / runs.CONFIG}
    return {name: files.read_json(path) for name, path in paths.items() if path.is_file()}
