"""What a paper is: its citation, how it trains on each data set, and the results that it prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.errors import ZooError
from zoo.settings import AdamOptimizer, Data, LearningRate, Optimizer, Recipe, Sampling, Training

Task = tuple[str, int, int]  # `ClipDataset.comparable_with`, observed frames, horizon
Columns = Mapping[Task, tuple[str, ...]]  # the metrics of each task, in order

MNIST_10, MNIST_30, MNIST_3 = ("moving-mnist-2", 10, 10), ("moving-mnist-2", 10, 30), ("moving-mnist-3", 10, 10)
KTH_20, KTH_40 = ("kth", 10, 20), ("kth", 10, 40)


@dataclass(frozen=True)
class PublishedSettings:
    """How a paper trains on one data set.

    Args:
        data: the clips.
        sampling: scheduled sampling.
        learning_rate: its schedule.
        training: steps, batches and the like.
        optimizer: the optimiser.
        base_by_kernel: other base learning rates, by the side of a network's kernels.
    """

    data: Data
    sampling: Sampling
    learning_rate: LearningRate
    training: Training
    optimizer: Optimizer = field(default_factory=AdamOptimizer)
    base_by_kernel: Mapping[int, float] = field(default_factory=dict)

    def recipe(self, model: str, options: dict[str, Any]) -> Recipe:
        """The recipe of a model with these options."""
        rate = self.learning_rate
        base = self.base_by_kernel.get(options.get("kernel", 0))
        if base is not None:
            rate = replace(rate, base=base)
        return Recipe(model, options, self.data, self.sampling, rate, self.optimizer, self.training)


@dataclass(frozen=True)
class Result:
    """One row of a printed table.

    Args:
        model: as its authors call it.
        millions: of parameters; 0 where the table does not say.
        values: task to metric to the number as it is printed; empty of a row whose numbers are not known here.
    """

    model: str
    millions: float
    values: Mapping[Task, Mapping[str, float]]


@dataclass(frozen=True)
class ResultsTable:
    """A table of results as it is printed.

    Args:
        source: where it is printed.
        convention: how it was measured, one of `zoo.evaluation.CONVENTIONS`.
        columns: the metrics of each task.
        rows: one for each model.
    """

    source: str
    convention: str
    columns: Columns
    rows: tuple[Result, ...]


@dataclass(frozen=True)
class Paper:
    """A publication.

    Args:
        key: by which everything else refers to it.
        name: of its model or benchmark.
        title: in full.
        authors: the first one, "et al." if there are more.
        year: of publication.
        url: of a page about it.
        settings: how it trains, by kind of data set; the preset `paper` of a model comes from here.
        tables: the results it prints.

    >>> from zoo.papers import CONV_TT_LSTM
    >>> CONV_TT_LSTM.citation
    'Conv-TT-LSTM (Su et al., 2020)'
    >>> sorted(CONV_TT_LSTM.settings)
    ['kth', 'moving-mnist']
    """

    key: str
    name: str
    title: str
    authors: str
    year: int
    url: str
    settings: Mapping[str, PublishedSettings] = field(default_factory=dict)
    tables: tuple[ResultsTable, ...] = ()

    @property
    def citation(self) -> str:
        """Name, authors and year."""
        return f"{self.name} ({self.authors}, {self.year})"


def results_table(
    source: str, convention: str, columns: Columns, *rows: tuple[str, float, tuple[float, ...] | None]
) -> ResultsTable:
    """A table from its rows: model, millions of parameters, and the numbers in the order of the columns.

    A row has None in place of the numbers if the table has it, but no source that was at hand gives them.

    Raises:
        ZooError: a row with more or fewer numbers than there are columns.
    """
    keys = [(task, metric) for task, metrics in columns.items() for metric in metrics]
    results = []
    for model, millions, numbers in rows:
        if numbers is None:
            results.append(Result(model, millions, {}))
            continue
        if len(numbers) != len(keys):
            raise ZooError(f"{source}: {model} has {len(numbers)} numbers for {len(keys)} columns")
        values: dict[Task, dict[str, float]] = {task: {} for task in columns}
        for (task, metric), number in zip(keys, numbers, strict=True):
            values[task][metric] = number
        results.append(Result(model, millions, values))
    return ResultsTable(source, convention, columns, tuple(results))
