"""Images that stand in more than one split: what is tested on was trained on."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_inception.data.folder import FOLDER, root
from keras_inception.data.image_files import read_bytes
from keras_inception.data.loading import Data
from keras_inception.types import PathLike

Place = tuple[str, str]


def across_splits(dataset: PathLike, data: Data) -> list[list[Place]]:
    """Returns the images whose bytes are the same in several splits: lists of their places, pairs of split and name.

    Args:
        dataset: What `data` was loaded from.
        data: What `load` returned. Of a TFDS dataset all images are read, and a name is the place in the split.
    """
    if data.record["source"] != FOLDER:
        return _shared((hashlib.sha256(image).digest(), place) for place, image in _images(data))
    marked = _shared(
        (_content(mark), (split, name))
        for split, marks in data.record["splits"].items()
        for name, mark in marks.items()
    )
    folder = root(dataset)
    return [
        group
        for places in marked
        for group in _shared((hashlib.sha256(read_bytes(Path(folder, place[1]))).digest(), place) for place in places)
    ]


def trained_on(run: Mapping[str, Any], record: Mapping[str, Any], split: str) -> bool:
    """Returns whether images of a split were training images of a run, as far as the records of their data tell.

    Args:
        run: The record of what the run was trained on, see `Data.record`.
        record: That of the data with the split.
        split: Its name.
    """
    if run["source"] != record["source"]:
        return False
    if run["source"] != FOLDER:  # of splits drawn with two seeds, parts are in both
        return split != "train" and run["splits"].get(split) != record["splits"][split]
    trained, asked = (
        {_content(mark) for mark in splits.values()} for splits in (run["splits"]["train"], record["splits"][split])
    )
    return not trained.isdisjoint(asked)


def _content(mark: str | int) -> str:
    """Returns a mark without the label that a table adds."""
    return "-".join(str(mark).split("-")[:2])


def _images(data: Data) -> Iterator[tuple[Place, bytes]]:
    for split in data.sizes:
        for index, (image, _) in enumerate(data.pipeline.collection.examples(split).as_numpy_iterator()):
            yield (split, str(index)), image


def _shared(found: Iterator[tuple[object, Place]]) -> list[list[Place]]:
    groups = defaultdict(list)
    for key, place in found:
        groups[key].append(place)
    return [places for places in groups.values() if len({split for split, _ in places}) > 1]
