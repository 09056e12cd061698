"""The report, as files and as a browser shows it."""

import dataclasses
import errno
import json
import os
import shutil

import numpy as np
import pytest
from tiny_network import TINY

import keras_inception as ki
from keras_inception import evaluation
from keras_inception.architectures import AuxiliaryHead
from keras_inception.evaluation import report

NAMES = ["ash", "<script>alert(1)</script>", "$birch$", "oak"]
HEADS = ("main", "aux1", "aux2")
SIZE, IMAGES = 12, 40


@pytest.fixture(scope="module")
def network():
    return ki.GoogLeNet(architecture=TINY, input_shape=(SIZE, SIZE, 3), classes=4, class_names=NAMES)


@pytest.fixture(scope="module")
def predictions():
    """Main is right on the 30 images of three classes, and takes all ten oaks for ashes, above all the first one."""
    labels = np.arange(IMAGES) % 4
    main = np.full((IMAGES, 4), 0.1)
    main[np.arange(IMAGES), np.where(labels == 3, 0, labels)] = 0.7
    main[3] = (0.97, 0.01, 0.01, 0.01)
    chance = np.random.default_rng(0).dirichlet(np.ones(4), (2, IMAGES))
    return evaluation.Predictions(labels, {"main": main, "aux1": chance[0], "aux2": chance[1]})


@pytest.fixture(scope="module")
def originals():
    """Images whose brightness is their number, grey and in colours, large and small."""
    return [(np.full((30, 500, 1 if index % 2 else 3), 6 * index, "uint8"), index % 4) for index in range(IMAGES)]


@pytest.fixture(scope="module")
def folder(network, predictions, originals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "report"
    report.write(folder, [network], predictions, facts={"Images": "40 <leaves>"}, originals=originals, crops=10)
    return folder


def test_results_hold_the_numbers_of_each_head(folder, network):
    results = json.loads((folder / "results.json").read_text())
    assert (results["images"], results["crops"]) == (IMAGES, 10)
    assert results["facts"]["Images"] == "40 <leaves>"
    main = results["heads"]["main"]
    assert main["accuracy"] == 0.75
    # 39 answers have a confidence of 0.7, 30 of which are right; the one of 0.97 is not.
    assert main["calibration_error"] == pytest.approx((39 * abs(30 / 39 - 0.7) + 0.97) / 40)
    # At 12x12 a 3x3 of 3 to 8 channels; at 6x6 a module of 8, four 1x1, a 3x3 and a 5x5 of 8, and a 3x3 of 32 to 8.
    module = 36 * 8 * (4 * 8 + 9 * 8 + 25 * 8)
    assert main["multiply_adds"] == 10 * (144 * 9 * 3 * 8 + module + 36 * 9 * 32 * 8 + 8 * 4)
    assert results["heads"]["aux1"]["multiply_adds"] < main["multiply_adds"]


def test_tables_are_those_of_the_main_head(folder):
    assert (folder / "confusion.csv").read_text().splitlines() == [
        "class \\ answer,ash,<script>alert(1)</script>,$birch$,oak",
        "ash,10,0,0,0",
        "<script>alert(1)</script>,0,10,0,0",
        "$birch$,0,0,10,0",
        "oak,10,0,0,0",
    ]
    assert (folder / "per_class.csv").read_text().splitlines() == [
        "class,images,precision,recall,f1",
        "ash,10,0.5,1.0,0.6666666666666666",
        "<script>alert(1)</script>,10,1.0,1.0,1.0",
        "$birch$,10,1.0,1.0,1.0",
        "oak,10,,0.0,0.0",
    ]


def test_multiply_adds_count_every_network_and_every_crop(network, predictions, originals, folder, tmp_path):
    report.write(tmp_path, [network, network], predictions, facts={}, originals=originals, crops=144)
    once, ten = (json.loads((path / "results.json").read_text())["heads"] for path in (tmp_path, folder))
    assert [once[head]["multiply_adds"] for head in HEADS] == [2 * 14.4 * ten[head]["multiply_adds"] for head in HEADS]


def test_mistakes_show_the_most_confident_image_first(predictions, originals):
    worst = evaluation.confident_mistakes(predictions.labels, predictions.probabilities["main"])
    assert worst.tolist() == [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]
    thumbnails = report.thumbnails(originals, worst)
    assert [image.size for image in thumbnails] == [(160, 10)] * 10
    assert [image.getpixel((5, 5)) for image in thumbnails] == [6 * index for index in worst]


def test_an_earlier_report_is_replaced_and_nothing_else(network, predictions, folder, tmp_path):
    right = evaluation.Predictions(np.zeros(4, int), {"main": np.eye(4)[[0, 0, 0, 0]]})
    out = tmp_path / "report"
    shutil.copytree(folder, out)
    written = report.write(out, [ki.inference_model(network)], right, facts={}, originals=[])
    assert {path.name for path in out.iterdir()} == set(written)
    assert "mistakes.png" not in written
    html = (out / "report.html").read_text()
    assert "all 4 images are answered rightly" in html
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    notes = tmp_path / "mine" / "notes.txt"
    for path, reason in ((tmp_path / "mine", "holds something else"), (notes, "is a file"), (notes / "x", "is a file")):
        with pytest.raises(ValueError, match=f"A report needs an empty folder.* {reason}"):
            report.write(path, [network], predictions, facts={}, originals=[])


def test_a_full_disk_leaves_no_half_plot(network, predictions, originals, tmp_path, monkeypatch):
    """`os.fsync`, through which each whole file passes, fails for the first one."""
    fsync = os.fsync

    def full(number):
        if os.readlink(f"/proc/self/fd/{number}").endswith("-depth.png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"depth\.png"):
        report.write(tmp_path, [network], predictions, facts={}, originals=originals)
    assert not list(tmp_path.iterdir())


def test_a_report_is_of_whatever_heads_there_are_and_tells_classes_of_one_name_apart(tmp_path):
    heads = tuple(AuxiliaryHead(name, "inception_4a", f"of_{name}", conv=4, dense=8) for name in ("early", "twin"))
    architecture = dataclasses.replace(TINY, name="other", auxiliary_heads=heads)
    model = ki.GoogLeNet(architecture=architecture, input_shape=(SIZE, SIZE, 3), classes=3, aux_heads=["early"])
    model.name_classes(("crane", "crane", "oak"))  # as in a file of an earlier version
    found = evaluation.Predictions(np.arange(3), {"main": np.eye(3), "early": np.eye(3)})
    report.write(tmp_path / "report", [model], found, facts={}, originals=[])
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert list(results["heads"]) == ["main", "early"]
    assert results["facts"]["Architecture"] == "other"
    assert (tmp_path / "report" / "confusion.csv").read_text().splitlines() == [
        "class \\ answer,crane (0),crane (1),oak", "crane (0),1,0,0", "crane (1),0,1,0", "oak,0,0,1",
    ]  # fmt: skip


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright from PyPI")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "page_is_dark"), [("light", False), ("dark", True)])
def test_a_browser_shows_the_report_without_a_network(folder, browser, tmp_path, scheme, page_is_dark):
    alone = tmp_path / "report.html"  # nothing beside it
    shutil.copy(folder / "report.html", alone)
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(alone.as_uri())

    assert [url for url in requests if not url.startswith("data:")] == [alone.as_uri()]
    assert complaints == []
    assert page.inner_text("h1") == "Evaluation on 40 images of 4 classes"
    assert page.locator("h2").all_inner_texts() == [
        "Heads", "Accuracy against depth", "Classes", "Confusions", "Calibration", "The most confident mistakes",
    ]  # fmt: skip
    assert "40 <leaves>" in page.inner_text("dl")
    rows = [row.split("\t") for row in page.locator("#heads tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == list(HEADS)
    assert rows[0][1] == "75.00%"
    classes = [row.split("\t") for row in page.locator("#classes tbody tr").all_inner_texts()]
    assert classes[0] == ["ash", "10", "50.00%", "100.00%", "66.67%"]
    assert [row[0] for row in classes] == NAMES
    assert classes[3][2] == "–"
    assert page.locator("#confusions tbody tr").all_inner_texts() == ["oak\tash\t10\t100.00%"]
    assert "10 of 40 images are answered wrongly by main" in page.inner_text("main")

    plots = page.locator("img").evaluate_all("all => all.map(i => [i.complete, i.naturalWidth, i.width, i.alt])")
    assert len(plots) == 4
    assert all(complete and natural > 300 and shown > 300 and alt for complete, natural, shown, alt in plots)
    assert "main: 75.00% at" in plots[0][3]

    for part, is_dark in (("backgroundColor", page_is_dark), ("color", not page_is_dark)):
        red, green, blue = page.evaluate(f"getComputedStyle(document.body).{part}.match(/\\d+/g).map(Number)")
        assert (red + green + blue < 150) == is_dark
    # In both, plots have their white ground.
    assert (
        page.locator("img").evaluate_all("all => all.map(i => getComputedStyle(i).backgroundColor)")
        == ["rgb(255, 255, 255)"] * 4
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    page.set_viewport_size({"width": 380, "height": 700})  # a telephone
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    context.close()
