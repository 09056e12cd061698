"""`keras-inception evaluate`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_inception import files
from keras_inception.cli import dataset
from keras_inception.cli.console import command, print_table
from keras_inception.errors import InputError

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.network.model import InceptionModel

# Fewer images in all, or of a class, say little (ours).
FEW, FEW_OF_CLASS = 30, 10


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    text = "Print loss, accuracies and cost of each head, and of the average of the heads, on labelled images."
    parser = command(commands, "evaluate", run, text)
    parser.add_argument("model", metavar="RUN", help="run folder or .keras file")
    parser.add_argument(
        "others", metavar="RUN", nargs="*", help="more networks of the same classes, to average (ensemble)"
    )
    dataset.add_options(parser)
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"],
                        help="which images (default: test)")  # fmt: skip
    parser.add_argument(
        "--crops",
        type=int,
        choices=[1, 10, 144],
        help="average over so many crops of each original image; 144 are the paper's (default: the image as a whole)",
    )
    parser.add_argument("--top", type=int, nargs="+", metavar="K",
                        help="an answer is right if the class is among the K likeliest (default: 1 5)")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", help="where to write report.html with its tables and plots")
    parser.add_argument(
        "--suspicious", action="store_true", help="add the training images whose labels may be wrong to the report"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception import evaluation
    from keras_inception.evaluation import report
    from keras_inception.training import runs

    if arguments.suspicious and not arguments.out:
        raise InputError("--suspicious adds to a report: give its folder with --out")
    if arguments.out:
        report.check_place(arguments.out)
        if arguments.split == "train" and not arguments.crops:
            raise InputError("training images are shuffled and augmented; a report of them needs --crops")
    models = [runs.load_model(path, compiled=False) for path in (arguments.model, *arguments.others)]
    if not arguments.crops:
        _check_same_input(models)
    data = dataset.data_of(arguments, models[0])
    tops = sorted(set(arguments.top or [k for k in (1, 5) if k < models[0].classes]))
    batches = getattr(data, arguments.split)
    if batches is None:
        raise InputError(f"there are no {arguments.split} images; choose another --split of {sorted(data.sizes)}")
    _say_trained_on([arguments.model, *arguments.others], data, arguments.split)
    counts = data.class_counts(arguments.split)
    title = f"{sum(counts):,} {arguments.split} images"
    of_run = "the run's own split" if arguments.dataset is None else arguments.dataset

    with data.reading():
        if arguments.crops or arguments.others or arguments.top or arguments.out:
            examples = data.originals(arguments.split) if arguments.crops else batches
            verbose = int(sys.stdout.isatty() and not arguments.json)
            predictions = evaluation.predict(
                models, examples, crops=arguments.crops, batch_size=arguments.batch_size, verbose=verbose
            )
            results = predictions.scores(tops, average=True)
        else:
            results = evaluation.evaluate(models[0], batches)
    if arguments.json:
        print(files.to_json(results))
    else:
        heads = {head: [head] for head in models[0].output_names}
        sized = all(None not in model.input_shape[1:] for model in models)  # of others the cost depends on the image
        costs = {
            head: f"{evaluation.multiply_adds(models, heads.get(head, list(heads)), arguments.crops) / 1e6:,.1f}M"
            for head in results
            if sized
        }
        _print(f"{title}: {of_run}", results, tops, costs)
        _say_few(counts, data.class_names, results)
    if arguments.out:
        names = (arguments.model, *arguments.others)
        facts = {
            "Networks": ", ".join(names),
            "Images": f"{title} of {arguments.dataset or f'the dataset of {names[0]}'}",
        }
        originals = data.originals(arguments.split)
        crops = arguments.crops
        with data.reading():
            training = None
            if arguments.suspicious:
                examples = data.originals("train") if crops else data.pipeline.fixed("train")
                learned = evaluation.predict(
                    models, examples, crops=crops, batch_size=arguments.batch_size, verbose=verbose
                )
                training = learned, data.originals("train")
            written = report.write(
                arguments.out,
                models,
                predictions,
                facts=facts,
                originals=originals,
                crops=crops,
                top=tops,
                training=training,
            )
        if not arguments.json:
            print(f"wrote {arguments.out}: {', '.join(written)}")
    return 0


def _print(
    title: str, results: Mapping[str, Mapping[str, float]], tops: Sequence[int], costs: Mapping[str, str]
) -> None:
    keys = ["accuracy" if k == 1 else f"top_{k}_accuracy" for k in tops]
    rows = [
        [
            head,
            *(f"{metrics[key]:.2%}" if key in metrics else "" for key in keys),
            f"{metrics['loss']:.4f}",
            costs.get(head, ""),
        ]
        for head, metrics in results.items()
    ]
    print_table(title, ["head", *(f"top-{k}" for k in tops), "loss", "multiply-adds"], rows)


def _say_few(counts: Sequence[int], names: Sequence[str], results: Mapping[str, Mapping[str, float]]) -> None:
    """Says it where so few images were scored that another few might say something else."""
    from scipy.stats import binomtest

    total, least = sum(counts), min(counts)
    if total >= FEW and least >= FEW_OF_CLASS:
        return
    head, scores = next(iter(results.items()))
    low, high = binomtest(round(scores["accuracy"] * total), total).proportion_ci(method="wilson")
    print(
        f"too few images to tell: {total} in all, {least} of {names[counts.index(least)]} (at least {FEW}, and "
        f"{FEW_OF_CLASS} of each class); of many more, {head} might answer {low:.0%} to {high:.0%} rightly"
    )


def _say_trained_on(runs_of: Sequence[str], data: "Data", split: str) -> None:
    """Says it where a network was trained on images that it is measured on, but for training images."""
    from keras_inception.data import duplicates
    from keras_inception.training import runs

    for path in runs_of if split != "train" else ():
        record = runs.data_record(path)
        if record is not None and duplicates.trained_on(record, data.record, split):
            print(
                f"warning: {path} was trained on some of these images, so that its answers prove little. Measure on "
                "others; train the networks of an ensemble on one split, by one `--split-seed`",
                file=sys.stderr,
            )


def _check_same_input(models: "Sequence[InceptionModel]") -> None:
    """Refuses networks that see different images, unless they cut them out of the originals themselves."""
    inputs = sorted({(model.input_shape[1:], model.preprocessing, model.resize) for model in models}, key=str)
    if len(inputs) > 1:
        raise InputError(f"networks of different inputs need --crops, by which each gets its own. Received: {inputs}")
