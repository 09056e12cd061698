"""`keras-inception exits`."""

import csv
import shlex
from pathlib import Path

from keras_inception import files
from keras_inception.cli.console import Refused, command, print_table
from keras_inception.cli.evaluate import dataset_of


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(
        commands,
        "exits",
        run,
        "Find from which probability on images may leave a trained network early, and measure it.",
    )
    parser.add_argument("model", metavar="RUN", help="run folder")
    parser.add_argument(
        "--max-accuracy-loss", type=float, default=0.002, metavar="SHARE", help="how much of it may be lost"
    )
    parser.add_argument("--dataset", metavar="NAME|FOLDER", help="other images than the run's, with the same classes")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--timed-images", type=int, default=96, metavar="COUNT", help="images to time; 0 for none")
    parser.add_argument("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.serving import exits
    from keras_inception.training import runs

    folder = Path(arguments.model)
    if not folder.is_dir():
        raise Refused(f"the calibration is written into a run folder, and {folder} is none")
    model = runs.load_model(folder)
    exits.exit_names(model)  # refuses a model without auxiliary heads before its images are read
    dataset = dataset_of(arguments, model)
    if dataset.validation is None:
        raise Refused("there are no validation images to set the thresholds on; give a --dataset that has some")

    calibration = exits.calibrate_exits(model, dataset.validation, arguments.max_accuracy_loss)
    points = exits.score(model, calibration, dataset.test) if dataset.test is not None else None
    if arguments.timed_images:
        images = exits.sample(dataset.test or dataset.validation, arguments.timed_images)
        calibration = exits.measure_latency(model, calibration, images, batch_sizes=_batch_sizes(len(images)))
    calibration.save(folder / runs.EXITS)
    rows = _rows(calibration, points)
    with (
        files.written_aside(folder / runs.EXITS_TABLE) as aside,
        open(aside, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with files.written_aside(folder / runs.EXITS_PICTURE) as aside:
        exits.exits_figure(calibration, points).savefig(aside, dpi=120)
    _print(calibration, points, dataset.sizes, rows)
    print(f"wrote {folder}: {runs.EXITS}, {runs.EXITS_TABLE}, {runs.EXITS_PICTURE}")
    print(f"next:  keras-inception export {shlex.quote(str(folder))} --early-exit")
    return 0


def _batch_sizes(count):
    return tuple(size for size in (1, 16) if size <= count)


def _rows(calibration, points):
    """Returns the rows of exits.csv: numbers as they are, nothing where nothing was measured."""
    heads = [head for head in calibration.temperatures if head != "main"]
    sizes = sorted({size for point in calibration.table for size in point.milliseconds})
    rows = []
    for index, point in enumerate(calibration.table):
        row = {f"{head}_threshold": point.thresholds.get(head, "") for head in heads}
        row |= {f"{head}_share": point.shares.get(head, 0.0) for head in heads}
        row |= {"validation_accuracy": point.accuracy, "multiply_adds": point.multiply_adds}
        if points is not None:
            row |= {"test_accuracy": points[index].accuracy, "test_multiply_adds": points[index].multiply_adds}
        row |= {f"milliseconds_batch_{size}": point.milliseconds.get(size, "") for size in sizes}
        rows.append({**row, "chosen": point == calibration.chosen})
    return rows


def _print(calibration, points, sizes, rows):
    heads = [head for head in calibration.temperatures if head != "main"]
    timed = [name for name in rows[0] if name.startswith("milliseconds")]
    columns = [
        "", *(f"leave at {head} from" for head in heads), "validation accuracy", "multiply-adds",
        *(["test accuracy", "test multiply-adds"] if points is not None else []),
        *(f"ms, batch {name.rsplit('_', 1)[1]}" for name in timed),
    ]  # fmt: skip
    cells = [
        [
            "chosen" if row["chosen"] else "",
            *(_threshold(row[f"{head}_threshold"], row[f"{head}_share"]) for head in heads),
            f"{row['validation_accuracy']:.2%}",
            f"{row['multiply_adds'] / 1e6:,.1f}M",
            *(
                [f"{row['test_accuracy']:.2%}", f"{row['test_multiply_adds'] / 1e6:,.1f}M"]
                if points is not None
                else []
            ),
            *(f"{row[name]:.2f}" if row[name] != "" else "" for name in timed),
        ]
        for row in rows
    ]
    split = f"{calibration.images:,} validation images" + (f", {sizes['test']:,} test images" if points else "")
    print_table(f"Early exits: {split}", columns, cells)
    print("temperatures: " + ", ".join(f"{head} {value:.2f}" for head, value in calibration.temperatures.items()))
    if not calibration.thresholds:
        print(
            f"no image may leave early: on {calibration.images:,} validation images no thresholds are sure to lose at "
            f"most {calibration.max_accuracy_loss:.2%}; give more of them, or a larger --max-accuracy-loss"
        )
        return
    index = calibration.table.index(calibration.chosen)
    reached, images = (points[index], "test") if points else (calibration.chosen, "validation")
    never = calibration.table[0].milliseconds
    faster = [f"{never[size] / time:.2f} times faster at batch {size}"
              for size, time in calibration.chosen.milliseconds.items()]  # fmt: skip
    print(
        f"chosen: {reached.accuracy_loss:+.2%} of accuracy lost on the {images} images (standard error "
        f"{reached.standard_error:.2%}), {calibration.multiply_adds / reached.multiply_adds:.2f} times fewer "
        f"multiply-adds" + "".join(f", {text}" for text in faster)
    )


def _threshold(threshold, share):
    return f"{threshold:.4f} ({share:.0%})" if threshold != "" else "never"
