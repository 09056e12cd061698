"""`keras-inception explain RUN IMAGE`: the plots it writes, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

from keras_inception.cli import main


@pytest.fixture
def here(build, tmp_path, monkeypatch):
    """A folder with a model and two images, which is the current one."""
    monkeypatch.chdir(tmp_path)
    build().save("model.keras")
    for name in ("flower.jpg", "house.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), "uint8")).save(name)
    return tmp_path


def refusal(capsys, *arguments):
    assert main(["explain", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_each_image_gets_a_plot_and_none_is_overwritten(here, capsys):
    assert main(["explain", "model.keras", "flower.jpg", "house.png"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("flower.jpg  main: ")
    assert "aux2: " in first
    assert first.endswith("wrote flower-explained.png")
    assert second.endswith("wrote house-explained.png")
    written = (here / "flower-explained.png").read_bytes()
    assert main(["explain", "model.keras", "flower.jpg", "--class", "bee", "--top", "2"]) == 0
    assert capsys.readouterr().out.endswith("wrote flower-explained-2.png\n")
    assert (here / "flower-explained.png").read_bytes() == written != (here / "flower-explained-2.png").read_bytes()
    with Image.open("flower-explained-2.png") as plot:
        assert plot.width > plot.height > 100


def test_what_cannot_be_explained_is_one_line(here, capsys):
    assert "there is no image at tree.jpg" in refusal(capsys, "model.keras", "tree.jpg")
    assert "A run is a folder" in refusal(capsys, "nothing", "flower.jpg")
    assert "one of the model's 3 classes, ant, bee, cow" in refusal(
        capsys, "model.keras", "flower.jpg", "--class", "elk"
    )
    assert "house.png is there already" in refusal(capsys, "model.keras", "flower.jpg", "--out", "house.png")
    assert "a .png file. Received: new.jpg" in refusal(capsys, "model.keras", "flower.jpg", "--out", "new.jpg")
    assert "for 2 images" in refusal(capsys, "model.keras", "flower.jpg", "house.png", "--out", "new.png")
    assert "`top` must be at least 1" in refusal(capsys, "model.keras", "flower.jpg", "--top", "0")
    assert not list(here.glob("*explained*"))


def test_an_unreadable_image_does_not_keep_the_others_from_their_plots(here, capsys):
    (here / "broken.jpg").write_bytes(b"no image")
    assert main(["explain", "model.keras", "broken.jpg", "flower.jpg"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "keras-inception explain: error: broken.jpg: it is no JPEG, PNG, BMP, GIF or WebP image\n"
    assert printed.out.endswith("wrote flower-explained.png\n")
