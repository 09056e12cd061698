"""`keras-inception exits`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception import files
from keras_inception.cli import dataset
from keras_inception.cli.console import command, print_table
from keras_inception.errors import InputError

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.network.model import InceptionModel
    from keras_inception.serving.exits import ExitCalibration, ExitPoint

LOOKED_AT, SHOWN = 2000, 6  # images of a split, and of each head


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    summary = "Find the confidences from which on images may leave a trained network at its auxiliary heads."
    parser = command(commands, "exits", run, summary)
    parser.add_argument("model", metavar="RUN", help="run folder")
    parser.add_argument(
        "--max-accuracy-loss",
        type=float,
        default=0.002,
        metavar="X",
        help="how much of the accuracy may be lost, as a share (default: 0.002, which is 0.2 points)",
    )
    parser.add_argument(
        "--criterion",
        choices=("confidence", "entropy", "margin"),
        help="what tells how sure an answer is (default: the one with which most is saved)",
    )
    dataset.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.plots.serving import exits_figure, leaves_figure
    from keras_inception.serving import exits
    from keras_inception.training import runs

    folder = Path(arguments.model)
    if not folder.is_dir():
        raise InputError(f"the calibration is written into a run folder, and {folder} is none")
    model = runs.load_model(folder, compiled=False)
    exits.exit_names(model)  # refuses a model without auxiliary heads before its images are read
    data = dataset.data_of(arguments, model)
    if data.validation is None:
        raise InputError("there are no validation images to set the thresholds on; give a --dataset that has some")

    with data.reading():
        calibration = exits.calibrate_exits(
            model, data.validation, arguments.max_accuracy_loss, criterion=arguments.criterion
        )
        points = exits.score(model, calibration, data.test) if data.test is not None else None
        shown = _shown(model, calibration, data, "validation" if data.test is None else "test")
    calibration.save(folder / runs.EXITS)
    rows = calibration.rows(points)
    files.write_table(folder / runs.EXITS_TABLE, rows)
    with files.written_aside(folder / runs.EXITS_PLOT) as aside:
        exits_figure(calibration, points).savefig(aside, dpi=120)
    with files.written_aside(folder / runs.EXITS_IMAGES) as aside:
        leaves_figure(shown).savefig(aside, dpi=120)
    _print(calibration, points, data.sizes, rows)
    print(f"wrote {folder}: {', '.join(runs.EXITS_FILES)}")
    if calibration.thresholds:
        print(f"next:  keras-inception export {shlex.quote(str(folder))} --early-exit")
    return 0


def _shown(
    model: "InceptionModel", calibration: "ExitCalibration", data: "Data", split: str
) -> dict[str, list[tuple[Any, str]]]:
    """Returns images that leave at each head, by a title: the surest of an early one, the least sure of the last."""
    import numpy as np

    from keras_inception.evaluation.report import thumbnails
    from keras_inception.plots.evaluation import answer_title
    from keras_inception.serving import exits

    batches, originals = data.some(split, LOOKED_AT)
    found, names = exits.leaves(model, calibration, batches), data.class_names
    titles: list[str] = []
    chosen: list[list[int]] = []
    for head in (*calibration.thresholds, "main"):
        of_head = [index for index, leave in enumerate(found) if leave.head == head]
        early = head != "main"
        if of_head:
            kind = "surest" if early else "least sure"
            titles.append(f"{len(of_head) / len(found):.0%} leave at {head}; of these, the {kind}")
            chosen.append(sorted(of_head, key=lambda index: found[index].sure, reverse=early)[:SHOWN])
    images = iter(thumbnails(originals, np.concatenate(chosen)))

    def captioned(index: int) -> tuple[Any, str]:
        leave = found[index]
        return next(images), answer_title(names[leave.label], names[leave.answer], leave.confidence)

    return {title: list(map(captioned, row)) for title, row in zip(titles, chosen)}


def _print(
    calibration: "ExitCalibration", points: "list[ExitPoint] | None", sizes: dict[str, int], rows: list[dict[str, Any]]
) -> None:
    heads = calibration.exit_names[:-1]
    measured = ["validation", *(["test"] if points else [])]
    columns = ["", *(f"leave at {head} from" for head in heads)]
    columns += [f"{split} {what}" for split in measured for what in ("accuracy", "multiply-adds")]
    cells = []
    for row in rows:
        costs = row["multiply_adds"], row.get("test_multiply_adds", 0)
        cells.append(
            ["chosen" if row["chosen"] else ""]
            + [_threshold(row[f"{head}_threshold"], row[f"{head}_share"]) for head in heads]
            + [
                text
                for split, cost in zip(measured, costs)
                for text in (f"{row[f'{split}_accuracy']:.2%}", _millions(cost))
            ]
        )
    split = f"{calibration.images:,} validation images" + (f", {sizes['test']:,} test images" if points else "")
    print_table(f"Early exits: {split}", columns, cells)
    print(f"what tells how sure an answer is: {calibration.criterion}")
    for head, weights in calibration.mixtures.items():
        mixed = " + ".join(f"{weight:.2f} {name}" for name, weight in weights.items())
        print(f"{head} answers with the softmax of the logits {mixed}")
    if not calibration.thresholds:
        print(
            f"no image may leave early: on {calibration.images:,} validation images all thresholds may lose more than "
            f"{calibration.max_accuracy_loss:.2%} of the accuracy; give more images, or a larger --max-accuracy-loss"
        )
        return
    reached = points[calibration.table.index(calibration.chosen)] if points else calibration.chosen
    gained = round(-100 * reached.accuracy_loss, 2) + 0.0  # not -0.0
    print(
        f"chosen: {gained:+.2f} points of accuracy on the {measured[-1]} images (standard error "
        f"{100 * reached.standard_error:.2f}), with {reached.multiply_adds / calibration.multiply_adds:.0%} of the "
        "multiply-adds"
    )


def _threshold(threshold: float | None, share: float) -> str:
    return f"{threshold:.4f} ({share:.0%})" if threshold is not None else "never"


def _millions(multiply_adds: float) -> str:
    return f"{multiply_adds / 1e6:,.1f}M"
