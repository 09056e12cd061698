"""A table of images: a CSV or Parquet file with the columns `path` and `label`, and perhaps `split`."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from keras_inception.errors import InputError, MissingFileError, MissingPackageError, shortened
from keras_inception.network.labels import is_class_name

ENDINGS: tuple[str, ...] = (".csv", ".parquet")
COLUMNS: tuple[str, ...] = ("path", "label", "split")


class Row(NamedTuple):
    """An image of a table: its path within the table's folder, its class, and its split as it is written there."""

    path: str
    label: str
    split: str


def is_table(path: Path) -> bool:
    """Returns whether a path is called as a table is."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def root(path: Path) -> Path:
    """Returns the folder of a table, within which its images are named: `..` leads from it as links are followed."""
    return Path(os.path.realpath(path.parent))


def rows(path: Path) -> list[Row]:
    """Returns the rows of a table, in the order of their paths; `split` is "train" where there is no such column.

    Paths in it are absolute, or as seen from the folder of the table. Columns may be named in capitals; others are
    passed over.

    Raises:
        InputError: It is no such table, lacks a column or a value, or names an image twice.
        MissingFileError: There is no such file.
        MissingPackageError: It is a Parquet file, and there is no `pyarrow`.
    """
    if not path.exists():
        raise MissingFileError(f"There is no table of that name. Received: {path}")
    if not path.is_file():
        raise InputError(f"A table must be a regular file, not a pipe or device. Received: {path}")
    places, names, values_of = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    called = [name.strip().lower() for name in names]
    if twice := [name for name in COLUMNS if called.count(name) > 1]:
        raise InputError(
            f"A table must have one column of each name, or it is unknown which one counts. Received: {path} with "
            f"{' and '.join(twice)} more than once"
        )
    if lacking := [name for name in ("path", "label") if name not in called]:
        raise InputError(
            "A table of images must have the columns path and label, named in its first line (of a CSV file with "
            f"commas between them), and may have split. Received: {path} without {' and '.join(lacking)}, with "
            f"{shortened(', '.join(names), 200) or 'none'}"
        )
    columns = {name: values_of(called.index(name)) for name in COLUMNS if name in called}
    splits = columns.get("split", ["train"] * len(columns["path"]))
    within = root(path)
    images: dict[str, Row] = {}
    for place, *values in zip(places, columns["path"], columns["label"], splits):
        row = dict(zip(COLUMNS, (value.strip() for value in values)))
        what = next((name for name, value in row.items() if not value), None)
        if what or not is_class_name(row["label"]):
            wrong = f"no {what}" if what else f"the label {row['label']!r}, which is not one line that a terminal shows"
            raise InputError(
                f"Every row of a table must hold an image and its class. Received: {path}, {place}: {wrong}"
            )
        name = os.path.relpath(within / row["path"], within)
        if name in images:
            raise InputError(f"A table must name every image once. Received: {path} with {row['path']} twice")
        images[name] = Row(name, row["label"], row["split"])
    return [images[name] for name in sorted(images)]


# Where each row stands, as an error says it; the names of the columns; and by its index the values of one.
_Columns: TypeAlias = tuple[list[str], list[str], Callable[[int], list[str]]]


def _csv(path: Path) -> _Columns:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            begins, lines = [], []
            before = reader.line_num
            for line in reader:  # of several lines in the file where a value is so quoted
                if line:
                    begins.append(f"line {before + 1}")
                    lines.append(line)
                before = reader.line_num
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"A table must be a CSV file in UTF-8, with values of at most {csv.field_size_limit():,} characters. "
            f"Received: {path} ({error})"
        ) from error
    for place, line in zip(begins, lines):
        if len(line) != len(header):
            raise InputError(
                f"Every row of a table must have as many values as its first line, {len(header)}; quote values with "
                f"commas. Received: {path}, {place} with {len(line)}"
            )
    return begins, header, lambda index: [line[index] for line in lines]


def _parquet(path: Path) -> _Columns:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingPackageError(
            "A Parquet file is read by pyarrow. Install it with `pip install pyarrow`, or write the table as CSV. "
            f"Received: {path}"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (ArrowException, OSError) as error:
        reason = shortened(" ".join(str(error).split()), 200)
        raise InputError(f"A table must be a Parquet file. Received: {path} ({reason})") from error
    places = [f"row {number}" for number in range(1, table.num_rows + 1)]

    def values(index: int) -> list[str]:
        return [_text(value, f"{path}, {place}") for place, value in zip(places, table.columns[index].to_pylist())]

    return places, table.column_names, values


def _text(value: object, where: str) -> str:
    if value is None or value != value:  # NaN is how pandas says that there is none
        return ""
    if not isinstance(value, (str, int, float)):
        raise InputError(
            f"Paths, labels and splits of a table must be texts or numbers. Received: {where}: a {type(value).__name__}"
        )
    return str(value)
