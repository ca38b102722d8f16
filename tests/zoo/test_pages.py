"""The commands of the documentation's page on the user's own models run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import run_command

PAGES = Path(__file__).parents[2] / "docs" / "tasks"


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
    assert "a model of your own needs --import FILE" in capsys.readouterr().err
