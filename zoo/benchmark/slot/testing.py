"""The part that tests: it runs all tests that need a GPU, and lists the failures."""

import csv
import os
from pathlib import Path
from typing import Any

import zoo
from zoo.errors import ZooError

ROOT = Path(zoo.__file__).parents[1]
TESTS = ROOT / "tests" / "cuda"


class Outcomes:
    """A plugin of pytest that writes each test's outcome as soon as it is known, so that a kill loses nothing.

    Args:
        folder: the folder for `tests.csv`, with a line for each test, and `failures.txt`, with the output of failures.
    """

    def __init__(self, folder: Path) -> None:
        self._table, self._failures = folder / "tests.csv", folder / "failures.txt"
        self._append(["test", "outcome", "seconds", "reason"])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest: once for a test that passed, and for each phase that was skipped or failed."""
        if report.passed and report.when != "call":
            return
        text = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else report.longreprtext
        lines = text.strip().splitlines() or [""]
        self._append([report.nodeid, report.outcome, f"{report.duration:.2f}", lines[-1]])
        if report.failed:
            with self._failures.open("a") as file:
                file.write(f"{report.nodeid}\n{text}\n\n")

    def _append(self, row: list[str]) -> None:
        with self._table.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())


def run_tests(folder: Path, end: float) -> None:
    """Run `tests/cuda` of this checkout, at most until this process is ended.

    Raises:
        ZooError: if this is not a checkout, or no test was run.
    """
    import pytest  # the package itself does not need it

    if not TESTS.is_dir():
        raise ZooError(f"there are no tests in {TESTS}; run this program in a checkout")
    words = [str(TESTS), f"--rootdir={ROOT}", "--override-ini=addopts=", "-p", "no:cacheprovider", "-v"]
    status = pytest.main(words, plugins=[Outcomes(folder)])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise ZooError(f"pytest ended with {status!r}; see its log for the reason")
