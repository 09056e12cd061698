"""`keras-inception data`: what would be trained on, said and drawn before it is."""

import shutil

import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

from keras_inception import data, files
from keras_inception.cli import main
from keras_inception.data import duplicates


def test_it_says_what_would_be_trained_on_and_draws_it(image_folder, tmp_path, capsys):
    root = tmp_path / "images"
    for split in ("train", "test"):
        shutil.copytree(image_folder, root / split)
    for path in (root / "test").rglob("*.png"):  # one of each class stays what it is
        if path.stem != "3":
            Image.new("RGB", (40, 36), (int(path.stem), 7, 77)).save(path)
    (root / "train" / "dark" / "bad.png").write_bytes(b"no image")
    files.write_json(tmp_path / "tiny.json", {"architecture": TINY.to_dict(), "mixup": 0.2})
    out = tmp_path / "sheet.png"
    options = ("--config", tmp_path / "tiny.json", "--validation-fraction", 0, "--resize", "pad", "--out", out)
    assert main(["data", str(root), *map(str, options)]) == 0
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines() if line.strip().startswith(("dark", "light", "all"))] == [
        ["dark", "20", "20"], ["light", "20", "20"], ["all", "40", "40"],
    ]  # fmt: skip
    assert "a shorter side of 36 pixels (median); the network sees 10x10 (pad)" in said
    assert f"unreadable files: 1: {root / 'train' / 'dark' / 'bad.png'}" in said
    assert "in several splits: 2: (train train/dark/3.png, test test/dark/3.png), (train train/light/3.png" in said
    with Image.open(out) as drawn:
        assert drawn.size[0] > 1000


def test_files_of_one_mark_and_other_bytes_are_no_duplicates(tmp_path):
    """A mark is of beginning and end alone; these differ in the middle."""
    for split, byte in (("train", b"x"), ("test", b"y")):
        for name in ("a", "b"):
            path = tmp_path / split / name / "0.bmp"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (100, 100), (ord(name), 0, 0)).save(path)
            content = bytearray(path.read_bytes())
            if name == "a":
                content[20000:20001] = byte
            path.write_bytes(content)
    loaded = data.load(tmp_path, architecture=TINY)
    marks = loaded.record["splits"]
    assert marks["train"]["train/a/0.bmp"] == marks["test"]["test/a/0.bmp"]
    assert duplicates.across_splits(tmp_path, loaded) == [[("train", "train/b/0.bmp"), ("test", "test/b/0.bmp")]]


def test_an_image_whose_damage_its_header_hides_is_named_and_left_out(image_folder, tmp_path, capsys):
    """As `train --skip-bad-images` leaves it out; all images are on the sheet, for there are fewer than it shows."""
    for name in ("dark", "light"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(6):
            shutil.copy(image_folder / name / f"{index}.png", tmp_path / "images" / name)
    bad = tmp_path / "images" / "dark" / "0.png"
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 255
    bad.write_bytes(content)
    options = ("--image-size", "10", "--validation-fraction", "0", "--test-fraction", "0")
    files.write_json(tmp_path / "tiny.json", {"architecture": TINY.to_dict()})
    options += ("--config", str(tmp_path / "tiny.json"), "--out", str(tmp_path / "sheet.png"))
    assert main(["data", str(tmp_path / "images"), *options]) == 0
    said = capsys.readouterr().out
    assert f"unreadable files: 1: {bad}\n" in said  # for all were decoded
    bad.unlink()
    for more, text in (
        ((), "none (as far as headers and ends tell: --full-check decodes"),
        (["--full-check"], "none\n"),
    ):
        assert main(["data", str(tmp_path / "images"), *options, *more]) == 0
        assert f"unreadable files: {text}" in capsys.readouterr().out
    assert [line.split() for line in said.splitlines() if line.strip().startswith("dark")] == [["dark", "5"]]
    assert (tmp_path / "sheet.png").is_file()


def test_the_sheet_is_an_image(refused):
    assert "--out writes .png, .svg or .pdf" in refused("data", "digits", "--out", "sheet.txt")
