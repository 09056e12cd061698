"""`keras-inception tune`."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception.cli import dataset
from keras_inception.cli.console import CheckProgress, command, files_of
from keras_inception.cli.train import CHOICES, add_fields, add_groups, merged_config, options_of
from keras_inception.configurations import read_configuration
from keras_inception.errors import InputError
from keras_inception.training.config import read

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.training.config import TrainConfig
    from keras_inception.tuning.search import Found
    from keras_inception.tuning.trials import TrialResult

COMMON = ("dataset", "architecture", "epochs")
UNREAD = ("deterministic", "tensorboard", "gradient_flow", "cache", "train_image_size", "final_epochs")  # of a trial
DEFAULT_HOURS = 0.07  # 252 seconds, so that all of it takes less than five minutes


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(
        commands,
        "tune",
        run,
        "Search for the training that validates best, on any dataset of `keras-inception train`. The same command goes "
        "on after a kill.",
        usage="%(prog)s [OPTION ...]",
    )
    common = parser.add_argument_group("common options")
    add_fields(common, COMMON)
    option = common.add_argument
    option("--out", metavar="FOLDER", help="where to write (default: searches/DATASET)")
    option("--hours", type=float, default=DEFAULT_HOURS, metavar="X",
           help="budget of time; the trial that runs then is stopped, and counts (default: %(default)s)")  # fmt: skip
    option("--max-trials", type=int, default=10, metavar="N",
           help="trials at most, those of earlier runs included (default: %(default)s)")  # fmt: skip
    option("--search", nargs="+", metavar="NAME",
           help="which hyperparameters to search (default: those of the default space not given here)")  # fmt: skip
    option(
        "--space",
        metavar="FILE",
        help="TOML, YAML or JSON file of what to search: for each name a list of choices, a single value, true for the "
        "default, or a table of min_value, max_value, step, sampling",
    )
    option("--tuner", default="bayesian", choices=("bayesian", "random", "hyperband", "grid"),
           help="how to search (default: %(default)s)")  # fmt: skip
    option("--objective", default="val_main_accuracy", metavar="METRIC",
           help="the validation metric that counts (default: %(default)s)")  # fmt: skip
    option = parser.add_argument_group("the search").add_argument
    option("--overwrite", action="store_true", help="replace the search in that folder")
    option("--executions", type=int, default=1, metavar="N",
           help="trainings of each trial, whose mean counts (default: %(default)s)")  # fmt: skip
    option("--no-pruning", dest="pruning", action="store_false",
           help="train all epochs also of a trial that falls behind the median of the others")  # fmt: skip
    option("--config", metavar="FILE", help="TOML, YAML or JSON file of training options; what is given here wins")
    option("--precision", choices=CHOICES["precision"], default=argparse.SUPPRESS, metavar="NAME",
           help='what a trial computes in, as in `keras-inception train` (default: auto)')  # fmt: skip
    add_groups(parser, without=(*COMMON, "precision", *UNREAD))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.tuning.processes import VARIABLES
    from keras_inception.tuning.search import search
    from keras_inception.tuning.space import unless_given

    options = options_of(arguments)
    if "precision" not in options | (read(arguments.config) if arguments.config else {}):
        options["precision"] = "auto"  # a search needs speed most
    config = merged_config(options, arguments.config)
    if arguments.space and arguments.search:
        raise InputError("--space and --search both say what is searched: leave one of them out")
    space = _space_of(arguments.space, config) if arguments.space else arguments.search
    if space is None:
        space = unless_given(options_of(arguments), config)
    name, address, port = map(os.environ.get, VARIABLES)
    if name and address and port:
        print(f"{name} of a search on several machines, whose chief is at {address}:{port}", flush=True)
    with _Table(arguments.objective, config.recipe.epochs) as table:
        try:
            found = search(
                config,
                arguments.out or Path("searches") / Path(config.dataset).absolute().name,
                space=space,
                tuner=arguments.tuner,
                objective=arguments.objective,
                max_trials=arguments.max_trials,
                hours=arguments.hours,
                executions=arguments.executions,
                pruning=arguments.pruning,
                overwrite=arguments.overwrite,
                on_check=CheckProgress(),
                on_begin=table.begin,
                on_epoch=table.show,
                on_trial=table.add,
            )
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on") from interrupt
    if found is not None:
        _say_found(found, arguments)
    return 0


def _space_of(path: str, config: "TrainConfig") -> Any:
    """Returns what a file says is searched; an error names the file."""
    from keras_inception.tuning import space

    try:
        return space.read(read_configuration(path) or {}, config)
    except InputError as error:
        message = str(error)
        raise InputError(message if path in message else f"{path}: {message}") from error


class _Table:
    """Prints a row for each trial that ends; on a terminal also, below them, how far the trial is that runs."""

    def __init__(self, objective: str, epochs: int) -> None:
        from rich.console import Console

        self.objective, self.epochs = objective, epochs
        self.console = Console(file=sys.stdout)
        self.status = self.console.status("the first trial begins")
        self.best: float | None = None
        self.begun = False

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def begin(self, data: "Data", rows: "list[TrialResult]") -> None:
        """Prints what is searched on, and the trials of earlier runs of the command."""
        sizes = ", ".join(f"{data.sizes.get(split, 0):,} {split}" for split in ("train", "validation"))
        self._say(f"{sizes} images of {len(data.class_names)} classes, {data.image_shape[0]}x{data.image_shape[1]}")
        for line in dataset.left_out(data):
            self._say(line)
        if self.begun:
            return  # again, without images that turned out bad
        self.begun = True
        self._say(f"trial  {self.objective}  best so far  epochs  seconds  hyperparameters")
        for row in rows:
            self.add(row)
        self.status.start()

    def show(self, row: "TrialResult") -> None:
        """Shows how far the trial is that runs."""
        from rich.text import Text

        self.status.update(Text(self._line(row)))

    def add(self, row: "TrialResult") -> None:
        """Prints a trial that ended."""
        if row.score is not None:
            better = min if self.objective.endswith("loss") else max
            self.best = row.score if self.best is None else better(self.best, row.score)
        self._say(self._line(row))
        self.status.update("the next trial begins")

    def _line(self, row: "TrialResult") -> str:
        score = "failed" if row.score is None else f"{row.score:.4f}"
        best = "-" if self.best is None else f"{self.best:.4f}"
        epochs = f"{row.epochs}/{self.epochs}"
        values = " ".join(f"{name}={_short(value)}" for name, value in row.values.items() if "tuner/" not in name)
        cells = f"{row.trial:>5}  {score:>{len(self.objective)}}  {best:>11}  {epochs:>6}  {row.seconds:>7.0f}"
        return f"{cells}  {values}  {row.reason}".rstrip()

    def _say(self, text: str) -> None:
        if self.console.is_terminal:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)  # above the status
        else:
            print(text, flush=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _say_found(found: "Found", arguments: argparse.Namespace) -> None:
    from keras_inception.tuning.search import BEST

    failed = sum(row.score is None for row in found.rows)
    print(f"\nbest: trial {found.best.trial}, {arguments.objective} {found.best.score:.4f}"
          f" ({len(found.rows) - failed} trials, {failed} failed)")  # fmt: skip
    if found.out_of_time and len(found.rows) < arguments.max_trials:
        print(f"the budget of {arguments.hours:g} hours is spent; the same command goes on, `--hours` gives more")
    print(f"wrote {found.folder}: {files_of(found.folder)}")
    print(f"next:  keras-inception train --config {shlex.quote(str(found.folder / BEST))}")
