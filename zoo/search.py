"""Search the hyper-parameters of Conv-TT-LSTM with Optuna, as in Table 1 of its paper.

A study is stored in an SQLite file. Any number of processes may work on it at once. If a process is killed, nothing is
lost: after two minutes without a sign of life, another process resumes its trial from the last checkpoint. A trial
that was interrupted by Ctrl-C can be resumed at once.
"""

import csv
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.figures import palette, styled
from tensortrain.tables import Column, Table
from zoo.errors import ZooError
from zoo.files import aside
from zoo.settings import Recipe, from_plain, to_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

RUN = "run"  # attribute of a trial: the folder of its run
_STRIDE = 2654435761  # between the seeds of a search that is resumed; odd and large, so that users' seeds are not met
_DRAWN = {"complete": ("complete", "full"), "pruned": ("stopped early", "none")}
HYPERPARAMETERS = ("order", "steps", "rank", "kernel")
COLUMNS = ("trial", "state", *HYPERPARAMETERS, "validation_loss", "validated_until")


@dataclass(frozen=True)
class Space:
    """The range of each hyper-parameter to search.

    Args:
        order: the smallest and the largest order m.
        steps: the smallest and the largest number of steps n; no trial has n < m.
        rank: the ranks R to try.
        kernel: the kernel sizes to try.

    Raises:
        ZooError: if a range is empty or impossible.

    >>> Space(order=(2, 3), rank=(8,)).rank
    (8,)
    """

    order: tuple[int, int] = (1, 3)
    steps: tuple[int, int] = (1, 5)
    rank: tuple[int, ...] = (4, 8, 16)
    kernel: tuple[int, ...] = (3, 5)

    def __post_init__(self) -> None:
        for name in ("order", "steps"):
            values = getattr(self, name)
            if len(values) != 2 or not 1 <= values[0] <= values[1]:
                raise ZooError(f"{name} = {list(values)} must be a smallest and a largest value, both at least 1")
        if self.steps[1] < self.order[1]:
            raise ZooError(
                f"steps = {list(self.steps)} must include {self.order[1]}, the largest order, as steps ≥ order"
            )
        for name in ("rank", "kernel"):
            values = getattr(self, name)
            if not values or min(values) < 1 or len(set(values)) != len(values):
                raise ZooError(f"{name} = {list(values)} must be different whole numbers, each at least 1")

    def suggest(self, trial: "Trial") -> dict[str, int]:
        """Let Optuna choose the options of a trial."""
        order = trial.suggest_int("order", *self.order)
        return {
            "order": order,
            "steps": trial.suggest_int("steps", max(order, self.steps[0]), self.steps[1]),
            "rank": trial.suggest_categorical("rank", self.rank),
            "kernel": trial.suggest_categorical("kernel", self.kernel),
        }


def open_study(storage: Path, start: Recipe, space: Space, seed: int = 0, root: str | Path | None = None) -> "Study":
    """Open the study in an SQLite file, or create it.

    The study holds the recipe with pinned data, so that all its trials read the same clips; see `zoo.data.pin_data`.
    A trial is pruned (stopped early) if its validation loss is above the median of earlier trials at the same step.

    Args:
        storage: the SQLite file.
        start: the recipe that all trials share.
        space: the ranges to search.
        seed: the seed of the sampler, below 2^32; processes that work at once should have different ones.
        root: the data root.

    Raises:
        ZooError: if the seed is illegal, Optuna is not installed, the data are missing, or the file cannot be read or
            written, or holds a search with other settings, another space or other data.
    """
    if not 0 <= seed < 2**32:
        raise ZooError(f"seed = {seed} must be at least 0 and below 2^32")
    try:
        import optuna
    except ImportError as error:
        raise ZooError("the search needs Optuna; install it with: pip install 'tensortrain[search]'") from error
    from filelock import FileLock
    from sqlalchemy.exc import SQLAlchemyError

    from zoo.data import pin_data
    from zoo.training.run_folder import first_difference

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # otherwise it prints a traceback for each interrupted trial
    if not storage.parent.is_dir():
        raise ZooError(f"{storage} cannot be used as the storage of a search: there is no folder {storage.parent}")
    start = replace(start, data=pin_data(start.data, root))
    description = json.loads(json.dumps({"recipe": to_plain(start), "space": asdict(space)}))
    try:
        # one process at a time: SQLAlchemy first asks whether the tables exist, and then creates them
        with FileLock(storage.with_name(storage.name + ".lock")), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat is experimental
            database = optuna.storages.RDBStorage(
                f"sqlite:///{storage}",
                engine_kwargs={"connect_args": {"timeout": 60}},
                heartbeat_interval=60,
                heartbeat_stale_trial_callback=enqueue_again,
            )
        study = optuna.create_study(
            storage=database,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=start.training.steps // 4),
            study_name="zoo search",
            load_if_exists=True,
        )
        # a sampler of the same seed would begin a resumed search with the combinations of its first trials
        study.sampler = optuna.samplers.TPESampler(seed=(seed + _STRIDE * len(study.trials)) % 2**32)
        known = study.user_attrs.get("search")
        difference = "" if known is None else first_difference(_brought_up_to_date(known, root), description)
        if not difference and known != description:
            study.set_user_attr("search", description)
    except (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"{storage} cannot be used as the storage of a search ({reason}); name another file") from error
    if difference:
        raise ZooError(
            f"{storage} holds another search: {difference}; use the same settings and data, or name another --storage"
        )
    return study


def _brought_up_to_date(description: dict[str, Any], root: str | Path | None) -> dict[str, Any]:
    """The description of a study, with the defaults of settings that are newer than the study, and with pinned data."""
    from zoo.data import pin_data

    try:
        recipe = from_plain(description["recipe"], "the study")
        if not getattr(recipe.data, "store", ""):  # a digest of the clips is kept, as they may have changed since
            recipe = replace(recipe, data=pin_data(recipe.data, root))
    except (ZooError, KeyError, TypeError):
        return description  # it is of another version, which had other settings, or of data that are not here
    return description | {"recipe": to_plain(recipe)}


def search(study: "Study", space: Space, folder: Path, trials: int, root: str | Path | None = None) -> None:
    """Run trials until the study has the wanted number. Finished and pruned trials count.

    A trial whose training diverges is pruned with a warning.

    Args:
        study: a study of `open_study`, which holds the recipe that all trials share.
        space: the ranges to search.
        folder: the folder for the runs of new trials; trial N is trained in `trial-N`.
        trials: the total number of trials of all processes. Processes that work at once may run a few more.
        root: the data root.

    Raises:
        ZooError: if the data are missing, or a setting does not work on this machine.
    """
    import optuna
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    start = from_plain(study.user_attrs["search"]["recipe"], "the study")

    def objective(trial: "Trial") -> float:
        options = {**start.options, **space.suggest(trial)}
        return train(trial, replace(start, options=options), folder, root)

    counted = (TrialState.COMPLETE, TrialState.PRUNED)
    if len(study.get_trials(deepcopy=False, states=counted)) < trials:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=counted)])


def enqueue_again(study: "Study", trial: "Trial | FrozenTrial") -> None:
    """Queue a trial that resumes an interrupted one in the same folder."""
    started = {name: value for name, value in trial.user_attrs.items() if name == RUN}
    study.enqueue_trial(trial.params, user_attrs=started)


def train(trial: "Trial", run: Recipe, folder: Path, root: str | Path | None) -> float:
    """Train one trial or resume it, and return its lowest validation loss.

    Raises:
        TrialPruned: if its validation loss is too high to continue, or the training diverges.
    """
    import optuna

    from zoo.training import fit
    from zoo.training.nonfinite import DivergedError

    pruned, reported = False, set[int]()
    same = _same_run(trial)
    place = same or _run_of(trial, folder)

    def report() -> None:  # also the validations before an interruption, which another trial has reported
        for step, loss in validations(place).items():
            if step not in reported:
                reported.add(step)
                trial.report(loss, step)

    def hopeless(step: int, _: float) -> bool:
        nonlocal pruned
        report()
        pruned = trial.should_prune() and step < run.training.steps
        return pruned

    trial.set_user_attr(RUN, str(place.resolve()))
    if same:  # not opened for training, because other processes may read it at the same time
        report()
        return min(validations(same).values())
    try:
        fit(run, place, root=root, progress=False, watch=hopeless)
    except KeyboardInterrupt:
        enqueue_again(trial.study, trial)
        raise
    except DivergedError as error:
        warnings.warn(f"trial {trial.number} ends early: {error}", stacklevel=2)
        raise optuna.TrialPruned from error
    if pruned:
        raise optuna.TrialPruned
    report()  # the run may have taken its last step in another trial
    return min(validations(place).values())


def best_run(study: "Study", folder: Path) -> Path:
    """The run with the lowest validation loss of a study; `folder` holds those of new trials.

    Raises:
        ZooError: if no trial was validated, because all of them diverged before.
    """
    if not (validated := rows(study)):
        raise ZooError("no trial reached a validation, because all of them diverged; choose another preset or data")
    return _run_of(study.trials[validated[0]["trial"]], folder)


def _run_of(trial: "Trial | FrozenTrial", folder: Path) -> Path:
    """The folder of a trial's run. Studies of earlier versions do not hold it."""
    return Path(trial.user_attrs.get(RUN, folder / f"trial-{trial.number}"))


def _same_run(trial: "Trial") -> Path | None:
    """The run of a complete trial with the same options, if there is one: another training would have the same bits."""
    from optuna.trial import TrialState

    complete = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    equal = (other for other in complete if other.params == trial.params and RUN in other.user_attrs)
    runs = (Path(other.user_attrs[RUN]) for other in equal)
    return next((run for run in runs if (run / "metrics.csv").exists() and validations(run)), None)


def validations(run: Path) -> dict[int, float]:
    """The validation losses in the metrics of a run, by step. NaN counts as infinite, so it is never the lowest."""
    with (run / "metrics.csv").open(newline="") as file:
        losses = {int(row["step"]): row["validation_loss"] for row in csv.DictReader(file) if row["validation_loss"]}
    return {step: math.inf if math.isnan(float(loss)) else float(loss) for step, loss in losses.items()}


def rows(study: "Study") -> list[dict[str, Any]]:
    """One row for each trial that has a validation loss, the lowest loss first."""

    def row(trial: "FrozenTrial") -> dict[str, Any]:
        reported = trial.intermediate_values
        # Optuna's value of a pruned trial is its last loss, which need not be its lowest
        loss = trial.value if not reported else min(reported.values())
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
    """Write the picture of `draw`, and the rows to a CSV file beside it.

    Raises:
        ZooError: if a file cannot be written.
    """
    lines = rows(study)
    figure = draw(lines)
    with aside(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    with aside(picture.with_suffix(".csv")) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


@styled
def draw(lines: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the lowest loss of the complete and the pruned trials by each hyper-parameter that varies, or by all.

    Args:
        lines: the rows of `rows`.
    """
    from matplotlib.figure import Figure

    colour = palette()[0]
    lines = [line for line in lines if line["state"] in _DRAWN]
    losses = [line["validation_loss"] for line in lines]
    names = [name for name in HYPERPARAMETERS if len({line[name] for line in lines}) > 1] or HYPERPARAMETERS
    figure = Figure(figsize=(1.5 + 2 * len(names), 3.4))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        values = sorted({line[name] for line in lines})
        for state, (label, fill) in _DRAWN.items():
            points = [(values.index(line[name]), line["validation_loss"]) for line in lines if line["state"] == state]
            if points:
                axis.plot(*zip(*points, strict=True), "o", color=colour, fillstyle=fill, label=label)
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axis.set_xlim(-0.5, max(len(values), 1) - 0.5)
        axis.set_xlabel(name)
    axes[0].set_ylabel("lowest validation loss")
    if losses and max(losses) > 10 * min(losses):  # a trial that nearly diverged would hide the others' differences
        axes[0].set_yscale("log")
    if axes[0].lines:
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
