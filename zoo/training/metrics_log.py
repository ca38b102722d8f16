"""The metrics of a run: running sums on the device, and a file with a row for each interval of steps."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.files import aside

NEVER = torch.iinfo(torch.int64).max
COLUMNS = (
    "step",
    "loss",
    "gradient_norm",
    "sampling_ratio",
    "learning_rate",
    "validation_loss",
    "validation_mse",
    "seconds",
)
HEADER = ",".join(COLUMNS) + "\n"


class Meter:
    """Sums since the last row, kept on the device so that a step need not wait for it.

    Args:
        device: device of the losses.
        dtype: type of the losses.

    Attributes:
        steps: since the last row.
        loss: sum of the losses.
        norm: the largest norm of the gradients.
        bad: the first step of the run that gave values that are not finite; `NEVER` if none has.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.steps = torch.zeros((), device=device, dtype=torch.int64)
        self.loss = torch.zeros((), device=device, dtype=dtype)
        self.norm = torch.zeros((), device=device, dtype=dtype)
        self.bad = torch.full((), NEVER, device=device, dtype=torch.int64)

    def update(self, step: Tensor, loss: Tensor, norm: Tensor, finite: Tensor) -> None:
        """Add a step. All changes are made in place, where a CUDA graph expects the tensors."""
        self.steps += 1
        self.loss += loss
        torch.maximum(self.norm, norm, out=self.norm)
        self.bad.copy_(torch.where(finite, self.bad, self.bad.clamp(max=step)))

    def reset(self) -> None:
        """Begin the next row."""
        self.steps.zero_()
        self.loss.zero_()
        self.norm.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums of an unfinished row."""
        return {"steps": int(self.steps), "loss": self.loss.clone(), "norm": self.norm.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to such sums."""
        self.steps.fill_(state["steps"])
        self.loss.copy_(state["loss"])
        self.norm.copy_(state["norm"])


class MetricsLog:
    """`metrics.csv`.

    Rows are appended and flushed at once. Every checkpoint keeps the text of the file, and a resumed run begins with
    that: so in the end no row is missing and none is there twice, whatever became of the file in between.

    Args:
        folder: folder of the run.
        text: content of the file at that checkpoint; empty for a new run.

    Raises:
        ZooError: the file cannot be written; `write` raises it, too.
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self._path, self._lines = folder / "metrics.csv", [text or HEADER]
        restore(self._path, self.text)

    @property
    def text(self) -> str:
        """What the file holds."""
        return "".join(self._lines)

    def write(self, row: dict[str, float]) -> None:
        """Append a row; columns it lacks stay empty."""
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow(row)
        self._lines.append(line.getvalue())
        with naming(self._path), self._path.open("a") as file:
            file.write(line.getvalue())
            file.flush()
            os.fsync(file.fileno())


def restore(path: Path, text: str) -> None:
    """Make a metrics file hold the text that a checkpoint keeps of it, if it does not already.

    Raises:
        ZooError: it cannot be written.
    """
    with naming(path):
        if path.is_file() and path.read_bytes() == text.encode():
            return
    with aside(path) as temporary:
        temporary.write_text(text)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        raise ZooError(
            f"training stopped: cannot write {path} ({error.strerror or error}); free some space or change the rights, "
            "and the same call or command resumes from the last checkpoint"
        ) from error
