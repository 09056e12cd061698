"""What the documentation shows works: its Python runs, its commands are parsed and run, its links lead somewhere."""

import inspect
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

import keras
import numpy as np
from PIL import Image
from tiny_network import TINY

import keras_inception as ki
from keras_inception import files
from keras_inception.cli.command import _parser, main

# KerasTuner 1.4.8 asks for the name of its thread as Python did before 3.10.
pytestmark = pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning")

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"  # whose Python `test_readme.py` runs
PAGES = sorted(
    path for path in (ROOT / "docs").glob("*.md") if not path.read_text(encoding="utf-8").startswith("```{include}")
)
TEXTS = [
    *PAGES,
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "saved_models/README.md", "tuning/README.md")),
]


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path):
    """Returns the arguments of each `keras-inception` of the page's shell blocks."""
    found = []
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            for part in (words[i + 1 :] for i, word in enumerate(words) if word == "keras-inception"):
                end = next((i for i, word in enumerate(part) if word in ("&&", "|", "&")), len(part))
                found.append(part[:end])
    return found


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_the_command_knows_the_options_that_a_page_shows(path):
    for arguments in commands(path):
        _parser().parse_args(arguments)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_to_files_lead_to_files(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, heading in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text) + re.findall(r'src="([^"]+)()"', text):
        if "://" not in target and target != "lesson.ipynb":  # the build copies the notebook
            page = path.parent / target if target else path
            assert page.exists(), f"{path.name} links to {target}"
            assert not heading or heading in anchors(page), f"{path.name} links to {target}#{heading}"


def anchors(path):
    """Returns what the headings of a page are called in links, on GitHub as in the site."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


ROOMS = ("", ".data", ".evaluation", ".plots", ".recipes", ".serving", ".study", ".training", ".tuning", ".weights")


@pytest.mark.parametrize("room", [*ROOMS, ".training.diagnosis", ".training.distribute"])
def test_the_reference_has_every_public_name(room):
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md"))
    described = [
        pkgutil.resolve_name(name) for name in re.findall(r"^\.\. (?:auto|py:)\w+:: (\S+)$", text, re.MULTILINE)
    ]
    for module in filter(inspect.ismodule, list(described)):
        # Of a module, Sphinx describes what has a docstring, imported when it is asked for or not; a constant has none.
        items = [*vars(module).values(), *(getattr(module, name) for name in getattr(module, "__all__", ()))]
        described += [item for item in items if inspect.isclass(item) or inspect.isfunction(item)]
    module = pkgutil.resolve_name(f"keras_inception{room}")
    missing = [name for name in module.__all__ if not any(getattr(module, name) is item for item in described)]
    assert [name for name in missing if name != "__version__"] == []


def test_the_configuration_file_is_one(tmp_path):
    (text,) = blocks(ROOT / "docs/data.md", "toml")
    (tmp_path / "flowers.toml").write_text(text)
    config = ki.TrainConfig.from_file(tmp_path / "flowers.toml")
    assert (config.recipe.epochs, config.recipe.label_smoothing) == (60, 0.1)
    assert (config.resolved_augmentation.mixup, config.resolved_augmentation.randaugment) == (0.2, None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with what the pages speak of: photographs, single images, and runs of a narrow network on them."""
    root = tmp_path_factory.mktemp("pages")
    generator = np.random.default_rng(0)
    for index, name in enumerate(("daisy", "rose", "tulip")):
        (root / "photographs" / name).mkdir(parents=True)
        for number in range(24):
            pixels = generator.integers(60 * index, 60 * index + 100, (90, 100, 3), dtype="uint8")
            Image.fromarray(pixels).save(root / "photographs" / name / f"{number}.png")
    (root / "trees").symlink_to("photographs")
    (root / "more").mkdir()
    for name in ("rose.jpg", "tulip.png", "holiday.jpg", "more/1.png"):
        Image.fromarray(pixels).save(root / name)
    config = ki.TrainConfig.of(dataset=str(root / "photographs"), architecture=TINY, epochs=1, image_size=10)
    files.write_json(root / "tiny.json", {"architecture": TINY.to_dict(), "image_size": 10})
    ki.train(config, root / "runs/flowers", verbose=0, report=lambda message: None)
    for name in ("a", "b", "c", "digits-googlenet"):
        (root / "runs" / name).symlink_to("flowers")
    return root


# What the pages take hours or more cores for is done as short as it can be.
SHORTER = {
    "epochs=10": "epochs=1",
    "epochs=5": "epochs=1",
    "classes=10,": "classes=10, width=0.05,",
    "(96, 96, 3), classes=10)": 'images.shape[1:], classes=3, space={"width": 0.05})',
    "ki.OBJECTIVE)": "ki.OBJECTIVE, max_trials=1)",
}
NETWORK = ("--architecture", "--width", "--image-size", "--config")  # of a page; a tiny one is trained instead
TINY_NETWORK = ("--epochs", "1", "--config", "tiny.json", "--out", "a-run")
SMALL = ("--epochs", "1", "--architecture", "googlenet_small", "--width", "0.05", "--image-size", "32")
FROM_WEIGHTS = ("--epochs", "1", "--out", "a-run")  # of a tiny network, as every run here
SHORTER_OPTIONS = {
    "exits": ("--max-accuracy-loss", "1"),  # a network that has learned nothing, and a few images
    "tune": ("--epochs", "1", "--config", "tiny.json", "--max-trials", "1"),
    "study": (*SMALL, "--seeds", "1", "--variants", "none", "both"),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in TEXTS if blocks(path, "python") and path != README], ids=name_of)
def test_the_python_of_a_page_runs(path, trained, monkeypatch):
    monkeypatch.chdir(trained)
    model = keras.saving.load_model("runs/flowers/model.keras")
    images = np.random.default_rng(0).uniform(-1, 1, (40, *model.input_shape[1:])).astype("float32")
    labels = np.arange(40) % 3
    names = {"model": model, "images": images, "labels": labels, "validation": (images, labels)}
    source = "\n".join(blocks(path, "python"))
    for text, shorter in SHORTER.items():
        source = source.replace(text, shorter)
    exec(compile(source, str(path), "exec"), names)


def shortened(arguments):
    """Returns a command as it is run here."""
    if arguments[0] != "train":
        return [*arguments, *SHORTER_OPTIONS.get(arguments[0], ())]
    if "--weights" in arguments:
        return [*arguments, *FROM_WEIGHTS]
    if "--heads" in arguments or "--freeze-through" in arguments:  # on rows that a tiny network has not
        return [*arguments, *SMALL, "--out", "a-run"]
    left = list(arguments)
    for name in NETWORK:
        if name in left:
            place = left.index(name)
            del left[place : place + 2]
    return [*left, *TINY_NETWORK]


def is_runnable(arguments):
    """Returns whether a command needs no network, other machine, package of an extra or earlier kill, and no hours.

    Of those that take the longest, 144 crops and the flow of gradients have tests of their own.
    """
    elsewhere = {"imagenet", "convert", "onnx", "--resume", "--initializers", "falling", "144", "--gradient-flow"}
    return not elsewhere & set(arguments) and not any(word.startswith("/shared") for word in arguments)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in TEXTS if any(map(is_runnable, commands(path)))], ids=name_of)
def test_the_commands_of_a_page_run(path, trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    for arguments in filter(is_runnable, commands(path)):
        shutil.rmtree("a-run", ignore_errors=True)
        assert main(shortened(arguments)) == 0, arguments
