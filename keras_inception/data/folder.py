"""Images in files: those of a folder of class folders, or of a table; their classes and their splits."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from keras_inception.data import table
from keras_inception.data.checking import check
from keras_inception.data.collection import Collection, awaited, is_same, without
from keras_inception.data.image_files import files_in, folders_in, loose_images
from keras_inception.errors import InputError, counted, on_one_line, shown
from keras_inception.network.labels import is_class_name
from keras_inception.types import Array, PathLike, Tensor

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}

FOLDER = "folder"

# A label that is a number, as tables write whole ones and others.
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?")

_NOT_THE_SAME = (
    "The images must be those that the run began with. Bring them back as they were, or begin anew in another folder."
)


class BadImagesError(InputError):
    """Images of a run, or of data that are in use, cannot be read or are gone.

    Attributes:
        reasons: By path, why.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons: dict[str, str] = dict(reasons)
        super().__init__(
            "Images are damaged or were removed. Bring them back, and the same command goes on; with "
            f"`--skip-bad-images` (`skip_bad_images=True`) it goes on without them. Received: {listed(reasons)}"
        )


# What to do where a split lacks a class.
ADD = "Add some, or remove that split."
REPAIR = "Repair what is damaged, or remove it, so that splits are drawn from the other files."

# By split, which of the folder's files it holds.
Splits: TypeAlias = dict[str, Array]


def read(
    folder: PathLike,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    *,
    skip_bad_images: bool = False,
    full_check: bool = False,
    record: Mapping[str, Any] | None = None,
    on_check: Callable[[int, int], None] | None = None,
) -> Collection:
    """Finds the images of a folder or a table, checks that each can be read, and splits what the folder does not.

    Args:
        folder: Path of `CLASS/*` or of `train/CLASS/*` beside `validation/CLASS/*` and `test/CLASS/*`; or of a table,
            see `table.rows`.
        seed: Decides, class by class, which images go to the splits that the folder lacks.
        validation_fraction: Share of the training images for validation where there is no folder of it, in [0, 1).
        test_fraction: Share of the images for testing where there is no folder of it, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files rather than refuse them.
        full_check: Whether to decode each file, rather than to look at its header and end.
        record: The record of an earlier reading, whose files and splits are taken; newer files are left out.
        on_check: Function of how many files were checked, and of how many there are, called from time to time.

    Returns:
        The files, sorted by path; their classes are called as the class folders, or the labels of the table, are.

    Raises:
        InputError: The folder has no images, fewer than two classes, classes without images, splits of different
            classes, or unreadable files, or lacks files of the record.
    """
    found = _of_table(Path(folder)) if table.is_table(Path(folder)) else _of_folder(Path(folder))
    folder, names, labels, class_names, splits, roots = found
    # The name of a file of a folder says its class, that of a table does not.
    suffixes = [f"-{class_names[label]}" if roots["train"].is_file() else "" for label in labels]
    looks, reasons = check(folder, names, full=full_check, on_check=on_check)
    known = zip(looks["size"].tolist(), looks["mark"].tolist(), suffixes)
    marks = [f"{size}-{mark:08x}{suffix}" for size, mark, suffix in known]
    added: list[str] = []
    before = [split for split, of in record["splits"].items() if of] if record else []
    skipped = set(reasons)
    if record is not None:
        removed = awaited(record).difference(map(_text, names))
        if removed and not skip_bad_images:
            raise BadImagesError({str(folder / name): "it is not there" for name in sorted(removed)})
        record, splits, added, damaged = _of_record(
            folder, without(record, removed), class_names, names, marks, reasons, skip_gone=skip_bad_images
        )
        reasons |= damaged
        skipped = {names[i] for files in splits.values() for i in files if names[i] in reasons}
    if skipped and not skip_bad_images:
        bad = {str(folder / name): reasons[name] for name in sorted(skipped)}
        if record is not None:
            raise BadImagesError(bad)
        raise InputError(
            "Every file of a dataset must be an image. Remove or repair these, or leave them out with "
            f"`--skip-bad-images` (`skip_bad_images=True`). Received: {listed(bad)}"
        )
    if record is None:  # drawn from all, so that it does not matter when an image turns out bad
        splits = _complete(splits, labels, seed, validation_fraction, test_fraction)
        before = [split for split, files in splits.items() if len(files)]
    is_read = np.array([name not in skipped for name in names], bool)
    splits = {split: files[is_read[files]] for split, files in splits.items()}
    if lost := [split for split, files in splits.items() if split in before and not len(files)]:
        way_out = "Bring them back." if record else REPAIR
        raise InputError(
            f"All images of a split are damaged or gone. {way_out} Received: {folder} without {', '.join(lost)}"
        )
    for split, files in splits.items():
        if split in roots:
            where, way_out = f"{roots[split]}, split {split}," if roots[split].is_file() else str(roots[split]), ADD
            if skipped:
                left_out = listed({str(folder / name): reasons[name] for name in sorted(skipped)})
                where = f"{where.removesuffix(',')}, after {left_out} was left out,"
                way_out = REPAIR
            found_classes = {class_names[label] for label in np.unique(labels[files])}
            _check_classes(where, found_classes, class_names, way_out if record is None else "Bring them back.")
    record = {
        "source": FOLDER,
        "classes": class_names,
        "splits": {split: {_text(names[i]): marks[i] for i in files} for split, files in splits.items()},
        "skipped": sorted({_text(name) for name in skipped}.union(record["skipped"] if record else ())),
    }

    @functools.cache
    def tensors(split: str) -> tuple[Tensor, Tensor]:
        """Returns names and labels, once, so that no graph holds a copy of them."""
        with tf.init_scope():  # names need not be UTF-8
            files = splits[split]
            return tf.constant([os.fsencode(names[i]) for i in files], tf.string), tf.constant(labels[files], tf.int64)

    def find_bad_images() -> dict[str, str]:
        reasons = check(folder, names, full=True, on_check=on_check)[1]
        used = (names[i] for files in splits.values() for i in files)
        return {str(folder / name): reasons[name] for name in used if name in reasons}

    sizes = {split: len(files) for split, files in splits.items()}
    return Collection(
        examples=lambda split: tf.data.Dataset.from_tensor_slices(tensors(split)),
        encoded=lambda name: tf.io.read_file(tf.strings.join([os.fsencode(os.path.join(folder, "")), name])),
        class_names=class_names,
        sizes=sizes,
        side=int(np.median(looks["side"][np.concatenate(list(splits.values()))])),
        shuffle_buffer=sizes["train"],  # names are small
        record=record,
        skipped=[str(folder / name) for name in record["skipped"]],
        added=added,
        find_bad_images=find_bad_images,
    )


class _Found(NamedTuple):
    """What a folder or a table names: files by their paths within a folder, and where the given splits stand."""

    folder: Path
    names: list[str]
    labels: Array
    class_names: list[str]
    splits: Splits
    roots: dict[str, Path]


def root(dataset: PathLike) -> Path:
    """Returns the folder within which the images of a dataset, a folder or a table, are named."""
    return table.root(Path(dataset)) if table.is_table(Path(dataset)) else Path(dataset)


def _of_table(path: Path) -> _Found:
    rows = table.rows(path)
    given = {row.split for row in rows}
    splits = {split: [name for name in given if name.lower() in names] for split, names in SPLIT_FOLDERS.items()}
    if unknown := given.difference(*splits.values()):
        raise InputError(
            f"`split` in a table must be train, validation or test. Received: {path} with {', '.join(sorted(unknown))}"
        )
    classes = {row.label for row in rows}
    numbers = all(_NUMBER.fullmatch(name) for name in classes)
    class_names = sorted(classes, key=lambda name: (Decimal(name) if numbers else 0, name))  # `int` bounds the digits
    places = {name: index for index, name in enumerate(class_names)}
    files = {
        split: np.array([i for i, row in enumerate(rows) if row.split in of]) for split, of in splits.items() if of
    }
    if len(class_names) < 2 or "train" not in files:
        raise InputError(
            "A table must name training images of at least two classes. "
            f"Received: {path} with classes {class_names} and splits {sorted(given)}"
        )
    labels = np.array([places[row.label] for row in rows])
    return _Found(root(path), [row.path for row in rows], labels, class_names, files, dict.fromkeys(files, path))


def _of_folder(folder: Path) -> _Found:
    roots = _split_roots(folder)
    classes = sorted(path.name for path in folders_in(roots["train"]))
    if len(classes) < 2:
        raise InputError(
            "A folder of images must hold at least two class folders (CLASS/image.jpg, or train/CLASS/image.jpg), "
            f"because with one class there is nothing to tell apart. Received: {folder} with {classes or 'none'}"
        )
    _check_names(folder, classes)
    class_names = [_text(name) for name in classes]
    for root in roots.values():
        _check_classes(root, [path.name for path in folders_in(root)], classes)

    # Of a million files only their names within the folder are kept as texts.
    start = len(os.path.join(folder, ""))
    names: list[str] = []
    counts = []
    for root in roots.values():
        for name in classes:
            before = len(names)
            names += (path[start:] for path in files_in(os.path.join(folder, root.relative_to(folder) / name)))
            counts.append(len(names) - before)
    labels = np.repeat(np.tile(np.arange(len(classes)), len(roots)), counts)
    ends = np.cumsum([sum(counts[i : i + len(classes)]) for i in range(0, len(counts), len(classes))])
    splits: Splits = dict(zip(roots, np.split(np.arange(len(names)), ends[:-1])))
    return _Found(folder, names, labels, class_names, splits, roots)


def _of_record(
    folder: Path,
    record: Mapping[str, Any],
    classes: list[str],
    names: Sequence[str],
    marks: Sequence[str],
    reasons: Mapping[str, str],
    *,
    skip_gone: bool,
) -> tuple[Mapping[str, Any], Splits, list[str], dict[str, str]]:
    """Takes the files of the splits of a record.

    Args:
        folder: Where the files are.
        record: Their record.
        classes: The classes that the folder has now.
        names: The files that it has now.
        marks: What their contents are marked by.
        reasons: Why some cannot be read.
        skip_gone: Whether files that are not there any more are left out.

    Returns:
        The record without those, the files of its splits, the names of those that are newer, and why some whose content
        is another cannot be read, which their headers did not tell.
    """
    if record["source"] != FOLDER:
        raise InputError(f"{_NOT_THE_SAME} They were {record['source']!r} and are a folder. Received: {folder}")
    if record["classes"] != classes:
        changed_to = f"Classes {shown(record['classes'])} are now {shown(classes)}"
        raise InputError(f"{_NOT_THE_SAME} {changed_to}. Received: {folder}")
    places = {_text(name): place for place, name in enumerate(names)}
    was = {name: mark for split in record["splits"].values() for name, mark in split.items()}
    gone = [name for name in was if name not in places]
    others = [name for name in was if name in places and not is_same(marks[places[name]], was[name])]
    others = [name for name in others if names[places[name]] not in reasons]  # damaged
    damaged = check(folder, [names[places[name]] for name in others], full=True)[1] if others else {}
    changed = [name for name in others if names[places[name]] not in damaged]
    if changed or (gone and not skip_gone):
        bad = [name for name in was if name in places and names[places[name]] in {**reasons, **damaged}]
        and_damaged = f", {len(bad)} damaged" if bad else ""
        way_out = "" if changed else " With `--skip-bad-images` (`skip_bad_images=True`) it goes on without them."
        raise InputError(
            f"{_NOT_THE_SAME}{way_out} {counted(len(gone), 'file')} gone, {len(changed)} with another content"
            f"{and_damaged}, such as {', '.join(map(on_one_line, (*changed[:1], *gone[:1], *bad[:1])))}. "
            f"Received: {folder}"
        )
    added = sorted(places.keys() - was.keys() - set(record["skipped"]))
    record = without(record, set(gone))
    splits = {split: np.array([places[name] for name in of], int) for split, of in record["splits"].items()}
    return record, splits, added, damaged


def _text(name: str) -> str:
    """Returns a name on the disk as a text: UTF-8, whatever the locale says; other bytes are escaped."""
    if sys.getfilesystemencoding() == "utf-8":
        return name
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _split_roots(folder: Path) -> dict[str, Path]:
    """Returns the folders of the splits by name; the folder itself, as "train", where it is not divided."""
    within = folders_in(folder)
    roots = {split: [path for path in within if path.name.lower() in names] for split, names in SPLIT_FOLDERS.items()}
    splits = [path for paths in roots.values() for path in paths]
    others = [path.name for path in within if path not in splits]
    if splits and (others or not roots["train"]):
        raise InputError(
            "Folders called train, validation or test hold the class folders of a split each; there must be one for "
            "training, and no other folder beside them. Rename a class that is called so, or put all class folders "
            "into one called train; put elsewhere what is not to be read. "
            f"Received: {folder} with {', '.join(path.name for path in splits)} beside {', '.join(others) or 'none'}"
        )
    for root in (folder, *splits):
        if loose := loose_images(root):
            raise InputError(
                "Every image must stand in a class folder, or it has no class. Move these, or put them elsewhere. "
                f"Received: {root} with {len(loose)} beside the class folders, such as {loose[0]}"
            )
    for split, paths in roots.items():
        if len(paths) > 1:
            raise InputError(
                f"There must be one folder of {split} images, or part of them would be left out. Put them together. "
                f"Received: {folder} with {' and '.join(path.name for path in paths)}"
            )
    return {split: path for split, paths in roots.items() for path in paths} or {"train": folder}


def _check_names(folder: Path, classes: Sequence[str]) -> None:
    for name in classes:
        if not is_class_name(_text(name)):
            raise InputError(
                "The name of a class folder must be one line of UTF-8 that a terminal shows. Rename it. "
                f"Received: {str(folder / name)!r}"
            )


def _check_classes(where: PathLike, found: Iterable[str], classes: Sequence[str], way_out: str = ADD) -> None:
    """Refuses a split whose classes are not those that are trained."""
    found = set(found)
    lacking = [name for name in classes if name not in found]
    others = sorted(found - set(classes))
    if lacking or others:
        what = [f"without images of {lacking}"] * bool(lacking) + [f"with other classes {others}"] * bool(others)
        raise InputError(
            f"Every class needs images, in each of the splits for training, validation and testing. {way_out} "
            f"Received: {where} {' and '.join(what)}"
        )


def listed(reasons: Mapping[str, str]) -> str:
    """Returns some files, with what is wrong with each, as a text."""
    some = "; ".join(f"{on_one_line(path)}: {reason}" for path, reason in list(reasons.items())[:5])
    return some + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")


def _complete(splits: Splits, labels: Array, seed: int, validation_fraction: float, test_fraction: float) -> Splits:
    """Adds the splits that are missing, drawn class by class from the training images."""
    random = np.random.default_rng(seed)
    fractions = {"validation": validation_fraction, "test": test_fraction}
    missing = {split: fraction for split, fraction in fractions.items() if split not in splits}
    drawn: dict[str, list[Array]] = {split: [] for split in ("train", *missing)}
    of_training = splits["train"]
    for label in np.unique(labels[of_training]):
        files = of_training[labels[of_training] == label]
        order = files[random.permutation(len(files))]
        left = len(files)
        for split, fraction in missing.items():
            # At least one of three or more images of a class, but never the last one for training.
            count = max(round(fraction * len(files)), 1 if len(files) > len(missing) and fraction > 0 else 0)
            count = min(count, left - 1)
            drawn[split].append(order[left - count : left])
            left -= count
        drawn["train"].append(order[:left])
    return {**splits, **{split: np.sort(np.concatenate(parts)) for split, parts in drawn.items()}}
