import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf
from image_bytes import blocks, encode, exif

from keras_inception import data
from keras_inception.cli.command import told
from keras_inception.data import cache
from keras_inception.errors import InputError
from keras_inception.recipes import Augmentation

FILES = {
    "wide.jpg": encode(blocks(48, 72), "JPEG"),
    "turned.jpg": encode(blocks(40, 64, seed=1), "JPEG", exif=b"Exif\0\0" + exif(6)),
    "grey.jpg": encode(blocks(64, 40, seed=2).convert("L"), "JPEG"),
    "small.png": encode(blocks(16, 24, seed=3), "PNG"),
}


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / "photographs"
    for split in ("train", "validation"):
        for name in ("asters", "birches"):
            (root / split / name).mkdir(parents=True)
            for file, content in FILES.items():
                (root / split / name / file).write_bytes(content)
    return root


def load(root, place=None, channels=3):
    augmentation = Augmentation(crop_area=(0.08, 1.0), flip=True)
    return data.load(root, image_size=32, architecture="googlenet_small", batch_size=3, test_fraction=0,
                     channels=channels, augmentation=augmentation, cache=place)  # fmt: skip


def epochs(loaded, count=2):
    """Batches of some epochs, each of training and validation."""
    batches = loaded.train_from(0)
    train = iter(batches.take(count * loaded.steps_per_epoch))
    found = []
    for _ in range(count):
        found += [next(train) for _ in range(loaded.steps_per_epoch)] + list(loaded.validation)
        yield [[x.numpy() for x in batch] for batch in found]


@pytest.mark.parametrize(("kind", "channels"), [("memory", 1), ("disk", 3)])
def test_kept_images_are_those_of_the_files_which_are_not_read_again(photographs, kind, channels, tmp_path):
    place = "memory" if kind == "memory" else tmp_path / "kept"
    *_, expected = epochs(load(photographs, channels=channels))
    read = epochs(load(photographs, place, channels))
    next(read)
    shutil.rmtree(photographs)
    found = next(read)
    assert len(found) == len(expected) == 12
    for batch, other in zip(found, expected):
        for x, y in zip(batch, other):
            np.testing.assert_array_equal(x, y)
    assert (tmp_path / "kept").exists() == (kind == "disk")


def test_the_expected_size_is_that_of_the_decoded_images(photographs):
    pixels = 48 * 72 + 40 * 64 + 64 * 40 + 16 * 24
    assert load(photographs, "memory").cached_bytes == 4 * pixels * 3
    assert load(photographs).cached_bytes == 0


def test_images_that_do_not_fit_are_refused_before_the_first(photographs, tmp_path, monkeypatch):
    class Memory:
        available = 4000

    monkeypatch.setattr(cache.psutil, "virtual_memory", Memory)
    message = r"need about 0.0 GiB, and 0.0 GiB of this machine's memory are free for them. Keep them on disk, or use"
    with pytest.raises(InputError, match=message):
        load(photographs, "memory")

    place = tmp_path / "not" / "there"
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 0, 9))
    with pytest.raises(InputError, match=r"on the disk of .*there are free for them. Make room there, .*cache='/.*'"):
        load(photographs, place)
    assert not place.parent.exists()


def test_a_disk_that_becomes_full_is_one_line(photographs, tmp_path):
    loaded = load(photographs, tmp_path / "kept")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # of each file: the system refuses as a full disk does
    try:
        with pytest.raises(tf.errors.OpError) as caught, loaded.reading():
            list(loaded.validation)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = told(caught.value)
    assert said.startswith("File too large (")
    assert said.endswith("kept/-1/-1): choose another place, or make room")
