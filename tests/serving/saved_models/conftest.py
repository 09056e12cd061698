"""The client, and a stand-in of TensorFlow Serving that serves the exports of these tests."""

import importlib.util
from pathlib import Path

import pytest
from encoded_images import encode, photograph
from stand_in import Model, serve

CLIENT = Path(__file__).parents[3] / "saved_models" / "client.py"


@pytest.fixture(scope="session")
def client():
    """The module `saved_models/client.py`."""
    spec = importlib.util.spec_from_file_location("client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def models(server, masking_server):
    """What is served: two versions of `flowers`, of which 1 names five classes and 2 names two and masks bad images."""
    labels = {"stable": 1, "canary": 2}
    return {"flowers": Model({1: server, 2: masking_server}, labels), "plain": Model({1: server})}


@pytest.fixture(scope="module")
def rest(models):
    """The port for REST, and the list of the bodies of the requests."""
    with serve(models) as served:
        yield served


@pytest.fixture
def ask(client, rest, monkeypatch, capsys):
    """Returns `ask(*arguments, server=None)`: exit code, what it prints, and its errors."""
    monkeypatch.setenv("no_proxy", "*")

    def run(*arguments, server=None):
        address = server or f"http://localhost:{rest[0]}"
        code = client.main(["--server", address, "--timeout", "20", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Three image files, and two that are none, by name."""
    folder = tmp_path_factory.mktemp("images")
    contents = {
        "a.jpg": encode(photograph(seed=0), "JPEG"),
        "b.png": encode(photograph(seed=1), "PNG"),
        "c.webp": encode(photograph(seed=2), "WEBP"),
        "broken.jpg": encode(photograph(), "JPEG")[:200],
        "notes.txt": b"no image",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
