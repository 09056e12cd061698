"""The command `keras-inception`.

Nothing heavy is imported before a command has work for it, so that `--help` answers at once. Whatever the library
refuses with a `ValueError`, and every failure of the disk, becomes one line and the exit code 2.
"""

import argparse
import contextlib
import glob
import importlib
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from keras_inception import __version__
from keras_inception.architectures import ARCHITECTURES

BAD_INPUT = 2


def main(argv=None):
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        _import_tensorflow_quietly()
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError, _Refused) as error:
        # What the system says of a file has a number; what the library says has a sentence.
        message = _disk_message(error) if getattr(error, "errno", None) else " ".join(str(error).split())
        print(f"keras-inception {arguments.command}: error: {message}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nkeras-inception {arguments.command}: interrupted", file=sys.stderr)
        return 130


class _Refused(Exception):  # noqa: N818, it is what the command refuses, not an error of a library
    """Input that only the command takes, and refuses."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")


def _parser():
    parser = _Parser(prog="keras-inception", description="GoogLeNet: train it, look at it, predict with it.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_predict, _add_evaluate, _add_summary, _add_convert):
        add(commands)
    return parser


def _command(commands, name, run, summary):
    parser = commands.add_parser(
        name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


# train


def _add_train(commands):
    parser = _command(commands, "train", _train, "Train a network on images and write a run folder.")
    # No default stands here: those of `TrainConfig` hold, or those of `--config`.
    add = _adder(parser, default=argparse.SUPPRESS)
    add("--dataset", metavar="NAME|FOLDER", help="digits, a folder of class folders, or a TFDS dataset (digits)")
    add("--architecture", choices=list(ARCHITECTURES), help="the network (googlenet)")
    add("--no-aux-heads", dest="aux_heads", action="store_false", help="train without the auxiliary heads")
    add("--image-size", type=int, metavar="PIXELS", help="height and width of the input (chosen from the images)")
    add("--epochs", type=int, help="passes over the training images (12)")
    add("--batch-size", type=int, help="images per step (32)")
    add("--learning-rate", type=float, help="highest rate of Adam, after the warm-up (0.0005)")
    add("--dropout", type=float, metavar="RATE", help="dropout of the main head (the paper's 0.4)")
    add("--aux-dropout", type=float, metavar="RATE", help="dropout of the auxiliary heads (the paper's 0.7)")
    add("--weights", metavar="imagenet|FILE", help="start from published weights: downloaded, or a file")
    add("--freeze-through", metavar="ROW", help="rows up to this one do not learn, such as inception_4e")
    add(
        "--strategy",
        choices=["auto", "one", "mirrored", "multi-worker"],
        help="devices: one, all of this machine, or the workers that TF_CONFIG or Slurm names (auto)",
    )
    add("--seed", type=int, help="decides weights, dropout, order and splits (0)")
    add("--validation-fraction", type=float, metavar="SHARE", help="for validation, where the source has none (0.1)")
    add("--test-fraction", type=float, metavar="SHARE", help="for testing, where the source has none (0.1)")
    add("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder, and count them")
    add("--tensorboard", action="store_true", help="write TensorBoard logs into the run folder")
    add("--gradient-flow", type=int, metavar="EPOCHS", help="write gradients.csv every so many epochs (never)")
    add("--config", metavar="FILE", help="config.json of a run; options given beside it win")
    add("--out", metavar="RUN", help="the run's folder (runs/DATASET-ARCHITECTURE)")
    add("--overwrite", action="store_true", help="replace the run in that folder")


def _adder(parser, default):
    return lambda *names, **options: parser.add_argument(*names, default=default, **options)


def _train(arguments):
    from keras_inception.diagnosis import NotFiniteError
    from keras_inception.distribute import WorkerLostError
    from keras_inception.training import TrainConfig, train

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run")}
    out, overwrite = options.pop("out", None), options.pop("overwrite", False)
    config = options.pop("config", None)
    config = _replace(TrainConfig.from_file(config) if config else TrainConfig(), options)
    try:
        run = train(
            config,
            out,
            overwrite=overwrite,
            on_data=lambda dataset: _say_data(config, dataset),
            report=lambda message: print(f"\nwarning: {message}", file=sys.stderr),
        )
    except (NotFiniteError, WorkerLostError) as error:
        raise _Refused(error) from error
    if not run.chief:
        return 0
    if run.results:
        accuracies = ", ".join(f"{head} {metrics['accuracy']:.2%}" for head, metrics in run.results.items())
        print(f"\ntest accuracy: {accuracies} ({run.sizes['test']} images)")
    else:
        print("\nno test accuracy: there are no test images (`--test-fraction`, or a folder called test)")
    folder = shlex.quote(str(run.folder))
    print(f"wrote {run.folder}: {', '.join(sorted(path.name for path in run.folder.iterdir()))}")
    print(f"next:  keras-inception predict {folder} {shlex.quote(str(run.folder / 'samples'))}")
    return 0


def _replace(config, options):
    import dataclasses

    return dataclasses.replace(config, **options)


def _say_data(config, dataset):
    sizes = ", ".join(f"{dataset.sizes.get(split, 0):,} {name}" for split, name in
                      (("train", "training"), ("validation", "validation"), ("test", "test")))  # fmt: skip
    print(f"{config.dataset}: {sizes} images of {len(dataset.class_names)} classes")
    size, side = dataset.image_shape[0], dataset.original_side
    if side < size:
        print(f"images of {side} pixels are scaled up to {size}x{size}, a size that {config.architecture} takes")
    else:
        print(f"images are scaled to {size}x{size} for {config.architecture}")
    if dataset.skipped:
        print(f"left out {len(dataset.skipped)} unreadable files: {', '.join(dataset.skipped[:5])}")


# predict


def _add_predict(commands):
    parser = _command(commands, "predict", _predict, "Print the top classes of images.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, folders or glob patterns")
    parser.add_argument("--head", default="main", help="which softmax answers: main, aux1 or aux2")
    parser.add_argument("--top", type=int, default=3, help="how many classes to print")
    parser.add_argument("--json", action="store_true", help="print one JSON array, for programs")


def _predict(arguments):
    from keras_inception import runs
    from keras_inception.classifier import Classifier

    if arguments.top < 1:
        raise _Refused(f"--top must be at least 1. Received: {arguments.top}")
    classifier = Classifier(runs.load_model(arguments.model), head=arguments.head)
    paths = _image_paths(arguments.images)
    answers, failed = [], 0
    for path, answer in classifier.predict_files(paths, top=arguments.top):
        if isinstance(answer, str):
            failed += 1
            print(f"keras-inception predict: error: {path}: {answer}", file=sys.stderr)
            continue
        answers.append(
            {"file": str(path), "predictions": [{"class": name, "probability": score} for name, score in answer]}
        )
        if not arguments.json:
            print(f"{path}  " + "  ".join(f"{name} {score:.2%}" for name, score in answer))
    if arguments.json:
        print(json.dumps(answers, indent=2))
    return BAD_INPUT if failed else 0


def _image_paths(patterns):
    paths = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        elif path.exists():
            found = [path]
        else:
            found = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if Path(match).is_file()]
        if not found:
            raise _Refused(f"there is no image at {pattern}")
        paths += found
    return paths


# evaluate


def _add_evaluate(commands):
    parser = _command(commands, "evaluate", _evaluate, "Print loss and accuracies of each head on labelled images.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images than the run's, with the same classes")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="which images")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _evaluate(arguments):
    from keras_inception import evaluation, runs

    model = runs.load_model(arguments.model)
    dataset = _dataset_of(arguments, model)
    images = getattr(dataset, arguments.split)
    if images is None:
        raise _Refused(f"there are no {arguments.split} images; choose another --split of {sorted(dataset.sizes)}")
    results = evaluation.evaluate(model, images)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0
    rows = [
        [head, *(f"{metrics[key]:.2%}" if key in metrics else "" for key in ("accuracy", "top_5_accuracy")),
         f"{metrics['loss']:.4f}"]
        for head, metrics in results.items()
    ]  # fmt: skip
    _print_table(
        f"{dataset.sizes[arguments.split]:,} {arguments.split} images", ["head", "top-1", "top-5", "loss"], rows
    )
    return 0


def _dataset_of(arguments, model):
    """Loads the images to evaluate on, as the run split them, or of `--dataset`."""
    from keras_inception import runs
    from keras_inception.training import TrainConfig, load_data

    path = Path(arguments.model) / runs.CONFIG
    if path.is_file():
        config = TrainConfig.from_file(path)
    elif arguments.dataset:
        config = TrainConfig(architecture=model.architecture)
    else:
        raise _Refused(f"{arguments.model} does not say what it was trained on: give --dataset")
    options = {"image_size": model.input_shape[1], "batch_size": arguments.batch_size}
    if arguments.dataset:
        options["dataset"] = arguments.dataset
    if arguments.skip_bad_images:
        options["skip_bad_images"] = True
    dataset = load_data(_replace(config, options), model.preprocessing)
    if model.class_names is not None and dataset.class_names != model.class_names:
        raise _Refused(
            f"the images must have the classes that the model was trained on, {_short(model.class_names)}. "
            f"Received: {_short(dataset.class_names)}"
        )
    return dataset


def _short(names):
    return f"{names[:5]} and {len(names) - 5} more" if len(names) > 6 else str(names)


# summary


def _add_summary(commands):
    parser = _command(commands, "summary", _summary, "Print Table 1 as built, beside what the paper printed.")
    parser.add_argument("model", metavar="RUN", nargs="?", help="run folder or .keras file, instead of the options")
    parser.add_argument("--architecture", choices=list(ARCHITECTURES), default="googlenet", help="the network")
    parser.add_argument("--classes", type=int, default=1000, help="number of classes")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="height and width of the input")
    parser.add_argument("--no-aux-heads", dest="aux_heads", action="store_false", help="without the auxiliary heads")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the graph into this file")


def _summary(arguments):
    from keras_inception import cost, figures, runs
    from keras_inception.model import GoogLeNet

    if arguments.model:
        model = runs.load_model(arguments.model)
    else:
        shape = (arguments.image_size, arguments.image_size, 3) if arguments.image_size else None
        model = GoogLeNet(
            input_shape=shape,
            classes=arguments.classes,
            architecture=arguments.architecture,
            aux_heads=arguments.aux_heads,
        )
    _print_costs(model, cost)
    if arguments.plot:
        if Path(arguments.plot).suffix.lower() not in (".png", ".svg", ".pdf"):
            raise _Refused(f"--plot writes .png, .svg or .pdf. Received: {arguments.plot}")
        figures.graph(model).savefig(arguments.plot, dpi=120)
        print(f"drew {arguments.plot}")
    return 0


def _print_costs(model, cost):
    size = "x".join(str(side) for side in model.input_shape[1:])
    costs = cost.rows(model)
    rows = [
        [row.name, "x".join(map(str, row.output_shape)), f"{row.parameters:,}", f"{row.multiply_adds / 1e6:,.1f}M",
         *_printed(cost.PRINTED.get(row.name))]
        for row in costs
    ]  # fmt: skip
    heads = [name for name in model.output_names if name != "main"]
    inference = [row for row in costs if row.name not in heads]
    for title, part in (("at inference", inference), ("in training", costs)) if heads else (("in all", costs),):
        total = f"{sum(row.parameters for row in part):,}", f"{sum(row.multiply_adds for row in part) / 1e6:,.1f}M"
        rows.append([title, "", *total, "", "", ""])
    columns = ["row", "output", "parameters", "multiply-adds", "paper: parameters", "paper: ops", "why they differ"]
    _print_table(f"{model.architecture}, Table 1 as built for {size}", columns, rows)
    print("The paper counts thousands of 1,024 and no biases, for 224x224x3 images and 1,000 classes.\n")
    rows = [
        [item.name, f"{item.naive / 1e6:,.1f}M", f"{item.reduced / 1e6:,.1f}M", f"{item.naive / item.reduced:.2f}x"]
        for item in cost.reductions(model)
    ]
    columns = ["module", "naive multiply-adds", "with 1x1 reductions", "saved"]
    _print_table("What the 1x1 reductions save against the naive module (the paper's Figure 2a)", columns, rows)


def _printed(printed):
    if printed is None:
        return ["", "", ""]
    return [f"{printed.parameters:g}K", f"{printed.operations:g}M", printed.note]


def _print_table(title, columns, rows):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        last_is_text = column == "why they differ"
        table.add_column(column, justify="left" if index == 0 or last_is_text else "right", no_wrap=not last_is_text)
    for row in rows:
        table.add_row(*row)
    # A file or a pipe has no width: the table takes what it needs.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


# convert


def _add_convert(commands):
    parser = _command(commands, "convert", _convert, "Turn a published weights file into a .keras file.")
    parser.add_argument("source", choices=["bvlc", "tf_slim", "torchvision"], help="who published it")
    parser.add_argument("path", metavar="PATH", help="the .caffemodel, the checkpoint or its .tar.gz, or the .pth")
    parser.add_argument("out", metavar="OUT.keras", help="the file to write")
    parser.add_argument("--classes", type=int, default=1000, help="1001 keeps the background class of tf_slim")
    parser.add_argument("--overwrite", action="store_true", help="replace the file to write")


def _convert(arguments):
    from keras_inception.model import GoogLeNet
    from keras_inception.weights import SOURCES, load_published_weights

    out = Path(arguments.out)
    if out.suffix != ".keras":
        raise _Refused(f"the file to write must end in .keras. Received: {out}")
    if out.exists() and not arguments.overwrite:
        raise _Refused(f"{out} exists already; choose another name or replace it with --overwrite")
    model = GoogLeNet(architecture=SOURCES[arguments.source].architecture, classes=arguments.classes)
    load_published_weights(model, arguments.source, arguments.path)
    model.class_names = _imagenet_class_names(arguments.classes)
    aside = out.with_name(f"part-{out.name}")
    model.save(aside)
    os.replace(aside, out)
    print(f"wrote {out}: {model.count_params():,} parameters, heads {', '.join(model.output_names)}")
    print(f"next:  keras-inception predict {shlex.quote(str(out))} IMAGE")
    return 0


def _imagenet_class_names(classes):
    from keras_inception.preprocess import imagenet_class_names

    try:
        names = imagenet_class_names()
    except Exception as error:  # Keras raises a plain Exception when an address does not answer.
        print(f"predictions will show numbers, because the names of ImageNet's classes cannot be had: {error}")
        return None
    return {1000: names, 1001: ["background", *names]}.get(classes)


# start and end


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


if __name__ == "__main__":
    sys.exit(main())
