"""Compare every library with every task that it has: first the results, then the times.

    python -m tests.benchmarks.libraries [--threads 1] [--repeats 3] [--only rounding] [-o docs/results]

The tasks are those of `tt_formats.py`, `trains.py`, `train_axes.py`, `train_lookup.py` and `library_layers.py`, the
inputs equal for all. On one thread the clock counts processor time. In each repeat every library has its turn, and a
ratio is the median over the repeats of a library's time divided by this library's in the same repeat: above 1 the other
is slower. Two tables are written, `libraries-results.csv` and `libraries-times.csv`. Libraries that are not installed
have empty columns: `pip install --no-deps torchTT==0.5.0 tntorch==1.1.2 teneva==0.14.11 quimb==1.16.0 tensorly-
torch==0.5.0`.
"""

import argparse
import contextlib
import csv
import importlib.metadata
import io
import os
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tensortrain.files import aside
from tensortrain.profiling.clock import Clock, alternate
from tensortrain.profiling.machine import describe_machine
from tests.benchmarks import library_layers, train_axes, train_lookup, trains, tt_formats
from tests.benchmarks.peers import Task

# The first word of the name of a run, and the name of its column.
LIBRARIES = {
    "ours": "this library",
    "tensorly": "TensorLy",
    "tltorch": "tensorly-torch",
    "torchTT": "torchTT",
    "tntorch": "tntorch",
    "teneva": "teneva",
    "quimb": "quimb",
}
SLOW = 5.0  # seconds of all libraries together from which on a task is run once
SHORT = 0.01  # seconds that a timing takes at least, by repeating the run
CASES = 5  # of each task of `tt_formats.py` at most
VALUES = {
    "results": "relative errors, with the values that cross interpolation asked for, the number of draws, or the "
    "largest entry with the bound on all others; – where it was not measured",
    "times": "the first column in milliseconds, the others as ratios to it; above 1 they are slower; – where it "
    "was not measured",
}


class Outcome(NamedTuple):
    """What each library gave for a task, and the seconds of all of them in each repeat."""

    task: str
    case: str
    results: dict[str, str]
    seconds: list[dict[str, float]]


def tasks() -> Iterator[Task]:
    """All tasks, those on dense tensors and trains first."""
    for generate in (tt_formats.decomposition_rows, tt_formats.reconstruction_rows, tt_formats.rounding_rows):
        for row in islice(generate(), CASES):
            yield Task(row.task, row.name, row.runs, _digits(row.error))
    for generate in (
        trains.cross_rows, trains.map_rows, trains.system_rows, trains.eigen_rows, trains.product_rows, trains.sum_rows,
        train_axes.axis_rows, train_axes.number_rows, train_axes.quantised_rows, train_axes.tangent_rows,
        train_lookup.lookup_rows, train_lookup.draw_rows, train_lookup.extreme_rows, train_lookup.completion_rows,
        train_lookup.exchange_rows,
    ):  # fmt: skip
        yield from generate()
    yield from library_layers.kernel_tasks()
    yield from library_layers.layer_tasks()
    yield from library_layers.embedding_tasks()


def _digits(error: Callable[[Any], float]) -> Callable[[Any], str]:
    return lambda result: f"{error(result):.1e}"


def measure(task: Task, repeats: int, clock: Clock) -> Outcome:
    """Run all libraries in turn. What fails in another library has its exception for a result, and no time."""
    results: dict[str, str] = {}
    first: dict[str, float] = {}
    for name, run in task.runs.items():
        try:
            with _silence():
                outcome: list[Any] = []
                seconds = clock.seconds(lambda run=run, outcome=outcome: outcome.append(run()))
                results[name] = task.result(outcome[0])
        except Exception as error:
            if name == "ours":
                raise
            results[name] = f"fails: {type(error).__name__}"
        else:
            first[name] = seconds
    if sum(first.values()) >= SLOW:
        return Outcome(task.task, task.case, results, [first])
    times = {name: max(1, min(100, round(SHORT / max(seconds, 1e-6)))) for name, seconds in first.items()}
    with _silence():
        rounds = alternate({name: partial(clock.seconds, task.runs[name], times[name]) for name in first}, repeats)
    return Outcome(task.task, task.case, results, rounds)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def result_cells(outcome: Outcome) -> dict[str, str]:
    """The cell of each library in the table of results."""
    return _cells(outcome.results)


def time_cells(outcome: Outcome) -> dict[str, str]:
    """The cell of each library in the table of times: ours in milliseconds, the others' ratios."""
    milliseconds = 1e3 * statistics.median(row["ours"] for row in outcome.seconds)
    cells = {"ours": f"{milliseconds:.3g}" if milliseconds < 1000 else f"{milliseconds:,.0f}"}
    for name in outcome.seconds[0]:
        if name != "ours":
            cells[name] = f"{statistics.median(row[name] / row['ours'] for row in outcome.seconds):.2f}"
    return _cells(cells)


def _cells(values: dict[str, str]) -> dict[str, str]:
    """One cell for each library, with the ways it has in brackets, as in `1.5 (svd), 1.2 (eig)`."""
    cells: dict[str, list[str]] = {}
    for name, value in values.items():
        library, _, way = name.replace(",", "").partition(" ")
        cells.setdefault(library, []).append(f"{value} ({way})" if way else value)
    return {library: ", ".join(values) for library, values in cells.items()}


def write(path: Path, outcomes: Sequence[Outcome], cells: Callable[[Outcome], dict[str, str]], about: str) -> None:
    """Write one of the tables, with the comments that the documentation shows below it."""
    with aside(path) as temporary, temporary.open("w", newline="") as file:
        file.write(about)
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["task", "case", *LIBRARIES.values()])
        for outcome in outcomes:
            row = cells(outcome)
            rows.writerow([outcome.task, outcome.case, *(row.get(library, "–") for library in LIBRARIES)])


def versions() -> str:
    """The installed versions of the other libraries."""
    installed = []
    for name in list(LIBRARIES.values())[1:]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(installed)


def main() -> None:
    """Measure all tasks, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="tasks and cases that contain this")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results"), help="folder of the tables")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    clock = Clock(torch.device("cpu"), arguments.threads)
    if tt_formats.TENSORLY:
        tt_formats.TENSORLY.set_backend("pytorch", local_threadsafe=True)
    outcomes = []
    for task in tasks():
        if arguments.only in f"{task.task}, {task.case}":
            outcomes.append(measure(task, arguments.repeats, clock))
            print(task.task, task.case, result_cells(outcomes[-1]), time_cells(outcomes[-1]), sep=" | ", flush=True)
    command = f"python -m tests.benchmarks.libraries --threads {arguments.threads} --repeats {arguments.repeats}"
    machine = describe_machine(torch.device("cpu"), arguments.threads, clock)
    load = f"{os.cpu_count()} virtual cores with a load of {os.getloadavg()[0]:.0f}"
    environment = f"{machine['device']}, {load}, {clock.name}, PyTorch {machine['torch']}, {versions()}"
    for name, cells in {"results": result_cells, "times": time_cells}.items():
        about = f"# command: {command}\n# machine: {environment}\n"
        write(arguments.output / f"libraries-{name}.csv", outcomes, cells, f"{about}# values: {VALUES[name]}\n")


if __name__ == "__main__":
    main()
