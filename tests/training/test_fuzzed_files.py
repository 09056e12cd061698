"""Mutants of configurations and of the files of a run: a line, or something sound; never a traceback, nothing lost."""

import json
import random
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception.errors import InputError
from keras_inception.study import rows
from keras_inception.training import checkpoint, loop
from keras_inception.training.config import OPTIONS, TrainConfig, to_options
from keras_inception.training.loop import train

pytestmark = pytest.mark.slow

VALUES = (
    None, True, False, 0, 1, -1, 0.5, 1e308, float("nan"), float("inf"), 10**400, "", "off", "ten", "quick",
    "x" * 99_999, "\0", "\udcff", [], [1], [0.1, 1], ["quick"], [[]], {}, {"a": 1}, {"name": "quick"}, [None],
    {"kind": "Conv"},
)  # fmt: skip
TOML = (
    "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "[1, [2]]", "{a = 1}", "true", "nan", "-inf", "0x10", '""',
    '"ten"', "'''\nx\n'''", "[{a = 1}]", "99999999999999999999999", "",
)  # fmt: skip
YAML = (
    "*x", "&x [*x]", "!!binary aGVsbG8=", "!!set {a, b}", "!!python/object:os.system x", "{1: 2}", "2020-13-45", "off",
    "[" * 3000, "9" * 5000, "!!float x", "|\n  two\n  lines",
    # a list of which each item is a list of the ones before: 6**9 numbers
    "[&a [1, 1, 1, 1, 1, 1], " + ", ".join(f"&{y} [{6 * f'*{x}, '}]" for x, y in zip("abcdefgh", "bcdefghi")) + "]",
)  # fmt: skip


def changed(chance, value):
    """Returns a value of JSON with one change, at any depth, of a value, a name or the number of items."""
    if value and isinstance(value, (dict, list)) and chance.random() < 0.8:
        value = value.copy()
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        kind = chance.random()
        if kind < 0.1:
            del value[key]
        elif kind < 0.2 and isinstance(value, dict):
            value[chance.choice(("", " ", "é", f"{key}s"))] = value.pop(key)
        elif kind < 0.2:
            value.append(value[key])
        else:
            value[key] = changed(chance, value[key])
        return value
    return chance.choice(VALUES)


def damaged(chance, content):
    """Returns the bytes of a file, some of them changed, left out, doubled, or cut off at the end."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 3))):
        place = chance.randrange(len(content) + 1)
        kind = chance.random()
        if kind < 0.4:
            content[place : place + 1] = bytes([chance.randrange(256)])
        elif kind < 0.6:
            del content[place : place + chance.randrange(1, 40)]
        elif kind < 0.8:
            content[place:place] = content[max(0, place - 20) : place]
        else:
            del content[place:]
    return bytes(content)


def is_refused(call, *arguments):
    """Returns whether a call refuses its input in one line; any other error is a failure of the test."""
    try:
        call(*arguments)
    except InputError as error:
        text = str(error)
    else:
        return False
    assert "\n" not in text
    assert 20 < len(text) <= 2100
    return True


def configured(path):
    config = TrainConfig.from_file(path)
    assert TrainConfig.of(**json.loads(json.dumps(to_options(config)))) == config
    assert config.loss_weights


def test_mutants_of_configurations_are_refused_in_a_line_or_sound(tmp_path):
    chance, refused, count = random.Random(0), 0, 0
    options = json.loads(json.dumps(to_options(TrainConfig.of(architecture=TINY, recipe="modern", mixup=0.2))))
    path = tmp_path / "config.json"
    for _ in range(300):
        mutant = changed(chance, options if chance.random() < 0.6 else {"architecture": options["architecture"]})
        path.write_text(json.dumps(mutant))
        refused, count = refused + is_refused(configured, path), count + 1
    for ending, text in (("json", json.dumps(options)), ("yaml", yaml.safe_dump(options)), ("toml", 'recipe = "bvlc"')):
        path = tmp_path / f"config.{ending}"
        for _ in range(100):
            path.write_bytes(damaged(chance, text.encode()))
            refused, count = refused + is_refused(configured, path), count + 1
    for name in OPTIONS:
        for ending, sign, values in (("toml", "=", TOML), ("yaml", ":", YAML)):
            path = tmp_path / f"config.{ending}"
            path.write_text(f"{name} {sign} {chance.choice(values)}\n")
            refused, count = refused + is_refused(configured, path), count + 1
    for odd in (tmp_path, "/dev/null", tmp_path / "none.toml", "x" * 5000, "a\0b", tmp_path / "config.toml" / "x"):
        assert is_refused(configured, odd)
    assert 0.5 * count < refused < count  # most are refused, and some are sound: the mutants are of both kinds


class ReachedError(Exception):
    """The training would begin now."""


@pytest.fixture
def unfinished(tmp_path):
    """The folder of a run within its first epoch, and the model."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.full((12, 12, 3), 99 * (name == "b") + index, "uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    training = loop.Training(
        TrainConfig.of(dataset=str(tmp_path / "images"), architecture=TINY, batch_size=2), tmp_path / "run"
    )
    training.check_folder()
    training.folder.mkdir()
    training.begin()
    checkpoint.write(training.folder / "checkpoint.npz", training.model, checkpoint.Progress(0, 1, []))
    return training.folder, training.model


def test_mutants_of_the_files_of_a_run_are_refused_in_a_line_or_go_on(unfinished, tmp_path, monkeypatch):
    folder, model = unfinished

    def reached(self, *_):
        raise ReachedError

    monkeypatch.setattr(loop, "compiled_model", lambda *_: model)
    monkeypatch.setattr(loop.Training, "fit", reached)

    def go_on(run):
        with pytest.raises(ReachedError):
            train(folder=run, resume=True, verbose=0, report=lambda message: None)

    chance, refused, count = random.Random(1), 0, 0
    for name, mutants in (("config.json", 25), ("data.json", 25), ("checkpoint.npz", 60)):
        for _ in range(mutants):
            run = tmp_path / f"run-{count}"
            shutil.copytree(folder, run)
            content = (run / name).read_bytes()
            if name.endswith("json") and chance.random() < 0.6:
                mutant = json.dumps(changed(chance, json.loads(content))).encode()
            else:
                mutant = damaged(chance, content)
            (run / name).write_bytes(mutant)
            before = {path: path.read_bytes() for path in run.iterdir() if path.name != ".lock"}
            is_bad, count = is_refused(go_on, run), count + 1
            refused += is_bad
            if is_bad:
                assert {path: path.read_bytes() for path in run.iterdir() if path.name != ".lock"} == before
            shutil.rmtree(run)
    assert 0.5 * count < refused < count


def test_mutants_of_a_study_s_files_are_refused_in_a_line_or_read(tmp_path):
    chance, refused, count = random.Random(2), 0, 0
    config = TrainConfig.of(epochs=2, batch_size=4)
    contents = {
        "config.json": json.dumps(to_options(config)),
        "results.json": json.dumps({"test": {"main": {"accuracy": 0.5}}, "sizes": {"train": 4, "test": 2}}),
        "history.csv": "epoch,val_main_accuracy\r\n1,0.5\r\n2,0.75\r\n",
        "steps.csv": "step,cpu_seconds,chance,main_loss\r\n1,0.5,0.69,0.7\r\n2,0.5,0.69,0.6\r\n",
        "gradients.csv": "epoch,head,loss_weight,row,gradient_norm\r\n0,main,1.0,5b,0.5\r\n1,main,1.0,5b,0.25\r\n",
    }

    def read():
        return rows.of_folder(tmp_path, "tiny", "none", 0, config.recipe)

    for name, text in contents.items():
        for other, whole in contents.items():
            (tmp_path / other).write_text(whole)
        assert not is_refused(read)
        for _ in range(50):
            if name.endswith("json") and chance.random() < 0.6:
                (tmp_path / name).write_text(json.dumps(changed(chance, json.loads(text))))
            else:
                (tmp_path / name).write_bytes(damaged(chance, text.encode()))
            refused, count = refused + is_refused(read), count + 1
    assert 0 < refused < count
