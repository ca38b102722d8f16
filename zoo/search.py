"""Search the hyper-parameters of Conv-TT-LSTM with Optuna, as in Table 1 of its paper.

A study lives in an SQLite file. Any number of processes may work on it at once, and one that is killed loses nothing:
its trial goes on from its last checkpoint, once another process has seen for two minutes that nobody works on it. One
that is interrupted by Ctrl-C goes on at once.
"""

import csv
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.tables import Column, Table
from zoo.errors import ZooError
from zoo.files import aside
from zoo.settings import Recipe, to_plain

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

CONTINUES = "continues"  # attribute of a trial that goes on with an interrupted one: its number
COLUMNS = ("trial", "state", "order", "steps", "rank", "kernel", "validation_loss", "validated_until")


@dataclass(frozen=True)
class Space:
    """What is searched.

    Args:
        order: the least and the greatest m.
        steps: the least and the greatest n; no trial has n < m.
        rank: values of R.
        kernel: sides of the kernels.

    Raises:
        ZooError: an empty or impossible range.
    """

    order: tuple[int, int] = (1, 3)
    steps: tuple[int, int] = (1, 5)
    rank: tuple[int, ...] = (4, 8, 16)
    kernel: tuple[int, ...] = (3, 5)

    def __post_init__(self) -> None:
        for name in ("order", "steps"):
            values = getattr(self, name)
            if len(values) != 2 or not 1 <= values[0] <= values[1]:
                raise ZooError(f"{name} = {list(values)} must be a least and a greatest value, at least 1")
        if self.steps[1] < self.order[1]:
            raise ZooError(f"steps = {list(self.steps)} must reach {self.order[1]}, the greatest order: steps ≥ order")
        for name in ("rank", "kernel"):
            values = getattr(self, name)
            if not values or min(values) < 1 or len(set(values)) != len(values):
                raise ZooError(f"{name} = {list(values)} must be different values, at least 1")

    def suggest(self, trial: "Trial") -> dict[str, int]:
        """The options of a trial."""
        order = trial.suggest_int("order", *self.order)
        return {
            "order": order,
            "steps": trial.suggest_int("steps", max(order, self.steps[0]), self.steps[1]),
            "rank": trial.suggest_categorical("rank", self.rank),
            "kernel": trial.suggest_categorical("kernel", self.kernel),
        }


def open_study(storage: Path, start: Recipe, space: Space, seed: int = 0) -> "Study":
    """The study in an SQLite file, made if there is none.

    A trial is pruned when its validation loss is above the median of the earlier trials at the same step.

    Args:
        storage: the file.
        start: the recipe that every trial begins with.
        space: what is searched.
        seed: of the sampler; several processes should have different ones.

    Raises:
        ZooError: Optuna is missing, the file holds another search, or it cannot be written or read.
    """
    try:
        import optuna
    except ImportError as error:
        raise ZooError("the search needs Optuna; install it with: pip install 'tensortrain[search]'") from error
    from filelock import FileLock
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # not the traceback of each interrupted trial
    if not storage.parent.is_dir():
        raise ZooError(f"{storage} cannot be used as the storage of a search: there is no folder {storage.parent}")
    said = {"recipe": to_plain(start), "space": asdict(space)}
    try:
        # one process at a time makes the tables: SQLAlchemy asks whether there are any, and then makes them
        with FileLock(storage.with_name(storage.name + ".lock")), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the heartbeat
            database = optuna.storages.RDBStorage(
                f"sqlite:///{storage}",
                engine_kwargs={"connect_args": {"timeout": 60}},
                heartbeat_interval=60,
                heartbeat_stale_trial_callback=enqueue_again,
            )
        study = optuna.create_study(
            storage=database,
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=start.training.steps // 4),
            study_name="zoo search",
            load_if_exists=True,
        )
        known = study.user_attrs.get("search")
        if known is None:
            study.set_user_attr("search", said)
    except (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"{storage} cannot be used as the storage of a search ({reason}); name another file") from error
    if known is not None and known != json.loads(json.dumps(said)):
        raise ZooError(f"{storage} holds a search with other settings or another space; name another file")
    return study


def search(
    study: "Study", start: Recipe, space: Space, folder: Path, trials: int, root: str | Path | None = None
) -> None:
    """Run trials until the study has so many that are finished or pruned. Each trains in a folder of its own.

    Args:
        study: from `open_study`.
        start: the recipe that every trial begins with.
        space: what is searched.
        folder: of the runs, `trial-N`.
        trials: in all, over all processes. Several at once may finish a few more.
        root: data root.

    Raises:
        ZooError: the data are missing, or a setting does not work on this machine.
    """
    import optuna
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    def objective(trial: "Trial") -> float:
        options = {**start.options, **space.suggest(trial)}
        return train(trial, replace(start, options=options), folder, root)

    counted = (TrialState.COMPLETE, TrialState.PRUNED)
    if len(study.get_trials(deepcopy=False, states=counted)) < trials:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=counted)])


def enqueue_again(study: "Study", trial: "Trial | FrozenTrial") -> None:
    """Let a later trial go on with one that was cut short, in the same folder."""
    number = trial.user_attrs.get(CONTINUES, trial.number)
    study.enqueue_trial(trial.params, user_attrs={CONTINUES: number})


def train(trial: "Trial", run: Recipe, folder: Path, root: str | Path | None) -> float:
    """Train one trial, or go on with it; returns its lowest validation loss.

    Raises:
        TrialPruned: it promises nothing.
    """
    import optuna

    from zoo.training import fit

    number = trial.user_attrs.get(CONTINUES, trial.number)
    pruned = False

    def hopeless(step: int, loss: float) -> bool:
        nonlocal pruned
        trial.report(loss, step)
        pruned = trial.should_prune() and step < run.training.steps
        return pruned

    place = folder / f"trial-{number}"
    try:
        fit(run, place, root=root, progress=False, watch=hopeless)
    except KeyboardInterrupt:
        enqueue_again(trial.study, trial)
        raise
    if pruned:
        raise optuna.TrialPruned
    return lowest(place)


def lowest(run: Path) -> float:
    """The lowest validation loss in a run's metrics."""
    with (run / "metrics.csv").open(newline="") as file:
        return min(float(row["validation_loss"]) for row in csv.DictReader(file) if row["validation_loss"])


def rows(study: "Study") -> list[dict[str, Any]]:
    """A row for each trial with a validation loss, the best first."""

    def row(trial: "FrozenTrial") -> dict[str, Any]:
        reported = trial.intermediate_values
        loss = min(reported.values()) if trial.value is None else trial.value
        until = max(reported, default=0)
        values = {"trial": trial.number, "state": trial.state.name.lower(), **trial.params}
        return values | {"validation_loss": loss, "validated_until": until}

    known = [trial for trial in study.trials if trial.intermediate_values or trial.value is not None]
    return sorted(map(row, known), key=lambda row: float(row["validation_loss"]))


def table(lines: Sequence[dict[str, Any]]) -> Table:
    """The rows as a table to print."""
    cells = ((line[name] for name in COLUMNS) for line in lines)
    rows = [[f"{cell:.5f}" if isinstance(cell, float) else str(cell) for cell in row] for row in cells]
    return Table([Column(name) for name in COLUMNS], rows)


def write(study: "Study", picture: Path) -> None:
    """Write Optuna's picture of the losses over each hyper-parameter, and the rows to a CSV file beside it.

    Raises:
        ZooError: a file cannot be written.
    """
    import matplotlib

    matplotlib.use("agg")
    import optuna
    from matplotlib import pyplot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.visualization.matplotlib.plot_slice(study, target_name="validation loss")
    with aside(picture) as temporary:
        pyplot.gcf().savefig(temporary, format="png", dpi=130, bbox_inches="tight")
    pyplot.close()
    with aside(picture.with_suffix(".csv")) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(study))
