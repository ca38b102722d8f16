"""The README says what is so: its first example prints its output, its paths and options exist."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path
from typing import get_args

from zoo import settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_example_prints_its_output() -> None:
    code, output = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert numbers(printed.getvalue()) == numbers(output)
    assert words(printed.getvalue()) == words(output)


def test_the_house_has_every_room_of_the_table() -> None:
    table = README.partition("## The house")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        paths = re.findall(r"`([^`]+)`", row)
        package = paths[0].partition("/")[0]
        for path in paths:  # the first is whole, others may leave the package or the folder out
            assert any((ROOT / folder / path).exists() for folder in ("", package, Path(paths[0]).parent)), path


def test_every_setting_in_a_command_exists() -> None:
    classes = {
        "data": get_args(settings.Data),
        "sampling": get_args(settings.Sampling),
        "learning_rate": get_args(settings.LearningRate),
        "training": (settings.Training,),
    }
    named = re.findall(r"--(\w+)\.(\w+)", README)
    assert len(named) > 5
    for part, name in named:
        assert name in {field.name for each in classes[part] for field in dataclasses.fields(each)}, f"{part}.{name}"


def numbers(text: str) -> list[float]:
    """All numbers, errors and bounds rounded to two digits: processors differ in the last ones."""
    return [float(f"{float(n.replace(',', '')):.2g}") for n in re.findall(r"\d[\d,]*\.?\d*", text)]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z→×]+", text)
