"""A paper as plain data: its citation, the settings by which it trains on each data set, and its printed results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.errors import ZooError
from zoo.settings import AdamOptimizer, Data, LearningRate, NoSampling, Optimizer, Recipe, Sampling, Training
from zoo.settings.recipe import LOSS_TERMS

Task = tuple[str, int, int]  # `ClipDataset.comparable_with`, observed frames, horizon
Columns = Mapping[Task, tuple[str, ...]]  # the metrics of each task, in the order of the columns

MNIST_10, MNIST_30, MNIST_3 = ("moving-mnist-2", 10, 10), ("moving-mnist-2", 10, 30), ("moving-mnist-3", 10, 10)
KTH_20, KTH_40 = ("kth", 10, 20), ("kth", 10, 40)


@dataclass(frozen=True)
class PublishedSettings:
    """The settings by which a paper trains on one data set.

    Args:
        data: the clips.
        sampling: the schedule of scheduled sampling.
        learning_rate: the schedule of the learning rate.
        training: steps, batch size and other settings of training.
        optimizer: the optimiser.
        base_by_kernel: base learning rates that differ from that of `learning_rate`, by the kernel size of a network.
    """

    data: Data
    sampling: Sampling
    learning_rate: LearningRate
    training: Training
    optimizer: Optimizer = field(default_factory=AdamOptimizer)
    base_by_kernel: Mapping[int, float] = field(default_factory=dict)

    def recipe(self, model: str, options: dict[str, Any]) -> Recipe:
        """The recipe that trains a model with these options."""
        rate = self.learning_rate
        kernel = options.get("kernel")
        if isinstance(kernel, int) and kernel in self.base_by_kernel:
            rate = replace(rate, base=self.base_by_kernel[kernel])
        return Recipe(model, options, self.data, self.sampling, rate, self.optimizer, self.training)


@dataclass(frozen=True)
class System:
    """What a printed row is about, as a condition on recipes: a model here that was trained by one is its counterpart.

    The sizes of the networks and the lengths of the trainings may differ.

    Args:
        model: the name of the model here.
        options: the values that some of its options may have, such as `{"highway": ("middle", 2)}`.
        teacher_forcing: whether it was trained on true frames alone; None if the row is about both.
        l1_alone: whether its loss was the absolute error alone; None if the row is about any loss.

    >>> from zoo.presets import recipe
    >>> forced = System("conv-lstm", teacher_forcing=True)
    >>> forced.describes(recipe("conv-lstm", "paper-teacher-forcing"), {}), forced.describes(recipe("conv-lstm"), {})
    (True, False)
    """

    model: str
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    teacher_forcing: bool | None = None
    l1_alone: bool | None = None

    def describes(self, recipe: Recipe, defaults: Mapping[str, Any]) -> bool:
        """Whether a recipe trains this system.

        Args:
            recipe: the recipe.
            defaults: the defaults of the model's options, for those that the recipe does not name.
        """
        forced = isinstance(recipe.sampling, NoSampling)
        alone = [term for term in LOSS_TERMS if getattr(recipe.training, term)] == ["l1"]
        options = {**defaults, **recipe.options}
        return (
            recipe.model == self.model
            and all(_plain(options.get(name)) in values for name, values in self.options.items())
            and self.teacher_forcing in (None, forced)
            and self.l1_alone in (None, alone)
        )


def _plain(value: Any) -> Any:
    """The value of an option with lists for tuples, as files hold it."""
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Result:
    """One row of a printed table.

    Args:
        model: the name of the model in the paper.
        millions: its number of parameters in millions; 0 if the table does not say.
        values: the printed numbers, by task and metric. Empty if the numbers of a row are not known here.
        system: which trainings here are about the same.
    """

    model: str
    millions: float
    values: Mapping[Task, Mapping[str, float]]
    system: System


@dataclass(frozen=True)
class ResultsTable:
    """A printed table of results.

    Args:
        source: where it is printed.
        convention: how the results were measured, one of `zoo.evaluation.CONVENTIONS`.
        columns: the metrics of each task.
        rows: one row for each model.
    """

    source: str
    convention: str
    columns: Columns
    rows: tuple[Result, ...]


@dataclass(frozen=True)
class Paper:
    """A publication.

    Args:
        key: the name by which other code refers to it.
        name: the name of its model or benchmark.
        title: the complete title.
        authors: the first author, with "et al." if there are more.
        year: the year of publication.
        url: the address of a page about it.
        settings: how it trains, by kind of data set. The preset "paper" of a model uses these settings.
        tables: the results that it prints.

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
        """Name, authors and year, such as "Conv-TT-LSTM (Su et al., 2020)"."""
        return f"{self.name} ({self.authors}, {self.year})"


def results_table(
    source: str, convention: str, columns: Columns, *rows: tuple[str, float, tuple[float, ...] | None, System]
) -> ResultsTable:
    """Make a table from its rows: the model, its millions of parameters, its numbers in the order of the columns, and
    the system.

    A row has None instead of numbers if the paper has such a row, but no available source gives its numbers.

    Raises:
        ZooError: if a row does not have one number for each column.
    """
    keys = [(task, metric) for task, metrics in columns.items() for metric in metrics]
    results = []
    for model, millions, numbers, system in rows:
        if numbers is None:
            results.append(Result(model, millions, {}, system))
            continue
        if len(numbers) != len(keys):
            raise ZooError(f"{source}: {model} has {len(numbers)} numbers for {len(keys)} columns")
        values: dict[Task, dict[str, float]] = {task: {} for task in columns}
        for (task, metric), number in zip(keys, numbers, strict=True):
            values[task][metric] = number
        results.append(Result(model, millions, values, system))
    return ResultsTable(source, convention, columns, tuple(results))
