"""Where examples come from: what a folder of images and a TFDS dataset have in common."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from keras_inception.types import Tensor


@dataclass(frozen=True)
class Collection:
    """Labelled images that have not been read.

    Attributes:
        examples: Function of a split's name that returns its examples one by one, in a fixed order: pairs of a string
            and a label, int64.
        encoded: Function from such a string to the bytes of the image.
        class_names: The names of the classes in the order of the labels.
        sizes: The number of examples by split: `"train"`, and those of `"validation"` and `"test"` that there are.
        side: The shorter side of the images in pixels; of images of many sizes the median one.
        shuffle_buffer: How many examples may wait in memory to be shuffled.
        record: What tells these data from others, as JSON: the source, the classes, and the examples of each split.
        skipped: The paths of unreadable files that were left out.
        added: The files that were left out because a record does not have them.
        find_bad_images: Function that decodes all images and returns, by path, why some cannot be read.
    """

    examples: Callable[[str], tf.data.Dataset]
    encoded: Callable[[Tensor], Tensor]
    class_names: list[str]
    sizes: dict[str, int]
    side: int
    shuffle_buffer: int
    record: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    find_bad_images: Callable[[], dict[str, str]] = dict


def without(record: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    """Returns the record of a folder in which some files are noted as left out."""
    splits = {
        split: {name: mark for name, mark in files.items() if name not in names}
        for split, files in record["splits"].items()
    }
    return {**record, "splits": splits, "skipped": sorted({*record["skipped"], *names})}


def repairable(record: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    """Returns the record of a folder or a table in which some files may have any content, under their labels."""
    splits = {
        split: {name: _any_content(mark) if name in names else mark for name, mark in files.items()}
        for split, files in record["splits"].items()
    }
    return {**record, "splits": splits}


def awaited(record: Mapping[str, Any]) -> set[str]:
    """Returns the files of a record that may have any content."""
    return {name for files in record["splits"].values() for name, mark in files.items() if mark == _any_content(mark)}


def is_same(mark: str, was: str | int) -> bool:
    """Returns whether a file is what a record says; that of an earlier version says its size alone."""
    if isinstance(was, int):
        return mark.split("-")[0] == str(was)
    return was in (mark, _any_content(mark))


def _any_content(mark: str | int) -> str:
    """Returns the mark, "SIZE-CHECKSUM" or in a table "SIZE-CHECKSUM-LABEL", without what the content says."""
    return re.sub(r"^-?\d+(-[0-9a-f]{8})?", "*", str(mark))


def fingerprint(record: Mapping[str, Any]) -> str:
    """Returns what two records of the same examples have in common, whatever their splits."""
    examples = record.get("sizes") or {
        name: mark for names in record["splits"].values() for name, mark in names.items()
    }
    text = json.dumps([record["source"], record["classes"], sorted(examples.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
