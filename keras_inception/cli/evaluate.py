"""`keras-inception evaluate`."""

import dataclasses
import json
import sys
from pathlib import Path

from keras_inception.cli.console import Refused, command, print_table


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(commands, "evaluate", run, "Print loss and accuracies of each head on labelled images.")
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument("others", metavar="RUN", nargs="*", help="more of the same classes: an ensemble's average")
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images than the run's, with the same classes")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="which images")
    parser.add_argument(
        "--crops", type=int, choices=[1, 10, 144], help="crops of each original image to average; 144 are the paper's"
    )
    parser.add_argument(
        "--top-k", type=int, nargs="+", metavar="K", help="how many answers, of which one must be right"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write report.html with its tables and pictures")
    parser.add_argument("--batch-size", type=int, default=64, help="images or crops per step")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception import evaluation
    from keras_inception.evaluation import report
    from keras_inception.training import runs

    if arguments.out:
        report.check_free(arguments.out)
        if arguments.split == "train" and not arguments.crops:
            raise Refused("training images are shuffled and augmented; a report of them needs --crops")
    top_k = sorted(set(arguments.top_k or (1, 5)))
    models = [runs.load_model(path) for path in (arguments.model, *arguments.others)]
    if not arguments.crops:
        _check_same_input(models)
    dataset = dataset_of(arguments, models[0])
    images = getattr(dataset, arguments.split)
    if images is None:
        raise Refused(f"there are no {arguments.split} images; choose another --split of {sorted(dataset.sizes)}")
    title = f"{dataset.sizes[arguments.split]:,} {arguments.split} images"

    if arguments.crops or arguments.others or arguments.top_k or arguments.out:
        images = dataset.originals(arguments.split) if arguments.crops else images
        verbose = int(sys.stdout.isatty() and not arguments.json)
        predictions = evaluation.predict(
            models, images, crops=arguments.crops, batch_size=arguments.batch_size, verbose=verbose
        )
        results = predictions.scores(top_k)
    else:
        results = evaluation.evaluate(models[0], images)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        _print(title, results, top_k)
    if arguments.out:
        names = (arguments.model, *arguments.others)
        facts = {
            "Networks": ", ".join(names),
            "Images": f"{title} of {arguments.dataset or f'the dataset of {names[0]}'}",
        }
        originals = dataset.originals(arguments.split)
        written = report.write(
            arguments.out, models, predictions, facts=facts, originals=originals, crops=arguments.crops, top_k=top_k
        )
        if not arguments.json:
            print(f"wrote {arguments.out}: {', '.join(written)}")
    return 0


def _print(title, results, top_k):
    keys = ["accuracy" if k == 1 else f"top_{k}_accuracy" for k in top_k]
    rows = [
        [head, *(f"{metrics[key]:.2%}" if key in metrics else "" for key in keys), f"{metrics['loss']:.4f}"]
        for head, metrics in results.items()
    ]
    print_table(title, ["head", *(f"top-{k}" for k in top_k), "loss"], rows)


def _check_same_input(models):
    """Refuses networks that see different images, unless they cut them out of the originals themselves."""
    inputs = sorted({(model.input_shape[1:], model.preprocessing) for model in models}, key=str)
    if len(inputs) > 1:
        raise Refused(f"networks of different inputs need --crops, by which each gets its own. Received: {inputs}")


def dataset_of(arguments, model):
    """Loads the images to evaluate on, as the run split them, or of `--dataset`."""
    from keras_inception.training import runs
    from keras_inception.training.config import TrainConfig
    from keras_inception.training.loop import load_data

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
