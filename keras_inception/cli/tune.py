"""`keras-inception tune`."""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from keras_inception.cli.console import command, files_of
from keras_inception.cli.train import CHOICES
from keras_inception.errors import InputError
from keras_inception.training.config import TrainConfig, parsed, read

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.tuning.search import Found
    from keras_inception.tuning.trials import TrialResult

DEFAULT_HOURS = 0.07  # 252 seconds, so that all of it takes less than five minutes


def add(commands: Any) -> None:
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
    option("--config", metavar="FILE", help="TOML, YAML or JSON file with the options of the training not searched")
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
           help="budget of time; the trial that runs then is stopped, and counts")  # fmt: skip
    option("--epochs", type=int, metavar="N", help="epochs of a trial (the recipe's)")
    option("--precision", choices=CHOICES["precision"], help="what a trial computes in (auto)")
    option("--executions", type=int, default=1, metavar="N", help="trainings of each trial, whose mean counts")
    option("--distribution", default="auto", choices=("auto", "one", "mirrored"), help="the devices of a trial")
    option("--no-pruning", dest="pruning", action="store_false",
           help="train all epochs also of a trial that falls behind the median of the others")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.tuning.search import search

    values = read(arguments.config) if arguments.config else {}
    given = {name: getattr(arguments, name) for name in ("dataset", "epochs", "precision")}
    values |= {name: value for name, value in given.items() if value is not None}
    values.setdefault("precision", "auto")  # a search needs speed most
    config = TrainConfig.of(**values)
    if arguments.space and arguments.search:
        raise InputError("--space and --search both say what is searched: leave one of them out")
    space = arguments.search or (parsed(arguments.space) if arguments.space else None)
    folder = Path(arguments.out or Path("searches") / Path(config.dataset).name)
    with _Table(arguments.objective, config.recipe.epochs) as table, _quiet_keras_tuner():
        found = search(
            config,
            folder,
            space=space,
            tuner=arguments.tuner,
            objective=arguments.objective,
            max_trials=arguments.max_trials,
            hours=arguments.hours,
            executions=arguments.executions,
            distribution=arguments.distribution,
            pruning=arguments.pruning,
            overwrite=arguments.overwrite,
            on_begin=table.begin,
            on_epoch=table.show,
            on_trial=table.add,
        )
    if found is not None:
        _say_found(found, arguments)
    return 0


class _Table:
    """The table of trials: live on a terminal, elsewhere a line for each trial that ends."""

    def __init__(self, objective: str, epochs: int, out: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.objective, self.epochs = objective, epochs
        self.out = out or sys.stdout
        self.best: float | None = None
        self.rows: list[tuple[str, ...]] = []
        self.live: Live | None = None
        if self.out.isatty():
            self.live = Live(console=Console(file=self.out), auto_refresh=False, redirect_stdout=False,
                             redirect_stderr=False)  # fmt: skip

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None and self.rows:
            self._refresh()
            self.live.stop()

    def begin(self, data: "Data", rows: "list[TrialResult]") -> None:
        """Prints what is searched on, and the trials of earlier runs of the command."""
        sizes = ", ".join(f"{data.sizes.get(split, 0):,} {split}" for split in ("train", "validation"))
        self._say(f"{sizes} images of {len(data.class_names)} classes, {data.image_shape[0]}x{data.image_shape[1]}")
        if "KERASTUNER_ORACLE_IP" in os.environ:
            self._say(f"{os.environ.get('KERASTUNER_TUNER_ID')} of a search on several machines")
        if self.live is None:
            self._say("  ".join(f"{name:>{width}}" for name, width in self._columns()) + "  hyperparameters")
        else:
            self.live.start()
        for row in rows:
            self.add(row)

    def show(self, row: "TrialResult") -> None:
        """Shows how far the trial is that runs."""
        self._refresh(self._cells(row, running=True))

    def add(self, row: "TrialResult") -> None:
        """Adds a trial that ended."""
        if row.score is not None:
            better = min if self.objective.endswith("loss") else max
            self.best = row.score if self.best is None else better(self.best, row.score)
        self.rows.append(self._cells(row))
        if self.live is None:
            *cells, last = self.rows[-1]
            self._say("  ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, self._columns())) + f"  {last}")
        else:
            self._refresh()

    def _columns(self) -> tuple[tuple[str, int], ...]:
        return (("trial", 5), (self.objective, len(self.objective)), ("best so far", 11), ("epochs", 7), ("seconds", 7))

    def _cells(self, row: "TrialResult", running: bool = False) -> tuple[str, ...]:
        best = "-" if self.best is None else f"{self.best:.4f}"
        score = "failed" if row.score is None else f"{row.score:.4f}"
        values = " ".join(f"{name}={_short(value)}" for name, value in row.values.items() if "tuner/" not in name)
        notes = "running" if running else row.reason
        return (
            row.trial,
            score,
            best,
            f"{row.epochs}/{self.epochs}",
            f"{row.seconds:.0f}",
            f"{values}  {notes}".rstrip(),
        )

    def _refresh(self, *running: tuple[str, ...]) -> None:
        from rich import box
        from rich.table import Table

        if self.live is None:
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, _ in self._columns():
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("hyperparameters")
        for cells in (*self.rows, *running):
            table.add_row(*cells)
        self.live.update(table, refresh=True)

    def _say(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _quiet_keras_tuner() -> Iterator[None]:
    """Lets nothing through of what KerasTuner prints of its own; a failed trial's reason stands in the table."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def _say_found(found: "Found", arguments: argparse.Namespace) -> None:
    from keras_inception.tuning.search import BEST

    failed = sum(row.score is None for row in found.rows)
    print(f"\nbest: trial {found.best.trial}, {arguments.objective} {found.best.score:.4f}"
          f" ({len(found.rows) - failed} trials, {failed} failed)")  # fmt: skip
    if found.out_of_time and len(found.rows) < arguments.max_trials:
        print(f"the budget of {arguments.hours:g} hours is spent; the same command goes on, `--hours` gives more")
    print(f"wrote {found.folder}: {files_of(found.folder)}")
    print(f"next:  keras-inception train --config {shlex.quote(str(found.folder / BEST))}")
