"""`keras-inception evaluate`."""

import dataclasses
import json
from pathlib import Path

from keras_inception.cli.console import Refused, command, print_table


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(commands, "evaluate", run, "Print loss and accuracies of each head on labelled images.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images than the run's, with the same classes")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="which images")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception import evaluation, runs

    model = runs.load_model(arguments.model)
    dataset = dataset_of(arguments, model)
    images = getattr(dataset, arguments.split)
    if images is None:
        raise Refused(f"there are no {arguments.split} images; choose another --split of {sorted(dataset.sizes)}")
    results = evaluation.evaluate(model, images)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0
    rows = [
        [head, *(f"{metrics[key]:.2%}" if key in metrics else "" for key in ("accuracy", "top_5_accuracy")),
         f"{metrics['loss']:.4f}"]
        for head, metrics in results.items()
    ]  # fmt: skip
    print_table(
        f"{dataset.sizes[arguments.split]:,} {arguments.split} images", ["head", "top-1", "top-5", "loss"], rows
    )
    return 0


def dataset_of(arguments, model):
    """Loads the images to evaluate on, as the run split them, or of `--dataset`."""
    from keras_inception import runs
    from keras_inception.config import TrainConfig
    from keras_inception.training import load_data

    path = Path(arguments.model) / runs.CONFIG
    if path.is_file():
        config = TrainConfig.from_file(path)
    elif arguments.dataset:
        config = TrainConfig(architecture=model.architecture)
    else:
        raise Refused(f"{arguments.model} does not say what it was trained on: give --dataset")
    options = {"image_size": model.input_shape[1], "batch_size": arguments.batch_size}
    if arguments.dataset:
        options["dataset"] = arguments.dataset
    if arguments.skip_bad_images:
        options["skip_bad_images"] = True
    dataset = load_data(dataclasses.replace(config, **options), model.preprocessing)
    if model.class_names is not None and dataset.class_names != model.class_names:
        raise Refused(
            f"the images must have the classes that the model was trained on, {_short(model.class_names)}. "
            f"Received: {_short(dataset.class_names)}"
        )
    return dataset


def _short(names):
    return f"{names[:5]} and {len(names) - 5} more" if len(names) > 6 else str(names)
