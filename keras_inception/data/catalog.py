"""Datasets by their TFDS names: the bundled digits, those of TFDS itself and of anybody's registered builders."""

import contextlib
import io
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_inception.data.collection import Collection
from keras_inception.errors import InputError, did_you_mean, shown
from keras_inception.types import Array, Dataset

SHUFFLE_BUFFER: int = 10_000
DIGITS: str = "digits"


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 greyscale 8x8 images of handwritten digits, as bundled with scikit-learn.

    Splits: `train` (1,437 images) and `test` (360), drawn class by class with a fixed seed.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """

    VERSION: tfds.core.Version = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The images of sklearn.datasets.load_digits."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        images = np.round(images.reshape(-1, 8, 8, 1) * 255 / 16).astype("uint8")  # 0..16 to 0..255
        # The same images are for testing whatever the seed of a training.
        train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
        return {
            split: self._generate_examples(images, labels, indices)
            for split, indices in (("train", train), ("test", test))
        }

    def _generate_examples(self, images: Array, labels: Array, indices: Array) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices:
            yield int(index), {"image": images[index], "label": int(labels[index])}


def read(
    name: str,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    *,
    record: Mapping[str, Any] | None = None,
) -> Collection:
    """Returns the examples of a dataset; see `prepare` and `splits`.

    Raises:
        InputError: They are not those of `record`.
    """
    builder = prepare(name)
    chosen = splits(builder, seed, validation_fraction, test_fraction)
    image, label = builder.info.supervised_keys
    found = {
        "source": builder.info.full_name,  # with its version
        "classes": list(builder.info.features[label].names),
        "splits": chosen,
        "sizes": {split: info.num_examples for split, info in builder.info.splits.items()},
    }
    if record is not None and record != found:
        different = [
            f"{key} {shown(record.get(key))} is now {shown(value)}"
            for key, value in found.items()
            if record.get(key) != value
        ]
        raise InputError(
            "The images must be those that the run began with. Bring them back, or begin anew in another folder. "
            f"Received: {name!r}, whose {'; '.join(different)}"
        )
    sides = [side for side in builder.info.features[image].shape[:2] if side]

    @tf.autograph.experimental.do_not_convert  # AutoGraph warns of TFDS's decorators
    def examples(split: str) -> Dataset:
        decoders = {image: tfds.decode.SkipDecoding()}
        return builder.as_dataset(split=chosen[split], as_supervised=True, shuffle_files=False, decoders=decoders)

    return Collection(
        examples=examples,
        encoded=lambda image: image,
        class_names=found["classes"],
        record=found,
        sizes={split: builder.info.splits[expression].num_examples for split, expression in chosen.items()},
        side=min(sides, default=10**6),  # where it is not known, images are taken to be large enough
        shuffle_buffer=SHUFFLE_BUFFER,
    )


def prepare(name: str) -> tfds.core.DatasetBuilder:
    """Returns a TFDS builder whose data is ready to read, downloading it where it must be and can be.

    Raises:
        InputError: There is no dataset of that name, its examples are not pairs of image and class, or it must be
            downloaded and cannot be.
    """
    builder = _builder(name)
    if builder.info.supervised_keys is None or not _is_classification(builder.info):
        raise InputError(
            "A dataset must hold pairs of an image and a class label. Choose another one. "
            f"Received: {name!r} with features {list(builder.info.features or ())}"
        )
    if builder.info.splits:  # it was prepared before
        return builder
    if name == DIGITS:
        # It takes a second and no network: TFDS's bars and lines would say nothing.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare()
        return builder
    _check_reachable(name, builder)
    try:
        builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(
            f"The dataset {name!r} could not be downloaded and prepared. Prepare it on a machine with a network and "
            f"copy it to {builder.data_path}, or use a folder of images. Reason: {str(error).strip().splitlines()[0]}"
        ) from error
    return builder


def _builder(name: str) -> tfds.core.DatasetBuilder:
    if name == DIGITS:
        return Digits()
    try:
        return tfds.builder(name, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError, TypeError) as error:
        known = sorted({DIGITS, *tfds.list_builders(with_community_datasets=False)})
        raise InputError(
            '`dataset` must be a folder of images, a table (.csv or .parquet), "digits", or the name of a TFDS '
            "dataset; there is neither a folder nor a dataset of this name. "
            f"{did_you_mean(name, known)}Received: dataset={name!r}"
        ) from error


def _is_classification(info: tfds.core.DatasetInfo) -> bool:
    keys = info.supervised_keys
    return (
        len(keys) == 2
        and isinstance(info.features[keys[0]], tfds.features.Image)
        and isinstance(info.features[keys[1]], tfds.features.ClassLabel)
    )


def _check_reachable(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Finds out at once whether there is a network: TFDS itself would retry for minutes."""
    if any(os.environ.get(variable) for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        return
    hosts = {urlsplit(url).hostname for url in builder.url_infos if "://" in str(url)} - {None}
    for host in sorted(hosts)[:1]:
        try:
            socket.create_connection((host, 443), timeout=5).close()
        except OSError as error:
            raise InputError(
                f"The dataset {name!r} must be downloaded, and {host} cannot be reached ({error}). Prepare it on a "
                f"machine with a network and copy it to {builder.data_path}, or use a folder of images."
            ) from error


def splits(
    builder: tfds.core.DatasetBuilder, seed: int, validation_fraction: float, test_fraction: float
) -> dict[str, str]:
    """Returns TFDS's split expressions for "train", "validation" and "test", those that exist or can be drawn.

    What the dataset lacks is cut out of its training examples, at a place that the seed decides; TFDS has shuffled
    them once on disk.
    """
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    if "train" not in sizes:
        raise InputError(
            f"A dataset must have a split called train. Received: {builder.name!r} with splits {sorted(sizes)}"
        )
    total = sizes["train"]
    chosen = {split: split for split in ("validation", "test") if sizes.get(split)}
    begin = seed * 7919 % total  # the windows begin at a place of their own for each seed
    for split, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if split not in chosen and (count := round(fraction * total)):
            chosen[split] = _window(begin, count, total)
            begin = (begin + count) % total
            sizes["train"] -= count
    start = seed * 7919 % total
    chosen["train"] = "train" if begin == start else _window(begin, sizes["train"], total)
    return chosen


def _window(begin: int, count: int, total: int) -> str:
    """Returns `count` examples from `begin` on, around the end of the split where need be."""
    end = begin + count
    if end <= total:
        return f"train[{begin}:{end}]"
    return f"train[{begin}:]+train[:{end - total}]"
