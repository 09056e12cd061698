"""Real handwritten digits that need no network: scikit-learn's 1,797 images as a TFDS dataset."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from keras_inception.types import Array

TEST_FRACTION: float = 0.2
SPLIT_SEED: int = 0  # fixes which images are for testing, whatever the seed of a training


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
        indices = np.arange(len(labels))
        train, test = train_test_split(indices, test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=labels)
        images = np.round(images.reshape(-1, 8, 8, 1) * 255 / 16).astype("uint8")  # 0..16 to 0..255
        return {
            "train": self._generate_examples(images, labels, train),
            "test": self._generate_examples(images, labels, test),
        }

    def _generate_examples(self, images: Array, labels: Array, indices: Array) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices:
            yield int(index), {"image": images[index], "label": int(labels[index])}
