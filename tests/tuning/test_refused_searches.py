"""What keeps a search from going on is named: another process, other images, damaged files, a wrong environment."""

import json
import shutil
import socket
import subprocess
import sys
import types
from dataclasses import replace

import grpc
import pytest
from PIL import Image
from tiny_network import TINY

from keras_inception import TrainConfig, files
from keras_inception.errors import InputError, StoppedError
from keras_inception.recipes import Augmentation
from keras_inception.training.config import to_options
from keras_inception.training.configured import load_data
from keras_inception.tuning import processes
from keras_inception.tuning import search as searches


def config_of(images):
    return TrainConfig.of(architecture=TINY, dataset=str(images), epochs=1, batch_size=16, image_size=10)


@pytest.fixture(scope="module")
def data(image_folder):
    return load_data(config_of(image_folder))


@pytest.fixture
def loaded_once(data, monkeypatch):
    """Spares a test the reading of images that it does not change."""
    monkeypatch.setattr(searches, "load_data", lambda config, **options: data)


@pytest.fixture
def images(image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def searched(images, tmp_path, monkeypatch):
    """Returns `searched(max_trials)`, which searches those images in a folder, with trainings that do nothing."""
    used = []

    def fit(self, hp, model, **kwargs):
        used.append({name for names in self.record["splits"].values() for name in names})
        return {"val_main_accuracy": 0.5}

    monkeypatch.setattr(searches._OnDataset, "fit", fit)

    def run(max_trials=1, **options):
        options = {"space": {"learning_rate": [0.001, 0.002, 0.003]}, "tuner": "random", **options}
        searches.search(config_of(images), tmp_path / "found", max_trials=max_trials, **options)
        return used

    return run


def test_two_searches_in_one_folder_are_refused_and_one_that_was_killed_is_not(searched, loaded_once, tmp_path):
    folder = tmp_path / "found"
    program = f"from keras_inception import files; lock = files.locked({str(folder)!r}); lock.__enter__()"
    program += "; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match=rf"Another process is writing to {folder}\. Wait for it"):
            searched()
        other.kill()
    assert len(searched()) == 1


def test_a_search_goes_on_with_its_images_alone(searched, images):
    begun = searched()[0]
    Image.new("RGB", (40, 36)).save(images / "dark" / "late.png")
    assert searched(2) == [begun, begun]
    (images / "dark" / "3.png").unlink()
    with pytest.raises(InputError, match=r"must be those that the run began with.* 1 file gone.*dark/3\.png"):
        searched(3)
    assert len(searched(1, overwrite=True)) == 3
    (images / "dark").rename(images / "night")
    with pytest.raises(InputError, match=r"Classes \['dark', 'light'\] are now \['light', 'night'\]"):
        searched(3)


def test_a_search_of_an_earlier_version_or_with_another_check_goes_on(searched, images, tmp_path, monkeypatch):
    searched()
    path = tmp_path / "found" / "search.json"
    identity = files.read_json(path)
    newer = ["training: full_check", "training: split_seed", "training: mixup_off_epoch"]
    of_before = {name: value for name, value in identity.items() if name not in newer}
    assert of_before["training: flip"] is False
    files.write_json(path, of_before | {"training: flip": None})  # follows from recipe and dataset
    assert len(searched(2)) == 2
    flipped = replace(config_of(images), augmentation=Augmentation(flip=True))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "config_of", lambda images: flipped)
        with pytest.raises(InputError, match=r"holds another search: training: flip was False and is True\. Go"):
            searched(3)
    files.write_json(path, identity)
    whole = replace(config_of(images), full_check=True, skip_bad_images=True)
    monkeypatch.setattr(sys.modules[__name__], "config_of", lambda images: whole)
    assert len(searched(3)) == 3
    files.write_json(path, identity | {"training: mixup": 0.2})
    with pytest.raises(InputError, match=r"holds another search: training: mixup was 0\.2 and is None\. Go on"):
        searched(4)


BEGINS = {"begins": "0", "tuner": "tuner0", "values": {"learning_rate": 0.001}}
ENDS = {"trial": "0", "status": "COMPLETED", "score": 0.5, "seconds": 1.0, "epochs": 1, "reason": ""}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("search.json", "{", r"search\.json is missing or no JSON file"),
        ("search.json", "[]", r"search\.json must say what is searched, and is damaged"),
        ("data.json", None, r"must hold data\.json, which tells the images of the search"),
        ("data.json", "{}", r"data\.json must hold the source, classes and splits"),
        ("trials/journal.json", "[{", r"journal\.json is missing or no JSON file"),
        ("trials/journal.json", "3", "must hold the trials of the search, and is damaged"),
        ("trials/journal.json", "[[]]", "must hold the trials of the search, and is damaged"),
        ("trials/journal.json", [{**BEGINS, "values": {}}], "must hold the trials of the search, and is damaged"),
        ("trials/journal.json", [{**ENDS, "values": BEGINS["values"]}], "must hold the trials of the search"),
        ("trials/journal.json", [BEGINS, {**ENDS, "score": float("nan"), "values": BEGINS["values"]}], "is damaged"),
    ],
)
def test_a_damaged_file_of_a_search_is_named(name, content, message, searched, loaded_once, tmp_path):
    searched()
    path = tmp_path / "found" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message):
        searched(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {}}, r"`config` must be a `TrainConfig`\. Received: config=\{\}"),
        ({"folder": ""}, "`folder` must be the path of a file or folder, and not empty"),
        ({"hours": "1"}, "`hours` must be a number above 0, or None for no limit. Received: hours='1'"),
        ({"max_trials": True}, "`max_trials` must be a whole number of at least 1. Received: max_trials=True"),
        ({"tuner": []}, r"`tuner` must be one of .*Received: tuner=\[\]"),
        ({"config": TrainConfig(train_image_size=79)}, "all epochs alike: leave out `train_image_size`"),
        ({"config": TrainConfig.of(mixup=0.2, final_epochs=2)}, "all epochs alike: leave out `final_epochs`"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        searches.search(**{"config": TrainConfig(), "folder": tmp_path / "found", **options})
    assert list(tmp_path.iterdir()) == []


def test_best_json_is_written_again(searched, loaded_once, tmp_path):
    searched()
    best = (tmp_path / "found" / "best.json").read_text()
    (tmp_path / "found" / "best.json").unlink()
    assert len(searched()) == 1
    assert (tmp_path / "found" / "best.json").read_text() == best


@pytest.fixture
def taken():
    """A port at which something listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("worker0", None, None), "Received: no KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT"),
        (("worker0", "127.0.0.1", None), "Received: no KERASTUNER_ORACLE_PORT"),
        ((None, "127.0.0.1", "8000"), "Received: no KERASTUNER_TUNER_ID"),
        (("", "127.0.0.1", "8000"), "Received: no KERASTUNER_TUNER_ID"),
        (("chief", "", "8000"), "Received: no KERASTUNER_ORACLE_IP"),
        (("worker0", "127.0.0.1", "http"), "must be a number from 1 to 65535. Received: 'http'"),
        (("worker0", "127.0.0.1", "0"), "must be a number from 1 to 65535. Received: '0'"),
        (("worker0", "127.0.0.1", "80000"), "must be a number from 1 to 65535. Received: '80000'"),
        (("../worker0", "127.0.0.1", "8000"), "must be a name such as chief or worker0"),
        (("chief", "127.0.0.1", "TAKEN"), r"and a free port. Received: 127\.0\.0\.1:\d+ \(Address already in use\)"),
        (("chief", "192.0.2.1", "8000"), r"must be an address of the chief's machine"),
    ],
)
def test_wrong_variables_of_a_search_on_several_machines_are_named(values, message, searched, taken, monkeypatch):
    for name, value in zip(processes.VARIABLES, values):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value.replace("TAKEN", taken))
    with pytest.raises(InputError, match=message):
        searched()


def test_a_worker_says_which_chief_it_did_not_find_and_what_it_does_not_see(
    searched, loaded_once, taken, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", taken)
    with pytest.raises(InputError, match=r"must see the folder of its chief's search\. Received: .*found"):
        searched()
    (tmp_path / "found").mkdir()
    with pytest.raises(InputError, match=r"must see the folder of its chief's search\. .* without search\.json"):
        searched()
    twice = r"must have a KERASTUNER_TUNER_ID of its own\. Received: 'worker0', twice"
    with files.locked(tmp_path / "found" / "trials" / "worker-worker0"), pytest.raises(InputError, match=twice):
        searched()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free.getsockname()[1]))  # nothing listens there
    monkeypatch.setattr(processes, "CHIEF_WITHIN_SECONDS", 0.0)
    with pytest.raises(StoppedError, match=r"No chief was at 127\.0\.0\.1:\d+ within 0 minutes \(Connection refused\)"):
        searched()


def test_a_worker_says_which_chief_it_lost(monkeypatch):
    def search(**kwargs):
        raise grpc.RpcError

    for name, value in zip(processes.VARIABLES, ("worker0", "127.0.0.1", "8000")):
        monkeypatch.setenv(name, value)
    with pytest.raises(StoppedError, match=r"The chief at 127\.0\.0\.1:8000 answered no more"):
        searches._run(types.SimpleNamespace(search=search), None, 1)


def search_with_a_damaged_image(images, folder, **options):
    """Searches for two trials, with real trainings, in images of which one is damaged within; begun before it is known.

    Returns the trials that ended, and by each beginning how many images were left out.
    """
    bad = images / "dark" / "3.png"
    if not options.pop("known", False):
        content = bytearray(bad.read_bytes())
        content[len(content) // 2] ^= 255
        bad.write_bytes(content)
    rows, begun = [], []
    searches.search(
        TrainConfig.of(**{**to_options(config_of(images)), "validation_fraction": 0.2, "test_fraction": 0, **options}),
        folder,
        space={"learning_rate": [0.001, 0.002]},
        tuner="random",
        max_trials=2,
        on_begin=lambda data, _: begun.append(len(data.skipped)),
        on_trial=rows.append,
    )
    return rows, begun


def test_a_damaged_image_is_left_out_of_every_trial(images, tmp_path):
    rows, begun = search_with_a_damaged_image(images, tmp_path / "found", skip_bad_images=True)
    assert [(row.trial, row.status) for row in rows] == [("0000", "COMPLETED"), ("0001", "COMPLETED")]
    assert begun == [0, 1]
    assert files.read_json(tmp_path / "found" / "data.json")["skipped"] == ["dark/3.png"]


@pytest.mark.slow
def test_a_damaged_image_ends_a_search_that_may_go_on_without_it(images, tmp_path):
    with pytest.raises(InputError, match=r"damaged.*--skip-bad-images.*dark/3\.png: it is damaged or truncated"):
        search_with_a_damaged_image(images, tmp_path / "found")
    rows, begun = search_with_a_damaged_image(images, tmp_path / "found", known=True, skip_bad_images=True)
    assert [row.status for row in rows] == ["COMPLETED", "COMPLETED"]
    assert begun == [1]


@pytest.mark.slow
def test_a_search_goes_on_with_a_damaged_image_that_was_repaired(images, tmp_path):
    whole = (images / "dark" / "3.png").read_bytes()
    with pytest.raises(InputError, match=r"Bring them back, and the same command goes on.*dark/3\.png"):
        search_with_a_damaged_image(images, tmp_path / "found")
    (images / "dark" / "3.png").write_bytes(whole)
    rows, begun = search_with_a_damaged_image(images, tmp_path / "found", known=True)
    assert [row.status for row in rows] == ["COMPLETED", "COMPLETED"]
    assert begun == [0]
