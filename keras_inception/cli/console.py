"""What a command is: its parser, what it refuses, its tables."""

import argparse
import sys

BAD_INPUT = 2
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again


class Refused(Exception):  # noqa: N818, it is what the command refuses, not an error of a library
    """Input that only the command takes, and refuses."""


def command(commands, name, run, summary):
    """Returns the parser of a new command, which `run(arguments)` runs."""
    parser = commands.add_parser(
        name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def print_table(title, columns, rows):
    """Prints rows of strings under a title and the names of their columns."""
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
