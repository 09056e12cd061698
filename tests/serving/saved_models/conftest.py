"""Small exports, made once a session, and a stand-in that serves them."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

# The network and the C++ loader of the tests of the export.
sys.path.append(str(Path(__file__).parents[1] / "export"))

from encoded_pictures import encode, picture
from served_network import CLASS_NAMES, TINY, build, shake
from stand_in import Model, StandIn

import keras_inception as ki

FOLDER = Path(__file__).parents[3] / "saved_models"


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(with_architecture):
    with with_architecture(TINY):
        yield


@pytest.fixture(scope="package")
def networks(with_architecture):
    """The networks of versions 1 and 2."""
    with with_architecture(TINY):
        return [shake(build(class_names=CLASS_NAMES), seed) for seed in (1, 2)]


@pytest.fixture(scope="package")
def models(networks, with_architecture, tmp_path_factory):
    """A folder with both versions of `flowers`, and `masked`, which masks unreadable images."""
    folder = tmp_path_factory.mktemp("saved_models")
    with with_architecture(TINY):
        for network in networks:
            ki.export_saved_model(network, folder / "flowers", top_k=5)
        ki.export_saved_model(networks[0], folder / "masked", on_bad_image="mask")
    return folder


@pytest.fixture(scope="module")  # not longer: its threads look for new versions all the time
def server(models):
    """A stand-in that serves both versions of `flowers`, with labels, and `masked`."""
    labels = {"stable": 1, "canary": 2}
    with StandIn(Model("flowers", models / "flowers", (1, 2), labels), Model("masked", models / "masked")) as stand_in:
        yield stand_in


@pytest.fixture(scope="session")
def client():
    """The module `saved_models/client.py`."""
    spec = importlib.util.spec_from_file_location("client", FOLDER / "client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(client, server, monkeypatch, capsys):
    """Returns `ask(*arguments, port=None)`: exit code, what it prints, and its errors."""
    monkeypatch.setenv("no_proxy", "*")

    def run(*arguments, port=None):
        code = client.main(["--port", str(port or server.port), "--timeout", "20", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="package")
def files(tmp_path_factory):
    """Three image files, and two that are none, by name."""
    folder = tmp_path_factory.mktemp("images")
    contents = {
        "a.jpg": encode(picture(seed=0), "JPEG"),
        "b.png": encode(picture(seed=1), "PNG"),
        "c.webp": encode(picture(seed=2), "WEBP"),
        "broken.jpg": encode(picture(), "JPEG")[:200],
        "notes.txt": b"no image",
    }
    paths = {name: folder / name for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    return paths
