"""`keras-inception train` as a user sees it: its lines, what Ctrl-C says, and what TensorFlow lacks of the machine."""

import json
import math
import re
import shlex
import signal

import pytest
from tiny_network import TINY

pytest.importorskip("tensorflow")

from keras_inception.cli import main
from keras_inception.network import sizes
from keras_inception.training import saving


@pytest.fixture
def config(image_folder, tmp_path):
    """A file that configures a short training of the tiny network."""
    path = tmp_path / "tiny.json"
    options = {"architecture": TINY.to_dict(), "dataset": str(image_folder), "epochs": 2, "batch_size": 16}
    path.write_text(json.dumps(options))
    return str(path)


@pytest.mark.slow
def test_a_log_has_a_line_an_epoch_and_ctrl_c_says_the_command_that_goes_on(config, tmp_path, monkeypatch, capsys):
    run = tmp_path / "my run"
    on_epoch_end = saving.SaveRun.on_epoch_end

    def interrupted(self, epoch, logs=None):
        signal.raise_signal(signal.SIGINT)  # it waits until the epoch is saved and printed
        on_epoch_end(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(saving.SaveRun, "on_epoch_end", interrupted)
        assert main(["train", "--config", config, "--out", str(run)]) == 130
    first = capsys.readouterr()
    command = re.search(r"interrupted after 1 epoch; go on with `(.*)`\n", first.err)[1]
    assert shlex.split(command) == ["keras-inception", "train", "--resume", str(run)]
    assert main(shlex.split(command)[1:]) == 0
    second = capsys.readouterr()
    assert "going on after 1 epoch" in second.out
    for output, epoch in ((first.out, "epoch 1/2: "), (second.out, "epoch 2/2: ")):
        lines = [line for line in output.splitlines() if line.startswith("epoch ")]
        assert len(lines) == 1
        assert lines[0].startswith(epoch)
        assert re.search(r": loss \d+\.\d{4}; validation: loss \d+\.\d{4}, accuracy main \d+\.\d\d%, aux", lines[0])
        assert not re.search(r"[\r\x08\x1b]|step", output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (None, r"A network of this size needs more than .* GiB of memory .*Use smaller batches, smaller images,"),
        (math.inf, "there is not enough memory: use smaller images, smaller"),
    ],
)
def test_too_little_memory_is_one_line(config, tmp_path, capsys, monkeypatch, memory, message):
    if memory:  # as if the system did not say how much there is: then TensorFlow says it
        monkeypatch.setattr(sizes, "memory", lambda: memory)
    # One image has more bytes than a process has addresses, so that no machine tries.
    assert main(["train", "--config", config, "--out", str(tmp_path / "run"), "--image-size", "10000000"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"keras-inception train: error: {message}", error)
