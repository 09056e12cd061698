"""Image files are known by their headers and ends, are looked at once, and the decoder has the last word."""

import dataclasses
import os
import shutil
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY

tf = pytest.importorskip("tensorflow")

from image_bytes import blocks, encode, segment, with_segments  # noqa: E402, after the skip

from keras_inception import data, files  # noqa: E402, after the skip
from keras_inception.data import checking, folder  # noqa: E402, after the skip
from keras_inception.errors import InputError  # noqa: E402, after the skip
from keras_inception.training import TrainConfig, train  # noqa: E402, after the skip

IMAGE = blocks(48, 64)
FILES = {
    "baseline.jpg": encode(IMAGE, "JPEG"),
    "progressive.jpg": encode(IMAGE, "JPEG", progressive=True),
    "grey.jpg": encode(IMAGE.convert("L"), "JPEG"),
    "cmyk.jpg": encode(IMAGE.convert("CMYK"), "JPEG"),
    "long header.jpg": with_segments(encode(IMAGE, "JPEG"), *[segment(0xE2, bytes(60_000))] * 3),
    "thumbnail.jpg": with_segments(encode(IMAGE, "JPEG"), segment(0xE1, b"Exif\0\0" + encode(blocks(), "JPEG"))),
    "more behind the end.jpg": encode(IMAGE, "JPEG") + bytes(1000),
    "two.mpo": encode(IMAGE, "MPO", save_all=True, append_images=[IMAGE]),
    "plain.png": encode(IMAGE, "PNG"),
    "16 bits.png": encode(Image.fromarray(np.arange(48 * 64, dtype="uint16").reshape(48, 64)), "PNG"),
    "palette.png": encode(IMAGE.convert("P"), "PNG"),
    "animated.gif": encode(IMAGE, "GIF", save_all=True, append_images=[IMAGE.rotate(180)]),
    "still.gif": encode(IMAGE, "GIF"),
    "lossy.webp": encode(IMAGE, "WEBP"),
    "lossless.webp": encode(IMAGE, "WEBP", lossless=True),
    "24 bits.bmp": encode(IMAGE, "BMP"),
}


def damaged(content):
    """A PNG whose header and end are as they were, and whose pixels are not."""
    return content[:60] + bytes(8) + content[68:]


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded, by their bytes."""
    asked = []
    decode = checking.decode_or_say_why
    monkeypatch.setattr(checking, "decode_or_say_why", lambda encoded: asked.append(encoded) or decode(encoded))
    return asked


@pytest.fixture
def glanced(monkeypatch):
    """The names of the files whose headers were looked at."""
    asked = []
    glance = checking._glance
    monkeypatch.setattr(checking, "_glance", lambda file, size: asked.append(file.name) or glance(file, size))
    return asked


def write(root, contents):
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return list(contents)


def test_whole_images_of_every_kind_are_known_without_being_decoded(tmp_path, decoded):
    looks, reasons = checking.check(tmp_path, write(tmp_path, FILES))
    assert (reasons, decoded) == ({}, [])
    assert looks["side"].tolist() == [48] * len(FILES)
    assert looks["size"].tolist() == [len(content) for content in FILES.values()]
    assert not looks["decoded"].any()


@pytest.mark.parametrize("left", [0.02, 0.5, 0.97])
def test_what_is_cut_off_is_told(tmp_path, left, decoded, capfd):
    may_be_whole = ("more behind the end.jpg", "two.mpo", "animated.gif")  # as to the first image
    contents = {n: content[: int(left * len(content))] for n, content in FILES.items() if n not in may_be_whole}
    write(tmp_path, contents)
    jpegs = [name for name in contents if name.endswith("jpg")]
    _, reasons = checking.check(tmp_path, jpegs)
    assert reasons == dict.fromkeys(jpegs, "it is damaged or truncated")
    assert (decoded, capfd.readouterr().err) == ([], "")  # the decoder of JPEG would print a line
    assert sorted(checking.check(tmp_path, list(contents))[1]) == sorted(contents)


def test_a_file_is_looked_at_once_and_again_when_it_changes(tmp_path, glanced, decoded):
    names = write(tmp_path, {f"{index}.png": FILES["plain.png"] for index in range(3)})
    first, _ = checking.check(tmp_path, names)
    again, _ = checking.check(tmp_path / "." / "", names)
    np.testing.assert_array_equal(first, again)
    assert len(glanced) == 3
    write(tmp_path, {"1.png": FILES["palette.png"], "3.png": FILES["plain.png"]})
    looks, _ = checking.check(tmp_path, [*names, "3.png"])
    assert [os.path.basename(name) for name in glanced[3:]] == ["1.png", "3.png"]
    np.testing.assert_array_equal(looks[[0, 2]], first[[0, 2]])
    assert looks["mark"][3] == first["mark"][0] != looks["mark"][1]
    for _ in range(2):
        assert checking.check(tmp_path, names, full=True)[0]["decoded"].all()
        assert (len(glanced), len(decoded)) == (5, 3)
    shutil.copytree(tmp_path, tmp_path / "copy")  # another path
    checking.check(tmp_path / "copy", names)
    assert len(glanced) == 8


def test_the_cache_is_never_required(tmp_path, monkeypatch, glanced):
    names = write(tmp_path, {"a.png": FILES["plain.png"]})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    checking.check(tmp_path, names)
    [cache] = (tmp_path / "home").rglob("*.npz")
    for content in (b"", b"x", cache.read_bytes()[:200]):
        cache.write_bytes(content)
        assert checking.check(tmp_path, names)[1] == {}
    np.savez(cache, names=np.zeros(3, "u1"), looks=np.zeros(2))
    checking.check(tmp_path, names)
    assert len(glanced) == 5
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "a.png"))  # nothing can be written there
    checking.check(tmp_path, names)
    assert len(glanced) == 6


def test_what_is_known_of_a_bad_file_is_kept_until_it_changes(tmp_path, decoded, glanced):
    contents = {
        "damaged.png": damaged(FILES["plain.png"]),
        "cut off.jpg": FILES["baseline.jpg"][:500],
        "no image.png": b"no image",
        "empty.png": b"",
        "whole.png": FILES["plain.png"],
    }
    names = write(tmp_path, contents)
    looks, reasons = checking.check(tmp_path, names, full=True)
    assert sorted(reasons) == sorted(names[:4])
    assert looks["size"].tolist() == [len(content) for content in contents.values()]
    assert len(set(looks["mark"])) == 5
    asked = len(decoded)
    for full in (False, True):
        again, known = checking.check(tmp_path, names, full=full)
        assert known == reasons
        np.testing.assert_array_equal(again, looks)
    assert checking.check(tmp_path, [*reversed(names)])[1] == reasons
    assert checking.check(tmp_path, names[1:2])[1] == {"cut off.jpg": reasons["cut off.jpg"]}
    assert (len(decoded), glanced) == (asked, [])
    write(tmp_path, {"damaged.png": FILES["plain.png"], "cut off.jpg": FILES["baseline.jpg"]})
    assert sorted(checking.check(tmp_path, names)[1]) == ["empty.png", "no image.png"]


def test_what_the_system_refuses_is_not_taken_for_damage(tmp_path, monkeypatch):
    names = write(tmp_path, {"a.png": FILES["plain.png"]})

    def refused(path):
        raise InputError("Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(checking, "read_bytes", refused)
        assert checking.check(tmp_path, names, full=True)[1] == {"a.png": "Input/output error"}
    assert checking.check(tmp_path, names, full=True)[1] == {}
    (tmp_path / "a.png").unlink()
    assert checking.check(tmp_path, names)[1] == {"a.png": "No such file or directory"}


def cache_of(root):
    with np.load(checking._cache(root)) as kept:
        return kept["names"].tobytes().decode().split("\0")


def test_files_that_are_read_in_turns_are_all_known(tmp_path, glanced):
    names = write(tmp_path, {f"{index}.png": FILES["plain.png"] for index in range(6)})
    write(tmp_path, {"1.png": b"no image"})
    for _ in range(2):
        for some in (names[::2], names[1::2]):
            checking.check(tmp_path, some)
    assert len(glanced) == 6
    assert list(checking.check(tmp_path, names)[1]) == ["1.png"]
    (tmp_path / "0.png").unlink()
    write(tmp_path, {"2.png": FILES["palette.png"]})
    checking.check(tmp_path, ["2.png"])
    assert sorted(cache_of(tmp_path)) == names[1:]  # nor does what is gone stay for ever
    (tmp_path / "5.png").unlink()
    checking.check(tmp_path, names[1:])
    assert sorted(cache_of(tmp_path)) == names[1:5]


def test_what_another_process_decoded_meanwhile_is_not_forgotten(tmp_path, monkeypatch, decoded):
    names = write(tmp_path, {"a.png": damaged(FILES["plain.png"]), "b.png": FILES["plain.png"]})
    glance = checking._glance

    def slow(file, size):
        monkeypatch.setattr(checking, "_glance", glance)
        checking.check(tmp_path, names, full=True)  # the other one
        return glance(file, size)

    monkeypatch.setattr(checking, "_glance", slow)
    checking.check(tmp_path, names)
    assert checking.check(tmp_path, names)[1] == {"a.png": "it is damaged or truncated"}
    assert len(decoded) == 2


def test_without_a_home_nothing_is_kept_and_all_is_read(tmp_path, monkeypatch, glanced):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr(checking.Path, "home", no_home)
    names = write(tmp_path, {"a.png": FILES["plain.png"]})
    for _ in range(2):
        assert checking.check(tmp_path, names)[1] == {}
    assert len(glanced) == 2


def test_a_time_in_the_future_hides_no_change(tmp_path):
    path = tmp_path / "a.png"
    names = write(tmp_path, {"a.png": FILES["plain.png"]})
    future = 4_000_000_000
    os.utime(path, (future, future))
    first, _ = checking.check(tmp_path, names)
    while os.stat(path).st_ctime_ns == first["ctime"][0]:  # clocks of file systems are coarse
        path.write_bytes(b"X" * len(FILES["plain.png"]))
        os.utime(path, (future, future))
    assert list(checking.check(tmp_path, names)[1]) == ["a.png"]


def test_the_cache_of_an_earlier_version_is_replaced(tmp_path, glanced):
    names = write(tmp_path, {"a.png": FILES["plain.png"]})
    cache = checking._cache(tmp_path)
    cache.parent.mkdir(parents=True, exist_ok=True)
    old = np.dtype([("size", "i8"), ("time", "i8"), ("mark", "u4"), ("side", "i4"), ("decoded", "?")])
    np.savez(cache, names=np.frombuffer(b"a.png", "u1"), looks=np.zeros(1, old))
    for _ in range(2):
        assert checking.check(tmp_path, names)[0]["side"].tolist() == [48]
    assert len(glanced) == 1


def test_a_header_that_promises_too_much_is_left_to_the_decoder(tmp_path):
    bomb = bytearray(FILES["plain.png"])
    bomb[16:24] = (20_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    _, reasons = checking.check(tmp_path, write(tmp_path, {"bomb.png": bytes(bomb)}))
    assert "pixels; scale it down" in reasons["bomb.png"]


def frame_of(jpeg, marker):
    """A JPEG whose frame says that it is coded in another way."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 1] + bytes([marker]) + jpeg[at + 2 :]


def test_headers_tell_what_the_decoder_refuses(tmp_path, capfd):
    png, gif = FILES["plain.png"], FILES["still.gif"]
    small = "it is no JPEG, PNG, BMP, GIF or WebP image"
    lossless = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}  # of ITU-T T.81, table B.1
    bad = {
        "long.png": (encode(Image.new("L", (1_000_001, 1)), "PNG"), "a PNG of more than 1,000,000 pixels along a side"),
        "without pixels.png": (png[:33] + png[-12:], "it is damaged or truncated"),
        "without size.gif": (gif[:6] + bytes(4) + gif[10:], small),
        "without height.gif": (gif[:8] + bytes(2) + gif[10:], small),
    }
    bad |= {
        f"{marker:x}.jpg": (frame_of(FILES["baseline.jpg"], marker), "a lossless or hierarchical JPEG is not read")
        for marker in lossless
    }
    _, reasons = checking.check(tmp_path, write(tmp_path, {name: content for name, (content, _) in bad.items()}))
    assert sorted(reasons) == sorted(bad)
    for name, (_, reason) in bad.items():
        assert reasons[name].startswith(reason)
    assert "Unsupported JPEG process" not in capfd.readouterr().err  # a line of libjpeg
    for content, _ in bad.values():
        with pytest.raises(tf.errors.InvalidArgumentError):
            data.decode(content)
    again = checking.check(tmp_path, list(bad), full=True)[1]
    assert again == reasons


def test_headers_refuse_no_coding_that_the_decoder_reads(tmp_path):
    png = encode(Image.new("L", (1_000_000, 1)), "PNG")
    contents = {
        "longest.png": png,
        "extended.jpg": frame_of(FILES["baseline.jpg"], 0xC1),
        "arithmetic.jpg": frame_of(FILES["baseline.jpg"], 0xC9),
    }
    assert checking.check(tmp_path, write(tmp_path, contents))[1] == {}
    for content in contents.values():
        data.decode(content)


@pytest.fixture
def images(image_folder, tmp_path):
    """Two classes of 20 images, of which one of each is damaged within."""
    shutil.copytree(image_folder, tmp_path / "images")
    for name in ("dark", "light"):
        IMAGE.save(tmp_path / "images" / name / "3.png")
        (tmp_path / "images" / name / "3.png").write_bytes(damaged(FILES["plain.png"]))
    return tmp_path / "images"


def test_a_full_check_finds_what_headers_do_not_tell(images):
    assert folder.read(images, 0, 0, 0).sizes["train"] == 40
    with pytest.raises(InputError, match=r"dark/3\.png: it is damaged or truncated"):
        folder.read(images, 0, 0, 0, full_check=True)
    found = folder.read(images, 0, 0, 0, full_check=True, skip_bad_images=True)
    assert (found.sizes["train"], found.record["skipped"]) == (38, ["dark/3.png", "light/3.png"])


def test_the_splits_are_those_of_all_files_whatever_is_known_of_them(images, image_folder):
    whole = folder.read(image_folder, 7, 0.2, 0.2).record["splits"]
    found_later = folder.read(images, 7, 0.2, 0.2, skip_bad_images=True).record["splits"]
    known = folder.read(images, 7, 0.2, 0.2, skip_bad_images=True, full_check=True).record["splits"]
    of_next_run = folder.read(images, 7, 0.2, 0.2, skip_bad_images=True).record["splits"]
    assert {split: [*names] for split, names in found_later.items()} == {s: [*names] for s, names in whole.items()}
    bad = {"dark/3.png", "light/3.png"}
    left = {split: [name for name in names if name not in bad] for split, names in whole.items()}
    assert {split: [*names] for split, names in known.items()} == left
    assert of_next_run == known


def test_a_class_or_a_split_that_is_lost_has_a_way_out(images, image_folder, tmp_path):
    few = tmp_path / "few"
    for name, count in (("dark", 8), ("light", 3)):
        (few / name).mkdir(parents=True)
        for index in range(count):
            shutil.copy(image_folder / name / f"{index}.png", few / name)
    record = folder.read(few, 0, 0.1, 0.1).record
    (only,) = [name for name in record["splits"]["train"] if name.startswith("light")]
    whole = (few / only).read_bytes()
    (few / only).write_bytes(whole[:40])
    message = rf"Repair what is damaged, or remove it, so that .*few, after .*{only}: .* was left out, without .*light"
    with pytest.raises(InputError, match=message):
        folder.read(few, 0, 0.1, 0.1, skip_bad_images=True)
    with pytest.raises(InputError, match=r"Every class needs .*Bring them back\."):
        folder.read(few, 0, 0.1, 0.1, skip_bad_images=True, record=record)
    (few / only).write_bytes(whole)
    for name in record["splits"]["test"]:
        (few / name).unlink()
    with pytest.raises(
        InputError, match=r"All images of a split are damaged or gone\. Bring them back\. .*without test"
    ):
        folder.read(few, 0, 0.1, 0.1, skip_bad_images=True, record=record)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_is_drawn_and_all_damaged_is_refused(images, split):
    for name in folder.read(images, 0, 0.1, 0.1).record["splits"][split]:
        (images / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=rf"are damaged or gone\. Repair what is damaged, .* without {split}"):
        folder.read(images, 0, 0.1, 0.1, skip_bad_images=True)


def test_damage_between_two_readings_is_told_from_other_images(images, image_folder):
    small, large = images / "light" / "5.png", images / "light" / "6.png"
    shutil.copy(image_folder / "dark" / "3.png", images / "dark" / "3.png")
    shutil.copy(image_folder / "light" / "3.png", images / "light" / "3.png")
    small.write_bytes(FILES["plain.png"])
    record = folder.read(images, 0, 0.1, 0.1).record
    small.write_bytes(damaged(FILES["plain.png"]))  # which its mark tells, its header not
    large.write_bytes(large.read_bytes()[:40])
    (images / "dark" / "3.png").unlink()
    with pytest.raises(
        InputError, match=r"With `--skip-bad-images` .* 1 file gone, 0 .*, 2 damaged, .* dark/3\.png, light"
    ):
        folder.read(images, 0, 0.1, 0.1, record=record)
    without = folder.read(images, 0, 0.1, 0.1, record=record, skip_bad_images=True)
    assert without.record["skipped"] == ["dark/3.png", "light/5.png", "light/6.png"]
    assert without.added == []
    for split, names in record["splits"].items():
        left = {name: mark for name, mark in names.items() if name not in without.record["skipped"]}
        assert without.record["splits"][split] == left
    again = folder.read(images, 0, 0.1, 0.1, record=without.record, skip_bad_images=True)
    assert again.record == without.record
    shutil.copy(image_folder / "dark" / "3.png", images / "dark" / "3.png")
    with pytest.raises(data.BadImagesError, match=r"light/5\.png: it is damaged.*light/6\.png: it is damaged"):
        folder.read(images, 0, 0.1, 0.1, record=record)
    small.write_bytes(FILES["baseline.jpg"])  # another image
    for skip in (False, True):
        with pytest.raises(InputError, match=r"0 files gone, 1 with another content, 1 damaged, such as light/5\.png"):
            folder.read(images, 0, 0.1, 0.1, record=record, skip_bad_images=skip)


def test_files_of_a_record_that_are_known_to_be_bad_or_were_and_are_gone_are_such_of_a_run(images):
    record = folder.read(images, 0, 0, 0).record
    with pytest.raises(data.BadImagesError, match=r"Bring them back.*dark/3\.png: it is damaged") as raised:
        folder.read(images, 0, 0, 0, full_check=True, record=record)
    assert list(raised.value.reasons) == [str(images / name / "3.png") for name in ("dark", "light")]
    record = data.repairable(record, {"dark/3.png"})
    (images / "dark" / "3.png").unlink()
    with pytest.raises(data.BadImagesError, match=r"with `--skip-bad-images`.*dark/3\.png: it is not there"):
        folder.read(images, 0, 0, 0, record=record)


def test_a_lack_of_memory_is_no_matter_of_the_images(image_folder):
    loaded = data.load(image_folder, architecture=TINY)
    loaded = dataclasses.replace(loaded, find_bad_images=lambda: pytest.fail("the images were decoded"))
    with pytest.raises(tf.errors.ResourceExhaustedError), loaded.reading():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")


@pytest.mark.slow
@pytest.mark.tensorflow
def test_what_a_training_finds_damaged_is_left_out_by_it_and_by_who_comes_after(images, tmp_path):
    config = TrainConfig.of(
        dataset=str(images), architecture=TINY, epochs=2, batch_size=8, test_fraction=0, skip_bad_images=True
    )
    told = []
    finished = train(
        config, tmp_path / "run", verbose=0, report=print, on_data=lambda data, _: told.append(len(data.skipped))
    )
    assert told == [0, 2]
    assert finished.sizes == {"train": 34, "validation": 4, "test": 0}
    assert finished.model.optimizer.iterations == 2 * 5
    record = files.read_json(tmp_path / "run" / "data.json")
    assert record["skipped"] == ["dark/3.png", "light/3.png"]
    again = data.load(images, architecture=TINY, record=record, skip_bad_images=True)
    assert (again.record, again.added) == (record, [])


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_run_goes_on_with_images_that_were_repaired_or_without_them(images, image_folder, tmp_path):
    config = TrainConfig.of(dataset=str(images), architecture=TINY, epochs=1, batch_size=8, test_fraction=0)
    with pytest.raises(data.BadImagesError, match="Bring them back, and the same command goes on") as raised:
        train(config, tmp_path / "run", verbose=0, report=print)
    assert sorted(raised.value.reasons) == [str(images / name / "3.png") for name in ("dark", "light")]
    begun = shutil.copytree(tmp_path / "run", tmp_path / "begun")
    (images / "light" / "3.png").unlink()
    without = train(replace(config, skip_bad_images=True), begun, resume=True, verbose=0, report=print)
    assert without.sizes == {"train": 34, "validation": 4, "test": 0}
    for name in ("dark", "light"):
        shutil.copy(image_folder / name / "3.png", images / name / "3.png")
    finished = train(config, tmp_path / "run", verbose=0, report=print)
    assert finished.sizes == {"train": 36, "validation": 4, "test": 0}
    record = files.read_json(tmp_path / "run" / "data.json")
    assert data.load(images, architecture=TINY, record=record).record == record  # what they are now, and no other


def test_a_million_files_would_take_less_than_half_a_gibibyte_of_python(monkeypatch, tmp_path):
    count = 20_000
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(
        folder, "files_in", lambda path: (f"{path}/a photograph of {index:07d}.jpg" for index in range(count // 2))
    )

    def looked_at(root, names, **options):
        return np.zeros(len(names), checking.LOOK), {}

    monkeypatch.setattr(folder, "check", looked_at)
    tracemalloc.start()
    try:
        found = folder.read(tmp_path, 0, 0.1, 0.1)
        files.write_json(tmp_path / "data.json", found.record)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(found.sizes.values()) == count
    assert peak / count * 1e6 < 2**29
