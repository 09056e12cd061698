"""The README's Python is run as it stands, but for the number of steps."""

import re
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

README = Path(__file__).parents[1] / "README.md"


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    source = "\n".join(blocks)
    assert "epochs=10" in source
    names = {}
    short = source.replace("epochs=10", "steps_per_epoch=2, validation_steps=1")
    exec(compile(short, "README.md", "exec"), names)
    assert names["model"].output_names == ["main", "aux1", "aux2"]
    assert names["classifier"].count_params() < names["model"].count_params()


def test_the_two_commands_stand_at_the_top():
    first_block = README.read_text(encoding="utf-8").split("```")[1]
    assert (
        first_block
        == 'sh\npip install -e . && keras-inception train\npip install -e ".[test]" && pytest -n 2 --dist worksteal\n'
    )
