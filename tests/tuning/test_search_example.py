"""The script `examples/search.py`, on a folder of few images."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "search.py"


@pytest.mark.slow
def test_it_finds_hyperparameters(image_folder, tmp_path, monkeypatch, capsys):
    arguments = ["--dataset", str(image_folder), "--out", str(tmp_path), "--trials", "1", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["search.py", *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "best: {'" in capsys.readouterr().out
