"""Where the rows of metrics go besides `metrics.csv`: Lightning's loggers, which Fabric calls.

None of them can stop a training that runs. A training that resumes joins the same run there: `loggers.json` says which
run that is, and up to which step it has been told.
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
    """A run at a service.

    Attributes:
        run: its name there; empty if it has none yet.
        step: the last one that it was told of.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    run: str = ""
    step: int = 0


_SCHEMA = TypeAdapter(dict[str, Joined])


class RunLogger(Logger):
    """A logger of Lightning for one run.

    Args:
        kind: "tensorboard", "wandb" or "mlflow".
        folder: of the run.
        recipe: of the run, which a new run there is described by.
        recorded: whether its kind is to be remembered for the next session.
    """

    def __init__(self, kind: str, folder: Path, recipe: Recipe, recorded: bool) -> None:
        super().__init__()
        self.kind, self._folder, self._recipe, self._recorded = kind, folder, recipe, recorded
        self._logger: Logger | None = None
        self._joined = Joined()
        self._say: Callable[[str], None] = print

    @property
    def name(self) -> str:
        """Its kind."""
        return self.kind

    @property
    def version(self) -> str:
        """The run at the service."""
        return self._joined.run

    def start(self, row: int, say: Callable[[str], None]) -> None:
        """Open it, and join the run that an earlier session began.

        Args:
            row: the step of the last row before.
            say: prints a line.

        Raises:
            ZooError: it cannot be opened.
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
        except Exception as error:  # of a service, a network or a disk
            raise ZooError(
                f"the logger {self.kind} cannot begin ({_reason(error)}); leave it out (--logger csv), or mend that"
                + ("" if new else f"; without {self._folder / RECORD} it begins a new run there")
            ) from error

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless the service has been told of its step; after a failure, nothing any more."""
        if self._logger is None or step is None or step <= self._joined.step:
            return
        try:
            if self._recorded and self.kind != "tensorboard":  # first, for no step may be there twice
                self._joined.step = step
                self._record()
            self._logger.log_metrics(dict(metrics), step)
            self._logger.save()
        except Exception as error:  # of a service, a network or a disk
            self._give_up(error)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Describe the run."""
        assert self._logger is not None, "started first"
        self._logger.log_hyperparams(params)

    def finalize(self, status: str) -> None:
        """Close it."""
        if self._logger is None:
            return
        try:
            self._logger.finalize(status)
            if self.kind == "wandb":  # else the next run of this process would join this one
                self._logger.experiment.finish()  # type: ignore[attr-defined]
        except Exception as error:  # of a service, a network or a disk
            self._give_up(error)
        self._logger = None

    def _record(self) -> None:
        known = {**read_record(self._folder), self.kind: self._joined}
        with aside(self._folder / RECORD) as file:
            plain = {kind: joined.model_dump() for kind, joined in known.items()}
            file.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    def _give_up(self, error: Exception) -> None:
        self._logger = None
        self._say(f"the logger {self.kind} failed ({_reason(error)}) and gets no more rows; metrics.csv has them all")


def make_loggers(kinds: Sequence[str] | None, folder: Path, recipe: Recipe) -> list[RunLogger]:
    """The loggers of a run besides its `metrics.csv`.

    Args:
        kinds: of `zoo.names.LOGGERS`. None for those that the run has had, or for a new run TensorBoard, if that is
            installed.
        folder: of the run.
        recipe: of the run.

    Raises:
        ZooError: no such logger, or one that is not installed.
    """
    recorded = kinds is not None or (folder / RECORD).exists()
    if kinds is None:
        kinds = [*read_record(folder)] if recorded else _before(folder)
    for kind in kinds:
        if kind not in LOGGERS:
            raise ZooError(f"no logger {kind!r}; {nearest(kind, LOGGERS)}")
        if not _installed(kind):
            raise ZooError(f"the logger {kind} is not installed: pip install {PACKAGES[kind]}, or leave it out")
    return [RunLogger(kind, folder, recipe, recorded) for kind in dict.fromkeys(kinds) if kind != "csv"]


def read_record(folder: Path) -> dict[str, Joined]:
    """What a run's `loggers.json` says; nothing if there is none.

    Raises:
        ZooError: it is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    record: dict[str, Joined] = validate(_SCHEMA, read_text(path, MOST_BYTES), f"{path}, which may be removed")
    return {kind: joined for kind, joined in record.items() if kind in LOGGERS}


def _before(folder: Path) -> list[str]:
    """TensorBoard for a new run, if it is installed, and for one that has had it."""
    wanted = not (folder / "metrics.csv").exists() or (folder / "tensorboard").is_dir()
    return ["tensorboard"] if wanted and _installed("tensorboard") else []


def _installed(kind: str) -> bool:
    return kind not in PACKAGES or find_spec(PACKAGES[kind]) is not None


def _tensorboard(folder: Path, joined: Joined, row: int) -> Logger:
    """TensorBoard drops what earlier sessions have said of later steps."""
    logger = TensorBoardLogger(folder, "tensorboard", "", purge_step=row + 1)
    logger.experiment.flush()
    return logger


def _wandb(folder: Path, joined: Joined, row: int) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    joined.run = joined.run or uuid.uuid4().hex
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(name=folder.name, project=project, save_dir=folder, id=joined.run)
    assert logger.experiment is not None  # asks the service
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
