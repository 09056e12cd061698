"""The client of `examples/`."""

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "ask_server.py"


def test_the_example_asks_what_the_client_asks(rest, ask, files, monkeypatch, capsys):
    images = [str(files[name]) for name in ("a.jpg", "b.png")]
    code, likeliest, _ = ask("--model", "flowers", "--top", "1", *images)
    monkeypatch.setattr(sys, "argv", ["ask_server.py", f"http://localhost:{rest[0]}", "flowers", *images])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[:2] for line in lines] == [
        line.split()[:2] for line in likeliest.replace(":", "").splitlines()
    ]
