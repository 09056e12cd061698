"""`keras-inception tune`."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from keras_inception.cli.console import Refused, command
from keras_inception.config import TrainConfig, parsed, read

DEFAULT_HOURS = 0.075  # 270 seconds


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(
        commands,
        "tune",
        run,
        "Search for the training that validates best, on any dataset of `keras-inception train`. The same command goes "
        "on after a kill.",
    )
    option = parser.add_argument
    option("--dataset", help="digits, a folder of class folders, or the name of a TFDS dataset (digits)")
    option("--config", metavar="FILE", help="TOML, YAML or JSON file with the fields of the training not searched")
    option(
        "--space",
        metavar="FILE",
        help="TOML, YAML or JSON file of what is searched (all that matters): by name a list of choices, a single "
        "value, true for the default, or a table of min_value, max_value, step, sampling",
    )
    option("--search", nargs="+", metavar="NAME", help="search these names of the default space alone")
    option("--out", metavar="FOLDER", help="where to write (searches/DATASET)")
    option("--overwrite", action="store_true", help="replace the search in that folder")
    option("--tuner", default="bayesian", choices=("bayesian", "random", "hyperband", "grid"), help="how to search")
    option("--objective", default="val_main_accuracy", help="the validation metric that counts")
    option("--max-trials", type=int, default=10, metavar="N", help="trials at most, those of earlier runs included")
    option("--hours", type=float, default=DEFAULT_HOURS, metavar="X",
           help="begin no trial that would probably end later than this")  # fmt: skip
    option("--epochs", type=int, metavar="N", help="epochs of a trial (the recipe's)")
    option("--executions", type=int, default=1, metavar="N", help="trainings of each trial, whose mean counts")
    option("--distribution", default="auto", choices=("auto", "one", "mirrored"), help="the devices of a trial")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.hypermodel.search import SearchFailedError, search

    values = read(arguments.config) if arguments.config else {}
    values |= {name: value for name in ("dataset", "epochs") if (value := getattr(arguments, name)) is not None}
    config = TrainConfig(**values)
    if arguments.space and arguments.search:
        raise Refused("--space and --search both say what is searched: leave one of them out")
    space = arguments.search or (parsed(arguments.space) if arguments.space else None)
    out = Path(arguments.out or Path("searches") / Path(config.dataset).name)
    table = _Table(arguments.objective)
    try:
        with _quiet_keras_tuner():
            found = search(
                config,
                out,
                space=space,
                tuner=arguments.tuner,
                objective=arguments.objective,
                max_trials=arguments.max_trials,
                hours=arguments.hours,
                executions=arguments.executions,
                distribution=arguments.distribution,
                overwrite=arguments.overwrite,
                on_begin=table.begin,
                on_trial=table.add,
            )
    except SearchFailedError as error:
        raise Refused(error) from error
    if found is not None:
        _say_found(found, arguments)
    return 0


class _Table:
    """The table of trials, which grows by a line with each trial that ends."""

    def __init__(self, objective):
        self.objective = objective
        self.best = None
        self.out = sys.stdout

    def begin(self, data, rows):
        """Prints what is searched on, and the trials of earlier runs of the command."""
        sizes = ", ".join(f"{data.sizes.get(split, 0):,} {split}" for split in ("train", "validation"))
        self._say(f"{sizes} images of {len(data.class_names)} classes, {data.image_shape[0]}x{data.image_shape[1]}")
        if "KERASTUNER_ORACLE_IP" in os.environ:
            self._say(f"{os.environ.get('KERASTUNER_TUNER_ID')} of a search on several machines")
        self._say(f"{'trial':>5}  {self.objective:>17}  {'best so far':>11}  {'seconds':>7}  hyperparameters")
        for row in rows:
            self.add(row)

    def add(self, row):
        """Prints a trial."""
        score = "failed"
        if row.score is not None:
            better = min if self.objective.endswith("loss") else max
            self.best = row.score if self.best is None else better(self.best, row.score)
            score = f"{row.score:.4f}"
        best = "-" if self.best is None else f"{self.best:.4f}"
        values = " ".join(f"{name}={_short(value)}" for name, value in row.values.items())
        self._say(f"{row.trial:>5}  {score:>17}  {best:>11}  {row.seconds:7.0f}  {values}")
        if row.reason:
            self._say(f"{'':5}  {row.reason}")

    def _say(self, text):
        print(text, file=self.out, flush=True)


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _quiet_keras_tuner():
    """Lets nothing through of what KerasTuner prints of its own; a failed trial's reason stands in the table."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def _say_found(found, arguments):
    from keras_inception.hypermodel.search import BEST

    failed = sum(row.score is None for row in found.rows)
    print(f"\nbest: trial {found.best.trial}, {arguments.objective} {found.best.score:.4f}"
          f" ({len(found.rows) - failed} trials, {failed} failed)")  # fmt: skip
    if found.out_of_time and len(found.rows) < arguments.max_trials:
        print(f"the budget of {arguments.hours:g} hours is spent; the same command goes on, `--hours` gives more")
    print(f"wrote {found.folder}: {', '.join(sorted(path.name for path in found.folder.iterdir()))}")
    print(f"next:  keras-inception train --config {shlex.quote(str(found.folder / BEST))}")
