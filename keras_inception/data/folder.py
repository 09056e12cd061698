"""A folder of class folders: its files, its classes, its splits."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_inception.data.collection import Collection
from keras_inception.data.decoding import decode_or_say_why
from keras_inception.data.image_files import files_in, folders_in, loose_images, read_bytes
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
    on_check: Callable[[int, int], None] | None = None,
) -> Collection:
    """Finds the images of a folder, checks that each can be read, and splits what the folder does not.

    Args:
        folder: Path of `CLASS/*` or of `train/CLASS/*` beside `validation/CLASS/*` and `test/CLASS/*`.
        seed: Decides, class by class, which images go to the splits that the folder lacks.
        validation_fraction: Share of the training images for validation where there is no folder of it, in [0, 1).
        test_fraction: Share of the images for testing where there is no folder of it, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files rather than refuse them.
        record: The record of an earlier reading, whose files and splits are taken; newer files are left out.
        on_check: Function of how many files were checked, and of how many there are, called after each.

    Returns:
        The files, sorted by path; their classes are called as the class folders are.

    Raises:
        InputError: The folder has no images, fewer than two classes, classes without images, splits of different
            classes, or unreadable files, or lacks files of the record.
    """
    folder = Path(folder)
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
    splits = {
        split: [(path, label) for label, name in enumerate(classes) for path in files_in(root / name)]
        for split, root in roots.items()
    }
    names = {path: _text(Path(path).relative_to(folder).as_posix()) for files in splits.values() for path, _ in files}
    added: list[str] = []
    if record is not None:
        known = {names[file[0]]: file for files in splits.values() for file in files}
        splits, added = _of_record(folder, record, class_names, known)
    paths = [path for files in splits.values() for path, _ in files]
    sides, reasons = _check(paths, on_check)
    if reasons and (record is not None or not skip_bad_images):
        raise InputError(
            "Every file in a class folder must be an image. Remove or repair these, or leave them out with "
            f"`--skip-bad-images` (`skip_bad_images=True`). Received: {_listed(reasons)}"
        )
    splits = {split: [file for file in files if file[0] not in reasons] for split, files in splits.items()}
    for split, root in roots.items():
        if record is None:
            _check_classes(root, {classes[label] for _, label in splits[split]}, classes)
    if record is None:
        splits = _complete(splits, seed, validation_fraction, test_fraction)
        record = {
            "source": FOLDER,
            "classes": class_names,
            "splits": {split: {names[path]: _size(path) for path, _ in files} for split, files in splits.items()},
            "skipped": sorted(names[path] for path in reasons),
        }

    # Names need not be UTF-8.
    encoded = {split: [(os.fsencode(path), label) for path, label in files] for split, files in splits.items()}

    def examples(split: str) -> Dataset:
        paths, labels = zip(*encoded[split])
        return tf.data.Dataset.from_tensor_slices((list(paths), tf.constant(labels, tf.int64)))

    def name_bad_images() -> None:
        _, bad = _check(paths)
        if bad:
            raise InputError(
                "Images were damaged or removed since they were checked. Bring them back, and the same command goes "
                f"on. Received: {_listed(bad)}"
            )

    sizes = {split: len(files) for split, files in splits.items()}
    return Collection(
        examples=examples,
        encoded=tf.io.read_file,
        class_names=class_names,
        sizes=sizes,
        side=int(np.median(sides)),
        shuffle_buffer=sizes["train"],  # paths are small
        record=dict(record),
        skipped=[str(folder / name) for name in record["skipped"]],
        added=added,
        name_bad_images=name_bad_images,
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


def _text(name: str) -> str:
    """Returns a name on the disk as a text: UTF-8, whatever the locale says; other bytes are escaped."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _size(path: str) -> int:
    return Path(path).stat().st_size


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
        text = _text(name)
        if text.splitlines() != [text] or text.encode("utf-8", "replace").decode() != text:
            raise InputError(
                "The name of a class folder must be one line of UTF-8, as the names of classes are written. Rename it. "
                f"Received: {str(folder / name)!r}"
            )


def _check_classes(root: Path, found: Iterable[str], classes: Sequence[str]) -> None:
    """Refuses a split whose classes are not those that are trained."""
    found = set(found)
    lacking = [name for name in classes if name not in found]
    others = sorted(found - set(classes))
    if lacking or others:
        what = [f"without images of {lacking}"] * bool(lacking) + [f"with other classes {others}"] * bool(others)
        raise InputError(
            "Every class needs images, in each of the folders for training, validation and testing. Add some, or "
            f"remove the folder. Received: {root} {' and '.join(what)}"
        )


def _check(
    paths: Sequence[str], on_check: Callable[[int, int], None] | None = None
) -> tuple[list[int], dict[str, str]]:
    """Returns the shorter sides of the readable files in pixels, and the reasons of the others by path."""

    def check(path: str) -> int | str:
        try:
            image = decode_or_say_why(read_bytes(path))
        except InputError as error:
            return str(error)
        return image if isinstance(image, str) else int(min(image.shape[:2]))

    # TensorFlow decodes outside of Python's lock. The bytes are read here, so that memory stays that of a few files.
    results: dict[str, int | str] = {}
    with ThreadPoolExecutor() as pool:
        for done, (path, result) in enumerate(zip(paths, pool.map(check, paths)), start=1):
            results[path] = result
            if on_check is not None:
                on_check(done, len(paths))
    reasons = {path: result for path, result in results.items() if isinstance(result, str)}
    return [result for result in results.values() if not isinstance(result, str)], reasons


def _listed(reasons: Mapping[str, str]) -> str:
    listed = "; ".join(f"{path}: {reason}" for path, reason in list(reasons.items())[:5])
    return listed + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")


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
