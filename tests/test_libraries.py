"""The page of all libraries: what `tests/benchmarks/libraries.py` writes into its tables."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tensortrain.profiling.clock import Clock
from tests.benchmarks.libraries import LIBRARIES, Task, measure, result_cells, time_cells, write
from tests.benchmarks.library_layers import layer_tasks

ROOT = Path(__file__).parents[1]


def broken() -> Any:
    raise TypeError("of another library")


def noisy() -> int:
    print("a peer that prints")
    return 2


@pytest.fixture
def outcome() -> Any:
    runs = {"ours": lambda: 1, "tntorch svd": noisy, "tntorch eig": lambda: 4, "torchTT": broken}
    return measure(Task("sum", "a, b", runs, str), 3, Clock(torch.device("cpu"), 1))


def test_results_and_times_of_all_libraries(outcome: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Ways of a library share its cell, and one that fails says so and has no time."""
    assert result_cells(outcome) == {"ours": "1", "tntorch": "2 (svd), 4 (eig)", "torchTT": "fails: TypeError"}
    assert len(outcome.seconds) == 3
    seconds = [{"ours": 0.002, "tntorch svd": 0.003 + n / 1000, "tntorch eig": 0.001} for n in range(3)]
    assert time_cells(outcome._replace(seconds=seconds)) == {"ours": "2", "tntorch": "2.00 (svd), 0.50 (eig)"}
    assert time_cells(outcome._replace(seconds=[{"ours": 2.0}])) == {"ours": "2,000"}
    assert capsys.readouterr().out == ""


def test_a_failure_of_this_library_is_an_error() -> None:
    with pytest.raises(TypeError, match="of another library"):
        measure(Task("sum", "", {"ours": broken}, str), 1, Clock(torch.device("cpu"), 1))


def test_the_page_can_read_the_tables(outcome: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    sys.modules.pop("result_files", None)
    from result_files import read_table

    write(tmp_path / "table.csv", [outcome], result_cells, "# command: c\n# machine: m\n")
    header, row = read_table(tmp_path / "table.csv").rows
    assert header == ["task", "case", *LIBRARIES.values()]
    assert row == ["sum", "a, b", "1", "–", "–", "fails: TypeError", "2 (svd), 4 (eig)", "–", "–"]


def test_layers_are_compared_with_their_dense_weights() -> None:
    """The error of this library's layers is that of rounding."""
    for task in layer_tasks():
        assert float(task.result(task.runs["ours"]())) < 1e-5
