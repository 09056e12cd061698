"""Images and labels from folders, bad ones included."""

import errno
import os
import shutil
import socket

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY

tf = pytest.importorskip("tensorflow")

from image_bytes import blocks, encode  # noqa: E402, after the skip

from keras_inception import data  # noqa: E402, after the skip
from keras_inception.data import folder  # noqa: E402, after the skip
from keras_inception.data.image_files import matching  # noqa: E402, after the skip
from keras_inception.errors import InputError  # noqa: E402, after the skip
from keras_inception.recipes import Augmentation  # noqa: E402, after the skip
from keras_inception.training import TrainConfig, train  # noqa: E402, after the skip


@pytest.fixture
def flowers(tmp_path):
    """Two classes of ten images each."""
    return make_classes(tmp_path / "flowers", {"daisy": 10, "rose": 10})


def make_classes(root, counts):
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (40, 36), (100 * number, 10 * index, 50)).save(root / name / f"{index}.png")
    return root


def splits_of(root, seed, validation_fraction=0.2, test_fraction=0.1):
    """Returns the paths and labels of a folder by split."""
    found = folder.read(root, seed, validation_fraction, test_fraction)
    splits = {split: [(path.numpy(), int(label)) for path, label in found.examples(split)] for split in found.sizes}
    assert found.sizes == {split: len(files) for split, files in splits.items()}
    return splits


def test_a_folder_of_class_folders_is_split_by_seed_and_by_class(flowers):
    first, again, other = (splits_of(flowers, seed) for seed in (0, 0, 1))
    assert {split: len(files) for split, files in first.items()} == {"train": 14, "validation": 4, "test": 2}
    for files in first.values():
        assert sum(label for _, label in files) == len(files) / 2
    assert len({path for files in first.values() for path, _ in files}) == 20
    assert first == again
    assert first != other


def test_a_seed_of_the_splits_leaves_the_order_to_the_seed(flowers):
    options = {"image_size": 8, "batch_size": 14, "validation_fraction": 0.2}

    def loaded(**seeds):
        of = data.load(flowers, **options, **seeds)
        (images, labels), *_ = of.train_from(0).take(1).as_numpy_iterator()
        return of.record["splits"], images, labels

    of_0, of_1, both = (loaded(**seeds) for seeds in ({"seed": 0}, {"seed": 1}, {"seed": 1, "split_seed": 0}))
    assert of_0[0] == both[0] != of_1[0]
    assert (of_0[1] != both[1]).any()
    assert sorted(of_0[1].flat) == sorted(both[1].flat)  # of the same images


def test_a_divided_folder_keeps_its_splits(tmp_path):
    make_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    make_classes(tmp_path / "val", {"cat": 2, "dog": 2})
    files = splits_of(tmp_path, 0)
    assert {split: len(found) for split, found in files.items()} == {"train": 8, "validation": 4, "test": 2}


def test_a_folder_becomes_batches_of_preprocessed_images(flowers):
    loaded = data.load(flowers, image_size=96, batch_size=4)
    images, found = next(iter(loaded.train))
    assert (loaded.class_names, images.shape, images.dtype) == (["daisy", "rose"], (4, 96, 96, 3), tf.float32)
    assert set(found.numpy()) <= {0, 1}
    assert -1 <= float(tf.reduce_min(images)) <= float(tf.reduce_max(images)) <= 1


def test_an_epoch_holds_every_training_example_once_in_an_order_that_the_seed_decides(flowers):
    options = {"image_size": 8, "batch_size": 3, "validation_fraction": 0, "test_fraction": 0}
    orders = [list(data.load(flowers, seed=seed, **options).train.unbatch()) for seed in (3, 3, 4)]
    first, again, other = ([tuple(image[0, 0].numpy()) for image, _ in order] for order in orders)
    assert len(set(first)) == 20  # each image has a colour of its own
    assert first == again
    assert first != other
    assert set(first) == set(other)


@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_training_that_goes_on_within_an_epoch_does_not_read_what_it_has_seen(flowers, step):
    augmentation = Augmentation(flip=True, brightness=0.2, mixup=0.2)
    options = {"image_size": 8, "batch_size": 3, "validation_fraction": 0.2, "test_fraction": 0.1}
    whole = data.load(flowers, **options, augmentation=augmentation)
    assert whole.steps_per_epoch == 5
    expected = list(whole.train_from(7).take(8).as_numpy_iterator())
    left = data.load(flowers, **options).train_from(7, step).take(5 - step)
    used = {
        tuple(round(255 * (level + 1) / 2) for level in image[0, 0]) for images, _ in left for image in images.numpy()
    }
    assert len(used) == max(14 - 3 * step, 0)
    # What was shown is gone. The epoch after that needs it again.
    for number, name in enumerate(("daisy", "rose")):
        for index in range(10):
            if (100 * number, 10 * index, 50) not in used:
                (flowers / name / f"{index}.png").unlink()
    found = list(whole.train_from(7, step).take(5 - step).as_numpy_iterator())
    assert len(found) == 5 - step
    for (images, labels), (same_images, same_labels) in zip(found, expected[step:5]):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    with pytest.raises(tf.errors.NotFoundError):
        list(whole.train_from(7, step).take(6 - step))


def test_a_training_that_goes_on_within_an_epoch_goes_on_to_the_next(flowers):
    whole = data.load(flowers, image_size=8, batch_size=3, augmentation=Augmentation(mixup=0.2))
    steps = whole.steps_per_epoch
    with pytest.raises(InputError, match=rf"`step` must be at most {steps}, .*Received: step={steps + 1}"):
        whole.train_from(2, steps + 1)
    expected = list(whole.train_from(2).take(2 * steps).as_numpy_iterator())
    found = list(whole.train_from(2, steps - 1).take(steps + 1).as_numpy_iterator())
    for (images, labels), (same_images, same_labels) in zip(found, expected[steps - 1 :], strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)


def test_every_door_sees_the_same_images(flowers, tmp_path, monkeypatch):
    """Those in deeper folders and behind links, and not what systems and network storage leave there."""
    deep = flowers / "rose" / "more"
    deep.mkdir()
    make_classes(tmp_path, {"elsewhere": 2, "tulip": 1})
    (deep / "linked").symlink_to(tmp_path / "elsewhere")
    (deep / "linked.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (flowers / "tulip").symlink_to(tmp_path / "tulip")
    for name in (".DS_Store", "Thumbs.db", "THUMBS.DB", "Desktop.ini", "desktop.ini"):
        (deep / name).write_bytes(b"x")
    for name in ("__MACOSX", ".cache", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"):
        for hidden in (flowers, deep):
            (hidden / name / "rose").mkdir(parents=True)
            (hidden / name / "rose" / "0.png").write_bytes(b"x")
    assert sum(map(len, splits_of(flowers, 0).values())) == 24
    below = [flowers / "daisy", flowers / "rose", deep / "linked", flowers / "tulip"]
    expected = sorted([deep / "linked.png", *(path for folder in below for path in folder.glob("*.png"))])
    for pattern in (flowers, flowers / "*", flowers / "**", flowers / "**" / "*.png", tmp_path / "**" / "flowers"):
        assert matching(str(pattern)) == [str(path) for path in expected]
    assert matching(str(flowers / "**" / "linked")) == sorted(map(str, (deep / "linked").iterdir()))
    monkeypatch.chdir(flowers)
    assert matching("**/2.png") == ["daisy/2.png", "rose/2.png"]
    for pattern in ("*/more/*.jpg", "**/*.jpg", "**/@eaDir/**", "rose/[m]ore/linked/9.png"):
        with pytest.raises(InputError, match="no image matches"):
            matching(pattern)


@pytest.mark.parametrize("pattern", ["secret/1.png", "secret/*.png", "*/more/1.png", "*/*.png", "secret/**/*.png"])
def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path, pattern, monkeypatch):
    for name in ("secret", "lost+found"):
        (tmp_path / name / "more").mkdir(parents=True)

    def refusing(function):
        def refuses(path, **options):
            if any(f"{name}{os.sep}" in os.path.join(path, "") for name in ("secret", "lost+found")):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return function(path, **options)

        return refuses

    for name in ("stat", "lstat", "scandir"):  # as for a user without the right, which the tests may have
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(PermissionError, match="secret"):
        matching(str(tmp_path / pattern))


@pytest.mark.parametrize("pattern", ["", "**"])
def test_a_link_that_leads_back_is_refused(flowers, pattern):
    (flowers / "rose" / "again").symlink_to(flowers / "daisy")
    (flowers / "daisy" / "again").symlink_to(flowers / "rose")
    for call in (lambda: splits_of(flowers, 0), lambda: matching(str(flowers / pattern))):
        with pytest.raises(InputError, match=r"must not lead back.*Received: .*daisy/again/again$"):
            call()


def test_names_that_are_not_utf_8_are_read(flowers):
    Image.new("RGB", (40, 36), (1, 2, 3)).save(flowers / "rose" / "0.png")
    os.rename(flowers / "rose" / "0.png", os.fsencode(flowers / "rose") + b"/\xff\xfe.png")
    loaded = data.load(flowers, image_size=8, validation_fraction=0, test_fraction=0)
    assert {tuple(image[0, 0].numpy()) for image, _ in loaded.originals("train")} >= {(1, 2, 3)}


@pytest.mark.parametrize("name", ["two\nlines", "two\u2028lines", b"\xff"])
def test_a_class_name_that_is_not_one_line_of_text_is_refused(flowers, name):
    os.rename(flowers / "rose", os.fsencode(flowers) + b"/" + os.fsencode(name))
    with pytest.raises(ValueError, match=r"one line of UTF-8.*Rename it\. Received: '.*(lines|udcff)'$"):
        data.load(flowers)


@pytest.mark.parametrize(
    ("split", "classes", "message"),
    [
        ("test", {"cat": 1}, r"/test without images of \['dog'\]$"),
        ("val", {"cat": 1, "dog": 0}, r"/val without images of \['dog'\]$"),
        ("test", {"cat": 1, "dog": 1, "bird": 1}, r"/test with other classes \['bird'\]$"),
        ("testing", {"cats": 1, "dog": 1}, r"/testing without images of \['cat'\] and with other classes \['cats'\]$"),
        ("test", {}, r"/test without images of \['cat', 'dog'\]$"),
    ],
)
def test_splits_of_different_classes_are_refused(tmp_path, split, classes, message):
    make_classes(tmp_path / "train", {"cat": 3, "dog": 3})
    (tmp_path / split).mkdir()
    make_classes(tmp_path / split, classes)
    with pytest.raises(ValueError, match=f"Every class needs images, in each of the splits.*{message}"):
        data.load(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path):
    for split in ("train", "validation", "val"):
        make_classes(tmp_path / split, {"cat": 1, "dog": 1})
    with pytest.raises(ValueError, match=r"one folder of validation images.*with val and validation$"):
        data.load(tmp_path)


@pytest.mark.parametrize("name", ["train", "Training", "val", "valid", "test", "TESTING"])
def test_a_class_that_is_called_as_a_split_is_refused(flowers, name, tmp_path):
    make_classes(flowers, {name: 3})
    message = rf"no other folder beside them.*Rename.*with {name} beside daisy, rose$"
    with pytest.raises(InputError, match=message):
        splits_of(flowers, 0)
    (tmp_path / "all").mkdir()
    flowers.rename(tmp_path / "all" / "train")  # the way out
    assert len(splits_of(tmp_path / "all", 0)["train"]) == 15  # 7 of 10, 7 of 10, 1 of 3
    (tmp_path / "all" / "train").rename(flowers)
    make_classes(flowers / name, {"steam": 3})
    with pytest.raises(InputError, match=message):
        splits_of(flowers, 0)


def test_what_stands_beside_splits_and_classes_is_not_dropped(tmp_path):
    make_classes(tmp_path / "train", {"cat": 3, "dog": 3})
    (tmp_path / "holdout").mkdir()
    with pytest.raises(InputError, match=r"no other folder beside them.*with train beside holdout$"):
        splits_of(tmp_path, 0)
    (tmp_path / "holdout").rename(tmp_path / "test")
    for root in (tmp_path, tmp_path / "train", tmp_path / "test"):
        (root / "README.md").write_text("no image")
        (root / "A.JPG").write_bytes(b"x")
        with pytest.raises(InputError, match=rf"must stand in a class folder.*Received: {root} with 1 .*A\.JPG$"):
            splits_of(tmp_path, 0)
        (root / "A.JPG").unlink()
    for name in ("train", "test"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        (tmp_path / "flat" / name / "0.png").touch()
    with pytest.raises(InputError, match=r"must stand in a class folder.*train with 1 "):
        splits_of(tmp_path / "flat", 0)
    (tmp_path / "train").rename(tmp_path / "images")
    (tmp_path / "images").rename(tmp_path / "test" / "images")
    with pytest.raises(InputError, match=r"must be one for training.*with test beside flat$"):
        splits_of(tmp_path, 0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "it is a pipe"),
        ("socket", "it is a socket"),
        ("link to nothing", "No such file"),
        ("link to itself", "Too many levels of symbolic links"),
        ("link on from a file", "Not a directory"),
        ("device", "it is a device"),
    ],
)
def test_what_is_no_file_is_refused_at_once(flowers, kind, reason, monkeypatch):
    path = flowers / "rose" / "bad.jpg"
    listener = socket.socket(socket.AF_UNIX)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(path.parent)  # its name may have 108 bytes
            listener.bind(path.name)
        case "link to nothing":
            path.symlink_to("nowhere")
        case "link to itself":
            path.symlink_to(path.name)
        case "link on from a file":
            path.symlink_to("1.png/2.png")
        case "device":
            path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"bad\.jpg: {reason}"):
        data.load(flowers)
    assert data.load(flowers, skip_bad_images=True).skipped == [str(path)]
    assert matching(str(flowers / "rose"))[-1] == str(path)
    listener.close()


def test_a_link_to_itself_beside_class_folders_is_an_image_without_a_class(flowers):
    (flowers / "bad.jpg").symlink_to("bad.jpg")
    with pytest.raises(InputError, match=r"must stand in a class folder.*such as bad\.jpg"):
        splits_of(flowers, 0)


def test_the_check_tells_how_far_it_is(flowers):
    told = []
    data.load(flowers, on_check=lambda done, total: told.append((done, total)))
    assert told == [(20, 20)]
    Image.new("RGB", (9, 9)).save(flowers / "rose" / "more.png")
    for index in range(99):
        shutil.copy(flowers / "rose" / "more.png", flowers / "daisy" / f"more-{index}.png")
    told.clear()
    data.load(flowers, on_check=lambda done, total: told.append((done, total)))
    assert told[-1] == (120, 120)
    assert told == sorted(set(told))
    assert len(told) > 1


@pytest.mark.parametrize("damage", ["remove", "cut"])
def test_an_image_that_is_lost_after_the_check_is_named(flowers, damage):
    loaded = data.load(flowers, image_size=8, validation_fraction=0, test_fraction=0)
    path = flowers / "rose" / "3.png"
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60])
    reason = "No such file" if damage == "remove" else "damaged or truncated"
    message = rf"^Images are damaged or were removed.* Received: \S*/rose/3\.png: .*{reason}"
    with pytest.raises(InputError, match=message), loaded.reading():
        list(loaded.originals("train"))
    path.write_bytes(encode(blocks(), "PNG"))
    with pytest.raises(tf.errors.ResourceExhaustedError), loaded.reading():  # not the fault of an image
        raise tf.errors.ResourceExhaustedError(None, None, "")


@pytest.mark.tensorflow
def test_a_training_names_the_image_that_is_lost_meanwhile(flowers, tmp_path):
    lost = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: [p.unlink() for p in flowers.rglob("3.png")]
    )
    config = TrainConfig.of(dataset=str(flowers), architecture=TINY, epochs=2, batch_size=4, test_fraction=0)
    with pytest.raises(
        InputError, match=r"damaged or were removed.*daisy/3\.png: No such file.*; .*rose/3\.png: No such file"
    ):
        train(config, tmp_path / "run", verbose=0, report=print, callbacks=[lost])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"hello", "no JPEG, PNG"), (encode(blocks(), "JPEG")[:300], "damaged or truncated")],
)
def test_bad_files_are_named_refused_or_skipped(flowers, content, reason):
    (flowers / "rose" / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.jpg: .*{reason}"):
        data.load(flowers)
    loaded = data.load(flowers, skip_bad_images=True)
    assert [path.endswith("bad.jpg") for path in loaded.skipped] == [True]
    assert sum(loaded.sizes.values()) == 20


def test_an_empty_folder_one_class_and_a_class_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least two class folders"):
        data.load(tmp_path)
    make_classes(tmp_path, {"one": 3})
    with pytest.raises(ValueError, match=r"at least two class folders.*\['one'\]"):
        data.load(tmp_path)
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match=r"Every class needs images.*without images of \['two'\]"):
        data.load(tmp_path)


# sizes and arguments


@pytest.mark.parametrize(
    ("side", "architecture", "aux_heads", "size"),
    [
        (8, "googlenet", True, 80),
        (28, "googlenet", True, 84),
        (32, "googlenet", True, 96),
        (32, "googlenet", False, 32),
        (32, "googlenet_small", True, 32),
        (500, "googlenet", True, 224),
        (150, "googlenet", True, 150),
        (500, "googlenet_small", True, 32),
    ],
)
def test_choose_image_size(side, architecture, aux_heads, size):
    assert data.choose_image_size(side, architecture, aux_heads) == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1. Received: batch_size=0"),
        ({"batch_size": 2.5}, "whole number of at least 1. Received: batch_size=2.5"),
        ({"image_size": "32"}, "Received: image_size='32'"),
        ({"image_size": float("nan")}, "Received: image_size=nan"),
        ({"image_size": True}, "Received: image_size=True"),
        ({"channels": True}, "`channels` must be 1 or 3. Received: channels=True"),
        ({"seed": -1}, "Received: seed=-1"),
        ({"seed": "a"}, "Received: seed='a'"),
        ({"split_seed": -1}, "Received: split_seed=-1"),
        ({"seed": 2**32}, "from 0 to 4294967295. Received: seed=4294967296"),
        ({"augmentation": "x"}, "`augmentation` must be None or an `Augmentation`. Received: augmentation='x'"),
        ({"skip_bad_images": "no"}, "`skip_bad_images` must be True or False. Received: skip_bad_images='no'"),
        ({"full_check": 1}, "Received: full_check=1"),
        ({"aux_heads": None}, "Received: aux_heads=None"),
        ({"validation_fraction": float("nan")}, "Received: validation_fraction=nan"),
        ({"test_fraction": False}, "Received: test_fraction=False"),
        ({"channels": 4}, "`channels` must be 1 or 3. Received: channels=4"),
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "together below 1"),
        ({"test_fraction": -0.1}, "must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)


def test_images_for_which_there_is_no_memory_are_refused_before_any_is_read(flowers):
    with pytest.raises(ValueError, match=r"GiB of memory for 32 of its images.*shape \(90000, 90000, 3\)"):
        data.load(flowers, image_size=90_000)
