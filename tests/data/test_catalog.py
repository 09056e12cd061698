"""The bundled digits, and datasets of TFDS."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data import catalog  # noqa: E402, after the skip


def test_digits_are_all_1797_images_with_the_same_test_images_for_every_seed():
    assert data.load("digits").image_shape == (80, 80, 3)
    first, second = (data.load("digits", seed=seed, image_size=8) for seed in (0, 1))
    assert sum(first.sizes.values()) == 1797
    assert first.sizes["test"] == 360
    assert first.class_names == list("0123456789")
    assert first.original_side == 8
    np.testing.assert_array_equal(labels(first.test), labels(second.test))
    assert labels(first.validation).tolist() != labels(second.validation).tolist()


def test_on_one_core_the_end_of_the_data_waits_for_no_tuner():
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        digits = data.load("digits", image_size=8)
        assert digits.train.options().autotune.enabled is False
        assert digits.validation.options().autotune.enabled is False
    finally:
        os.sched_setaffinity(0, cores)


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected = np.round(load_digits().images.sum((1, 2)) * 255 / 16)
    builder = catalog.prepare("digits")
    found = [
        image.numpy().astype(int).sum()
        for split in ("train", "test")
        for image, _ in builder.as_dataset(split=split, as_supervised=True)
    ]
    # Each pixel is rounded to 8 bits, 64 pixels an image.
    np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=32)


def labels(batches):
    return np.concatenate([batch.numpy() for _, batch in batches])


class Untested(tfds.core.GeneratorBasedBuilder):
    """Ten numbered examples with a training split alone."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # TFDS looks for a package, and this file is in none

    def _info(self):
        features = {"image": tfds.features.Image(shape=(2, 2, 3)), "label": tfds.features.ClassLabel(num_classes=10)}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": ((i, {"image": np.full((2, 2, 3), i, "uint8"), "label": i}) for i in range(10))}

    def _generate_examples(self):
        raise NotImplementedError


@pytest.mark.parametrize("seed", range(4))
def test_splits_that_a_dataset_lacks_are_cut_out_of_its_training_examples(tmp_path, seed):
    builder = Untested(data_dir=tmp_path)
    builder.download_and_prepare()
    splits = catalog.splits(builder, seed, validation_fraction=0.2, test_fraction=0.3)
    found = {
        name: {int(label) for _, label in builder.as_dataset(split=split, as_supervised=True)}
        for name, split in splits.items()
    }
    assert {name: len(examples) for name, examples in found.items()} == {"validation": 2, "test": 3, "train": 5}
    assert set.union(*found.values()) == set(range(10))


def test_a_dataset_that_cannot_be_downloaded_is_refused_at_once(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setattr(catalog.socket, "create_connection", unreachable)
    for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=r"'mnist' must be downloaded.*no network.*or use a folder of images"):
        data.load("mnist")


def test_an_unknown_dataset_is_refused_with_a_guess():
    with pytest.raises(ValueError, match=r"neither a folder nor a dataset.*Did you mean digits\? .*dataset='digitz'"):
        data.load("digitz")


def test_a_dataset_without_class_labels_is_refused():
    with pytest.raises(ValueError, match=r"pairs of an image and a class label.*'coco'"):
        data.load("coco")


def test_data_are_shown_in_a_line():
    digits = data.load("digits", image_size=8)
    sizes = ", ".join(f"{split} {digits.sizes[split]:,}" for split in ("train", "validation", "test"))
    assert repr(digits) == f"<Data: {sizes} images of 8x8x3, 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9>"
    many = dataclasses.replace(digits, class_names=[f"class {number}" for number in range(1000)])
    assert "1000 classes: class 0, class 1, " in repr(many)
    assert len(repr(many)) < 700
