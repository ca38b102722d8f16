"""The program behind the speed page: the tables that it writes are those that the page shows."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import speed
from zoo.benchmark import Row

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def rows_of(model: str, preset: str, job: str) -> list[Row]:
    plain = Row(model, preset, job, "plain", 5, 8, 20, None, seconds=2.0, speedup=1.0, clips_per_second=4.0)
    return [plain, Row(model, preset, job, "windows-apart", 5, 8, 20, None, note="only Conv-TT-LSTM has windows")]


def test_each_table_of_the_page_is_written_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_cases(recipes: Any, jobs: Any, variants: Any, **options: Any) -> Iterator[tuple[list[Row], list[Any]]]:
        for preset, recipe in recipes:
            yield rows_of(recipe.model, preset, jobs[0]), []

    monkeypatch.setattr(speed, "run_cases", run_cases)
    for preset in speed.BATCH:
        monkeypatch.setattr(sys, "argv", ["speed", preset, "--output", str(tmp_path)])
        speed.main()
    other = {"speed-training-earlier.csv", "speed-training-baselines.csv"}  # written by `zoo benchmark -o`
    tables = {path.name for path in RESULTS.glob("speed-*.csv")} - other
    assert {path.name for path in tmp_path.iterdir()} == tables
    for name in tables:
        command, _, values, *lines = (tmp_path / name).read_text().splitlines()
        preset = name.removesuffix(".csv").rpartition("-")[2]
        assert command == f"# command: python -m tests.benchmarks.speed {preset} --threads 1 --rounds 3"
        assert f"batch {8 if preset == 'small' else 2}," in values
        header, *rows = csv.reader(lines)
        shown = [line for line in (RESULTS / name).read_text().splitlines() if not line.startswith("# ")]
        assert header == next(csv.reader(shown))
        assert [row[:5] for row in rows] == [[model, "plain", "2", "4", "1.00"] for model in speed.video_models()]
