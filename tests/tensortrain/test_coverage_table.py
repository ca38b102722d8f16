"""The table in proofs/README.md of what the theorems speak of, and its list of what is on paper only."""

import ast
import importlib
import inspect
import re
from functools import reduce
from pathlib import Path

import pytest

from tests.support.proofs import PROOFS, names

TEXT = (PROOFS / "README.md").read_text()
TESTS = Path(__file__).parent
COMPLETE = ("conv.alignment", "conv.functional", "tt.functional")  # every public function is in the table
CHECKS = {"check_inputs"}  # of arguments, not of numbers


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    level = title.split()[0]
    _, _, rest = TEXT.partition(f"\n{title}\n")
    assert rest, title
    return re.split(rf"^#{{2,{len(level)}}} ", rest, flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def steps(text: str) -> set[str]:
    """Numbered steps that a text names, those of ranges such as P1.2–4 included."""
    named = set()
    for part, first, last in re.findall(r"P(\d+)\.(\d+)(?:–(\d+))?", text):
        named |= {f"P{part}.{n}" for n in range(int(first), int(last or first) + 1)}
    return named


COVERAGE = rows("### Coverage")
STEPS = set(re.findall(r"^- \*\*(P\d+\.\d+)\*\*", section("## Part 1: on paper"), flags=re.MULTILINE))
DEFINED = {
    node.name
    for file in TESTS.glob("test_*.py")
    for node in ast.parse(file.read_text()).body
    if isinstance(node, ast.FunctionDef)
}


def code(cell: str) -> list[str]:
    """Functions of a row: names with the module in which they are."""
    return [name for name in quoted(cell) if "." in name]


@pytest.mark.parametrize("row", COVERAGE, ids=lambda row: row[0])
def test_what_a_row_names_exists(row: list[str]) -> None:
    functions, theorems, kind, tests, trusted = row
    assert code(functions)
    for name in code(functions):
        path, _, attribute = name.rpartition(".")
        owner, _, method = path.rpartition(".")
        if method[:1].isupper():  # of a class
            path, attribute = owner, f"{method}.{attribute}"
        module = importlib.import_module(f"tensortrain.{path}")
        assert reduce(getattr, attribute.split("."), module) is not None
    assert quoted(theorems) or steps(theorems)
    assert set(quoted(theorems)) <= set(names("Theorem|Corollary"))
    assert steps(theorems) <= STEPS
    assert kind in ("M", "P", "T")
    assert (kind == "P") == bool(steps(theorems))
    assert quoted(tests)
    assert set(quoted(tests)) <= DEFINED
    assert trusted


@pytest.mark.parametrize("module", COMPLETE)
def test_no_function_is_left_out(module: str) -> None:
    listed = {name for row in COVERAGE for name in code(row[0])}
    members = vars(importlib.import_module(f"tensortrain.{module}")).items()
    own = {name for name, value in members if inspect.isfunction(value) and value.__module__ == f"tensortrain.{module}"}
    public = {f"{module}.{name}" for name in own - CHECKS if not name.startswith("_")}
    assert public - listed == set()


def test_every_step_is_checked_by_machine_or_listed_as_on_paper() -> None:
    checked = set().union(*(steps(line.split("|")[1]) for line in TEXT.splitlines() if re.match(r"\| P\S.*`", line)))
    paper = set().union(*(steps(row[0]) for row in rows("### On paper only, and why")))
    notation = {step for step in STEPS if step.startswith("P0.")}
    assert len(STEPS) > 50
    assert STEPS - checked - paper - notation == set()
    assert paper <= STEPS


def test_every_row_on_paper_says_why() -> None:
    assert all(len(row) == 2 and len(row[1]) > 10 for row in rows("### On paper only, and why"))
    listed = set().union(*(steps(row[0]) for row in rows("### On paper only, and why"))) | {"P0.3", "P4.7"}
    assert set().union(*(steps(row[1]) for row in COVERAGE)) <= listed
