"""The Python of the documentation's pages on the user's own data and models runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import run_command
from zoo import registry

PAGES = Path(__file__).parents[2] / "docs" / "tasks"


@pytest.mark.parametrize("page", ["own-data.md", "own-models.md"])
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    names: dict[str, Any] = {"__name__": page}
    blocks = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, names)


def test_the_commands_of_the_page_on_models_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of their own, which has not seen the model before."""
    page = (PAGES / "own-models.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    commands = re.findall(r"^zoo .*", page, re.MULTILINE)
    assert len([line for line in code.splitlines() if line]) <= 25
    (tmp_path / "my_models.py").write_text(code)
    few = "--training.steps 1 --training.validation_clips 1 --training.accelerator cpu --data.source embedded"
    outputs = []
    for line in commands:
        words = line.split()[1:]
        words += few.split() if words[0] == "train" else ["--count", "2"] if words[0] == "evaluate" else []
        done = subprocess.run(
            [sys.executable, "-m", "zoo", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ZOO_DATA": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "my-net" in outputs[2]
    assert "One recurrent convolution." in outputs[2]
    assert "mine" in outputs[1]
    assert run_command("evaluate", tmp_path / "runs" / "mine") == 2
    assert "one of your own needs --import FILE" in capsys.readouterr().err
