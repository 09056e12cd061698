"""What the commands share: exit codes, a parser, the options that are the same everywhere, tables."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

BAD_INPUT = 2
DEFECT = 70  # EX_SOFTWARE of sysexits.h
PREEMPTED = 75  # EX_TEMPFAIL: try again
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, usage: str | None = None
) -> argparse.ArgumentParser:
    """Returns the parser of a new command, which `run(arguments)` runs."""
    wide = partial(argparse.HelpFormatter, max_help_position=32)
    parser = commands.add_parser(name, help=summary, description=summary, usage=usage, formatter_class=wide)
    parser.set_defaults(run=run)
    add_debug(parser)
    return parser


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Adds the option that stands before the name of a command as well as behind it."""
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="print the traceback of each error, write no file of a defect (exit code 70)")  # fmt: skip


def files_of(folder: Path) -> str:
    """Returns the names of what a folder holds, as a text."""
    return ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))


class CheckProgress:
    """Shows on standard error how far the check of a folder's images is: a bar; in a log, 100 lines at most."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("checking images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: Any = None
        self._said = time.monotonic(), 0  # when, and of how many

    def __call__(self, done: int, total: int) -> None:
        """Is told how many images were checked, and how many there are."""
        if not self._bar.console.is_terminal:
            now = time.monotonic()
            if now - self._said[0] > 1.5 and done - self._said[1] >= total / 100:
                print(f"checked {done:,} of {total:,} images", file=sys.stderr, flush=True)
                self._said = now, done
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
            self._bar.console.show_cursor()  # Ctrl-C would leave it hidden
        self._bar.update(self._task, completed=done)
        if done == total:
            self._bar.stop()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of strings under a title and the names of their columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        is_text = index == 0 or column == "why they differ"
        side: Any = "left" if is_text else "right"
        table.add_column(Text(column), justify=side, overflow="fold", no_wrap=not is_text)  # no number is cut off
    for row in rows:
        table.add_row(*map(Text, row))  # a name of a class is no markup, whatever brackets and colons it has
    # A file or a pipe has no width: the table takes what it needs.
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as text:  # to a reader that is gone, rich itself would end the process
        console.print(table)
    print(title, *map(str.rstrip, text.get().splitlines()), sep="\n")  # a title of rich's is as narrow as its table
