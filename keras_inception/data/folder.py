"""A folder of class folders: its files, its classes, its splits."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_inception.data.collection import Collection
from keras_inception.data.decoding import decode, why_unreadable
from keras_inception.errors import InputError
from keras_inception.types import Dataset, PathLike

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}

FOLDER = "folder"

_NOT_THE_SAME = (
    "The images must be those that the run began with. Bring them back as they were, or begin anew in another folder."
)

# By split, pairs of a path and the index of its class.
Splits: TypeAlias = dict[str, list[tuple[str, int]]]


def read(
    folder: PathLike,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    *,
    skip_bad_images: bool = False,
    record: Mapping[str, Any] | None = None,
) -> Collection:
    """Finds the images of a folder, checks that each can be read, and splits what the folder does not.

    Args:
        folder: Path of `CLASS/*` or of `train/CLASS/*` beside `validation/CLASS/*` and `test/CLASS/*`.
        seed: Decides, class by class, which images go to the splits that the folder lacks.
        validation_fraction: Share of the training images for validation where there is no folder of it, in [0, 1).
        test_fraction: Share of the images for testing where there is no folder of it, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files rather than refuse them.
        record: The record of an earlier reading, whose files and splits are taken; newer files are left out.

    Returns:
        The files, sorted by path; their classes are called as the class folders are.

    Raises:
        InputError: The folder has no images, fewer than two classes, classes without images, or unreadable files, or
            lacks files of the record.
    """
    folder = Path(folder)
    roots = _split_roots(folder)
    classes = sorted({path.name for root in roots.values() for path in _folders(root)})
    if len(classes) < 2:
        raise InputError(
            "A folder of images must hold at least two class folders (CLASS/image.jpg, or train/CLASS/image.jpg), "
            f"because with one class there is nothing to tell apart. Received: {folder} with {classes or 'none'}"
        )
    splits = {
        split: [(str(path), label) for label, name in enumerate(classes) for path in _files(root / name)]
        for split, root in roots.items()
    }
    names = {path: Path(path).relative_to(folder).as_posix() for files in splits.values() for path, _ in files}
    added: list[str] = []
    if record is not None:
        known = {names[file[0]]: file for files in splits.values() for file in files}
        splits, added = _of_record(folder, record, classes, known)
    sides, reasons = _check([path for files in splits.values() for path, _ in files])
    if reasons and (record is not None or not skip_bad_images):
        listed = "; ".join(f"{path}: {reason}" for path, reason in list(reasons.items())[:5])
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        raise InputError(
            "Every file in a class folder must be an image. Remove or repair these, or leave them out with "
            f"`--skip-bad-images` (`skip_bad_images=True`). Received: {listed}{more}"
        )
    splits = {split: [file for file in files if file[0] not in reasons] for split, files in splits.items()}
    _check_every_class(folder, splits["train"], classes)
    if record is None:
        splits = _complete(splits, seed, validation_fraction, test_fraction)
        record = {
            "source": FOLDER,
            "classes": classes,
            "splits": {split: {names[path]: _size(path) for path, _ in files} for split, files in splits.items()},
            "skipped": sorted(names[path] for path in reasons),
        }

    def examples(split: str) -> Dataset:
        paths, labels = zip(*splits[split])
        return tf.data.Dataset.from_tensor_slices((list(paths), tf.constant(labels, tf.int64)))

    sizes = {split: len(files) for split, files in splits.items()}
    return Collection(
        examples=examples,
        encoded=tf.io.read_file,
        class_names=classes,
        sizes=sizes,
        side=int(np.median(sides)),
        shuffle_buffer=sizes["train"],  # paths are small
        record=dict(record),
        skipped=[str(folder / name) for name in record["skipped"]],
        added=added,
    )


def _of_record(
    folder: Path, record: Mapping[str, Any], classes: list[str], files: dict[str, tuple[str, int]]
) -> tuple[Splits, list[str]]:
    """Returns the files of the splits of a record, and the names of those that are newer."""
    if record["source"] != FOLDER:
        raise InputError(f"{_NOT_THE_SAME} They were {record['source']!r} and are a folder. Received: {folder}")
    if record["classes"] != classes:
        raise InputError(f"{_NOT_THE_SAME} Classes {record['classes']} are now {classes}. Received: {folder}")
    was = {name: size for split in record["splits"].values() for name, size in split.items()}
    gone = [name for name in was if name not in files]
    changed = [name for name in was if name in files and _size(files[name][0]) != was[name]]
    if gone or changed:
        raise InputError(
            f"{_NOT_THE_SAME} {len(gone)} files are gone and {len(changed)} are of another size, such as "
            f"{(gone + changed)[0]}. Received: {folder}"
        )
    added = sorted(files.keys() - was.keys() - set(record["skipped"]))
    return {split: [files[name] for name in names] for split, names in record["splits"].items()}, added


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    hidden = {"Thumbs.db", "desktop.ini"}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in hidden
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _split_roots(folder: Path) -> dict[str, Path]:
    """Returns the folders of the splits by name; the folder itself, as "train", where it is not divided."""
    names = {path.name.lower(): path for path in _folders(folder)}
    roots = {split: names[alias] for split, aliases in SPLIT_FOLDERS.items() for alias in aliases if alias in names}
    divided = "train" in roots and any(_folders(roots["train"]))
    return roots if divided else {"train": folder}


def _check(paths: list[str]) -> tuple[list[int], dict[str, str]]:
    """Returns the shorter sides of the readable files in pixels, and the reasons of the others by path."""

    def check(path: str) -> int | str:
        encoded = Path(path).read_bytes()
        reason = why_unreadable(encoded)
        return reason or int(min(decode(encoded).shape[:2]))

    # TensorFlow decodes outside of Python's lock. The bytes are read here, so that memory stays that of a few files.
    with ThreadPoolExecutor() as pool:
        results = dict(zip(paths, pool.map(check, paths)))
    reasons = {path: result for path, result in results.items() if isinstance(result, str)}
    return [result for result in results.values() if not isinstance(result, str)], reasons


def _check_every_class(folder: Path, files: list[tuple[str, int]], classes: list[str]) -> None:
    if not files:
        raise InputError(
            f"A folder of images must hold some. Received: {folder}, without one in its {len(classes)} classes"
        )
    missing = sorted(set(range(len(classes))) - {label for _, label in files})
    if missing:
        raise InputError(
            "Every class needs images to train on. Add some or remove the folder. "
            f"Received: {folder} without images of {[classes[label] for label in missing]}"
        )


def _complete(splits: Splits, seed: int, validation_fraction: float, test_fraction: float) -> Splits:
    """Adds the splits that are missing, drawn class by class from the training images."""
    random = np.random.default_rng(seed)
    missing = [
        (split, fraction)
        for split, fraction in (("validation", validation_fraction), ("test", test_fraction))
        if split not in splits
    ]
    drawn: Splits = {split: [] for split, _ in missing}
    train: list[tuple[str, int]] = []
    for label in sorted({label for _, label in splits["train"]}):
        files = [file for file in splits["train"] if file[1] == label]
        order = [files[i] for i in random.permutation(len(files))]
        for split, fraction in missing:
            # At least one of three or more images of a class, but never the last one for training.
            count = max(round(fraction * len(files)), 1 if len(files) > len(missing) and fraction > 0 else 0)
            drawn[split] += [order.pop() for _ in range(min(count, len(order) - 1))]
        train += order
    return {**splits, "train": sorted(train), **{split: sorted(files) for split, files in drawn.items()}}
