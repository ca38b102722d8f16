"""Loggers that receive the rows of metrics besides `metrics.csv`: those of Lightning, which Fabric calls.

A failing logger never stops a training. A resumed training continues the same run of the service. The file
`loggers.json` holds the name of that run and the last step that was logged.
"""

import json
import os
import uuid
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import Logger
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from pydantic import BaseModel, ConfigDict, TypeAdapter

from tensortrain.checks import strings
from zoo.errors import ZooError, nearest
from zoo.files import aside
from zoo.names import LOGGERS
from zoo.reading import MOST_BYTES, read_text
from zoo.schema import validate
from zoo.settings import Recipe, to_plain

RECORD = "loggers.json"
PROJECT = "zoo"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


class Joined(BaseModel):
    """The run of a logging service that belongs to a training.

    Attributes:
        run: the name of the run at the service; empty if there is none yet.
        step: the last step that was logged.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    run: str = ""
    step: int = 0


_SCHEMA = TypeAdapter(dict[str, Joined])


class RunLogger(Logger):
    """A logger of Lightning for one run.

    Args:
        kind: "tensorboard", "wandb" or "mlflow".
        folder: the folder of the run.
        recipe: the recipe of the run, which is logged as its description.
        recorded: whether to note this kind in `loggers.json` for the next session.
    """

    def __init__(self, kind: str, folder: Path, recipe: Recipe, recorded: bool) -> None:
        super().__init__()
        self.kind, self._folder, self._recipe, self._recorded = kind, folder, recipe, recorded
        self._logger: Logger | None = None
        self._joined = Joined()
        self._say: Callable[[str], None] = print

    @property
    def name(self) -> str:
        """The kind of the logger."""
        return self.kind

    @property
    def version(self) -> str:
        """The name of the run at the service."""
        return self._joined.run

    def start(self, row: int, say: Callable[[str], None]) -> None:
        """Open the logger, and continue the run of an earlier session.

        Args:
            row: the step of the last row of earlier sessions.
            say: a function that prints a line.

        Raises:
            ZooError: if the logger cannot be opened.
        """
        self._say = say
        self._joined = read_record(self._folder).get(self.kind, Joined())
        new = not self._joined.run
        try:
            self._logger = _OPEN[self.kind](self._folder, self._joined, row)
            if self._recorded:
                self._record()
            if new and self.kind != "tensorboard":
                self.log_hyperparams(to_plain(self._recipe))
        except ZooError:
            raise
        except Exception as error:  # errors of a service, a network or a disk
            raise ZooError(
                f"the logger {self.kind} cannot start ({_reason(error)}); leave it out (--logger csv), or repair it"
                + ("" if new else f"; after {self._folder / RECORD} is removed, it starts a new run there")
            ) from error

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless its step was logged before. After a failure, nothing more is logged."""
        if self._logger is None or step is None or step <= self._joined.step:
            return
        try:
            if self._recorded and self.kind != "tensorboard":  # recorded first, so that no step is ever logged twice
                self._joined.step = step
                self._record()
            self._logger.log_metrics(dict(metrics), step)
            self._logger.save()
        except Exception as error:  # errors of a service, a network or a disk
            self._give_up(error)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log the settings of the run."""
        assert self._logger is not None, "started first"
        self._logger.log_hyperparams(params)

    def finalize(self, status: str) -> None:
        """Close the logger."""
        if self._logger is None:
            return
        try:
            self._logger.finalize(status)
            if self.kind == "wandb":  # otherwise the next run of this process would continue this one
                self._logger.experiment.finish()  # type: ignore[attr-defined]
        except Exception as error:  # errors of a service, a network or a disk
            self._give_up(error)
        self._logger = None

    def _record(self) -> None:
        known = {**read_record(self._folder), self.kind: self._joined}
        with aside(self._folder / RECORD) as file:
            plain = {kind: joined.model_dump() for kind, joined in known.items()}
            file.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    def _give_up(self, error: Exception) -> None:
        self._logger = None
        self._say(
            f"The logger {self.kind} failed ({_reason(error)}) and gets no more rows; metrics.csv has all of them."
        )


def make_loggers(kinds: str | Sequence[str] | None, folder: Path, recipe: Recipe) -> list[RunLogger]:
    """Make the loggers of a run besides `metrics.csv`.

    Args:
        kinds: a name in `zoo.names.LOGGERS`, or several. None stands for the loggers that the run had before; for a
            new run, it stands for TensorBoard if that is installed.
        folder: the folder of the run.
        recipe: the recipe of the run.

    Raises:
        ZooError: if a logger is unknown or not installed.
    """
    recorded = kinds is not None or (folder / RECORD).exists()
    if kinds is None:
        kinds = [*read_record(folder)] if recorded else _before(folder)
    kinds = strings(kinds)
    for kind in kinds:
        if kind not in LOGGERS:
            raise ZooError(f"no logger {kind!r}; {nearest(kind, LOGGERS)}")
        if not _installed(kind):
            raise ZooError(
                f"the logger {kind} is not installed; install it with: pip install {PACKAGES[kind]}, or leave it out"
            )
    return [RunLogger(kind, folder, recipe, recorded) for kind in dict.fromkeys(kinds) if kind != "csv"]


def read_record(folder: Path) -> dict[str, Joined]:
    """Read the `loggers.json` of a run; empty if there is none.

    Raises:
        ZooError: if it is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    record: dict[str, Joined] = validate(_SCHEMA, read_text(path, MOST_BYTES), f"{path}, which may be removed")
    return {kind: joined for kind, joined in record.items() if kind in LOGGERS}


def _before(folder: Path) -> list[str]:
    """TensorBoard, if it is installed and the run is new or has used it before."""
    wanted = not (folder / "metrics.csv").exists() or (folder / "tensorboard").is_dir()
    return ["tensorboard"] if wanted and _installed("tensorboard") else []


def _installed(kind: str) -> bool:
    return kind not in PACKAGES or find_spec(PACKAGES[kind]) is not None


def _tensorboard(folder: Path, joined: Joined, row: int) -> Logger:
    """Open TensorBoard. It discards what earlier sessions logged for later steps."""
    logger = TensorBoardLogger(folder, "tensorboard", "", purge_step=row + 1)
    logger.experiment.flush()
    return logger


def _wandb(folder: Path, joined: Joined, row: int) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    joined.run = joined.run or uuid.uuid4().hex
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(name=folder.name, project=project, save_dir=folder, id=joined.run)
    assert logger.experiment is not None  # this access contacts the service
    return logger


def _mlflow(folder: Path, joined: Joined, row: int) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    logger = MLFlowLogger(PROJECT, folder.name, place, run_id=joined.run or None, synchronous=True)
    joined.run = logger.run_id or ""
    return logger


_OPEN: dict[str, Callable[[Path, Joined, int], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
