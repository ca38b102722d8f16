"""The example on the README's first screen prints what the README says."""

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_first_example_prints_its_output() -> None:
    code, output = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert numbers(printed.getvalue()) == numbers(output)
    assert words(printed.getvalue()) == words(output)


def numbers(text: str) -> list[float]:
    """All numbers, errors and bounds rounded to two digits: processors differ in the last ones."""
    return [float(f"{float(n.replace(',', '')):.2g}") for n in re.findall(r"\d[\d,]*\.?\d*", text)]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z→×]+", text)
