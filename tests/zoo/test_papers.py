"""Published results and settings: the tables once more, row by row, and what is refused."""

import csv
from pathlib import Path

import pytest

from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.evaluation import CONVENTIONS, LAYOUTS
from zoo.papers import CONV_TT_LSTM, MNIST_10, PAPERS, System, results_table
from zoo.settings import from_plain, to_plain

TRANSCRIPT = Path(__file__).parents[1] / "reference" / "published.csv"


def test_every_published_number_is_that_of_a_second_transcript() -> None:
    with TRANSCRIPT.open(newline="") as file:
        expected = [
            (
                row["source"],
                row["model"],
                float(row["millions"] or 0),
                (row["data"], int(row["observed"]), int(row["horizon"])),
                row["metric"],
                float(row["value"]),
            )
            for row in csv.DictReader(file)
        ]
    numbers = [
        (table.source, row.model, row.millions, task, metric, value)
        for paper in PAPERS.values()
        for table in paper.tables
        for row in table.rows
        for task, values in row.values.items()
        for metric, value in values.items()
    ]
    assert sorted(numbers) == sorted(expected)
    assert len(expected) == len(set(expected)) == 132


def test_every_published_number_is_in_a_table_to_print() -> None:
    """In units without a factor: what is printed in thousandths is not there."""
    printed = {
        (row.source, row.model, task, metric): value * row.convention[metric].scale
        for layout in LAYOUTS.values()
        for each in layout.tables
        for row in each.rows
        for task, values in row.values.items()
        for metric, value in values.items()
    }
    papers = {
        (table.source, row.model, task, metric): value
        for paper in PAPERS.values()
        for table in paper.tables
        for row in table.rows
        for task, values in row.values.items()
        for metric, value in values.items()
    }
    assert printed == pytest.approx(papers, rel=1e-12)


@pytest.mark.parametrize("numbers", [(46.5,), (46.5, 0.898, 0.9)])
def test_a_row_with_a_number_too_many_or_too_few_is_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ZooError, match=rf"Table 7: A has {len(numbers)} numbers for 2 columns"):
        results_table("Table 7", "standard", {MNIST_10: ("mse", "ssim")}, ("A", 0, numbers, System("conv-lstm")))


@pytest.mark.parametrize("paper", PAPERS.values(), ids=list(PAPERS))
def test_a_paper_is_complete(paper) -> None:
    assert PAPERS[paper.key] is paper
    assert paper.url.startswith("https://")
    assert str(paper.year) in paper.citation
    for kind, published in paper.settings.items():
        recipe = published.recipe({"video": "conv-lstm", "series": "lstm"}[published.data.content], {})
        assert recipe.data.kind == kind
        assert check_recipe(recipe) == from_plain(to_plain(recipe), "here") == recipe
    for table in paper.tables:
        assert table.convention in CONVENTIONS


def test_the_learning_rate_follows_the_kernel() -> None:
    published = CONV_TT_LSTM.settings["moving-mnist"]
    assert [published.recipe("m", {"kernel": k}).learning_rate.base for k in (3, 5)] == [1e-3, 1e-4]
