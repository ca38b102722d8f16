"""The campaign of mutants of the mathematical core: which mutants there are, and that tests notice them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.core_mutants import ALL, EQUIVALENT, PATHS, chosen_mutants, of_mutant, table
from tests.support.mutation import Mutant, mutants

ROOT = Path(__file__).parents[1]
MODULE = '''"""Text."""
LIMIT = 3


def f(a: int = 1, *, strict: bool = True) -> float:
    """Text 1."""
    if a < LIMIT and not a:
        a += 2
        print(a)
    while a > 5:
        break
    if a:
        raise ValueError(f"{a + 1}")
    return min(a, -a) / 2.0 if a == 4 else sorted([a], reverse=True, key=abs)[0]
'''
CHANGES = """
3 → 4; 1 → 2; True → False; a < LIMIT and (not a) → not (a < LIMIT and (not a)); a < LIMIT and not a → a < LIMIT or not a;
a < LIMIT → a <= LIMIT; a < LIMIT → a >= LIMIT; not a → a; a += 2 → pass; a += 2 → a -= 2; 2 → 3; print(a) → pass;
a > 5 → not (a > 5); a > 5 → a >= 5; a > 5 → a <= 5; 5 → 6; break → continue; a → not (a);
raise ValueError(f"{a + 1}") → pass;
min(a, -a) / 2.0 if a == 4 else sorted([a], reverse=True, key=abs)[0] → sorted([a], reverse=True, key=abs)[0] if a == 4 else min(a, -a) / 2.0;
a == 4 → a != 4; 4 → 5; min(a, -a) / 2.0 → min(a, -a) * 2.0; min(a, -a) → max(a, -a); -a → a; 2.0 → 5.0;
sorted([a], reverse=True, key=abs) → sorted([a], key=abs); sorted([a], reverse=True, key=abs) → sorted([a], reverse=True);
True → False; 0 → 1
"""  # noqa: E501


def test_what_is_changed() -> None:
    expected = {change.strip() for change in CHANGES.replace("\n", " ").split(";") if change.strip()}
    actual = {mutant.change for mutant in mutants("m.py", MODULE)}
    assert {change for change in actual if "not (a < LIMIT" not in change} == {
        change for change in expected if "not (a < LIMIT" not in change
    }
    assert len(actual) == len(expected)


@pytest.mark.parametrize("path", [path for paths in ALL.values() for path in paths])
def test_every_mutant_is_another_program_with_a_key_of_its_own(path: str) -> None:
    source = (ROOT / path).read_text()
    all_of_them = mutants(path, source)
    assert len({mutant.key for mutant in all_of_them}) == len(all_of_them) > 50
    for mutant in all_of_them:
        compile(mutant.source, path, "exec")
        assert mutant.source != source


def test_all_of_some_modules_and_some_of_the_others() -> None:
    drawn = chosen_mutants(7, 0)
    whole = {path for paths in ALL.values() for path in paths}
    assert len([mutant for mutant in drawn if mutant.path not in whole]) == 7
    assert [m.key for m in chosen_mutants(7, 0)] == [m.key for m in drawn] != [m.key for m in chosen_mutants(7, 1)]
    assert {mutant.path for mutant in drawn} <= set(PATHS)
    assert chosen_mutants(8, 0)[:-1] == drawn  # so a sample grows, and what is known of it stays known


def test_a_mutant_is_tried_with_the_tests_that_run_its_statement() -> None:
    tests = {
        "slow": {"seconds": 2.0, "lines": {"m.py": [4, 5]}},
        "quick": {"seconds": 0.1, "lines": {"m.py": [5]}},
        "other": {"seconds": 0.2, "lines": {"m.py": [9], "n.py": [5]}},
        "longest": {"seconds": 30.0, "lines": {"m.py": [5]}},
    }
    mutant = Mutant("m.py", "x = 1", "1 → 2", 0, (5, 6), False, "x = 2")
    assert of_mutant(mutant, tests) == ["quick", "slow"]
    assert of_mutant(Mutant("m.py", "x = 1", "1 → 2", 0, (1, 1), False, "x = 2"), tests) == []
    assert of_mutant(Mutant("m.py", "x = 1", "1 → 2", 0, (5, 5), True, "x = 2\n" * 9), tests) == [
        "quick",
        "other",
        "slow",
    ]
    assert of_mutant(Mutant("m.py", "def f(x=1):", "1 → 2", 0, (4, 4), True, "x = 2"), tests) == ["slow"]


def test_outcomes_are_counted_by_module() -> None:
    mutant = Mutant(PATHS[0], "x = 1", "1 → 2", 0, (1, 1), False, "x = 2")
    same = Mutant(PATHS[0], "x = 1", "1 → 3", 0, (1, 1), False, "x = 3")
    counted = table(
        [(mutant, {"failed": "t"}), (mutant, {"failed": None}), (same, {"failed": None})], {same.key: "why"}
    )
    assert f"| `{PATHS[0]}` | 3 | 1 | 1 | 1 |" in counted
    assert "| all | 3 | 1 | 1 | 1 |" in counted


def test_equivalent_mutants_exist_and_say_why() -> None:
    reasons = json.loads(EQUIVALENT.read_text())
    keys = {mutant.key for path in PATHS for mutant in mutants(path, (ROOT / path).read_text())}
    assert reasons.keys() - keys == set()
    assert all(len(reason) > 15 for reason in reasons.values())


TRIAL = """
import json, sys
from tests.support.covering import ROOT, coverage, run_session
from tests.support.mutation import mutants
path, file = "tensortrain/conv/alignment.py", "tests/tensortrain/test_alignment.py"
source = (ROOT / path).read_text()
tests = coverage(file, [path])
name = next(name for name in tests if name.endswith("test_the_border_is_no_wider_and_no_narrower"))
half = [m for m in mutants(path, source) if m.statement.startswith("return tuple(((e // 2, e - e // 2)")]
def work(session):
    texts = (source, half[0].source, "def border(*_): 1 / 0")
    answers = [session.first_failure(path, text, {name: 1.0}) for text in texts]
    dead = session.first_failure(path, "def border(*_): __import__('os')._exit(1)", {name: 1.0})
    endless = session.first_failure(path, "def border(*_):\\n    while True: pass", {name: 0.0})
    print(json.dumps([*answers, dead, endless, sorted(tests[name]["lines"]), len(tests)]))
run_session([str(ROOT / file)], work)
"""


def test_a_mutant_is_noticed_in_a_process_of_its_own() -> None:
    """Tests run in forks, so this needs a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", TRIAL], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    unchanged, changed, broken, dead, endless, modules, count = json.loads(done.stdout.splitlines()[-1])
    assert unchanged is None
    assert changed == broken == "tests/tensortrain/test_alignment.py::test_the_border_is_no_wider_and_no_narrower"
    assert dead == endless == "the process ended"
    assert modules == ["tensortrain/conv/alignment.py"]
    assert count > 10
