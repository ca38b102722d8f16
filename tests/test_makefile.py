"""The benchmarks that `make bench` starts: those that need nothing, and with `DATA` those that need the data."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
ROOT = Path(__file__).parents[1]
PROGRAMS = {path.stem: path.read_text() for path in (ROOT / "tests" / "benchmarks").glob("*.py")}


def started(*arguments: str) -> list[str]:
    """The programs that `make bench` would start as modules, which alone lets them import the tests' support."""
    printed = subprocess.run(
        ["make", "--dry-run", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    loops = re.findall(
        r"for program in ([\w ]+); do [^;]*python -m tests.benchmarks.\$program", printed.replace("\\\n", "")
    )
    return [program for programs in loops for program in programs.split()]


def needs(source: str) -> int:
    """How many arguments a program cannot do without."""
    return len(re.findall(r"add_argument\(\"\w", source))


def test_make_bench_starts_every_program_that_can_run_alone() -> None:
    assert {name for name in started() if needs(PROGRAMS[name]) == 0} == {
        name for name, source in PROGRAMS.items() if "__main__" in source and needs(source) == 0
    }
    on_data = [name for name in started("DATA=folder") if needs(PROGRAMS[name])]
    assert on_data == [name for name in sorted(PROGRAMS) if needs(PROGRAMS[name]) == 1 and '"root"' in PROGRAMS[name]]
