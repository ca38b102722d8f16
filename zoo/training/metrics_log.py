"""The metrics of a run: running sums on the device, and a CSV file with a row for each interval of steps."""

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
    """Sums since the last row. They stay on the device, so that a step need not wait for it.

    Args:
        device: the device of the losses.
        dtype: the dtype of the losses.

    Attributes:
        steps: the number of steps since the last row.
        loss: the sum of the losses since the last row.
        norm: the largest norm of the gradients since the last row.
        bad: the first step of the run with values that are not finite; `NEVER` if there is none.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.steps = torch.zeros((), device=device, dtype=torch.int64)
        self.loss = torch.zeros((), device=device, dtype=dtype)
        self.norm = torch.zeros((), device=device, dtype=dtype)
        self.bad = torch.full((), NEVER, device=device, dtype=torch.int64)

    def update(self, step: Tensor, loss: Tensor, norm: Tensor, finite: Tensor) -> None:
        """Add a step. The tensors are changed in place, as a CUDA graph requires."""
        self.steps += 1
        self.loss += loss
        torch.maximum(self.norm, norm, out=self.norm)
        self.bad.copy_(torch.where(finite, self.bad, self.bad.clamp(max=step)))

    def reset(self) -> None:
        """Start the next row."""
        self.steps.zero_()
        self.loss.zero_()
        self.norm.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums of the unfinished row."""
        return {"steps": int(self.steps), "loss": self.loss.clone(), "norm": self.norm.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums of an unfinished row."""
        self.steps.fill_(state["steps"])
        self.loss.copy_(state["loss"])
        self.norm.copy_(state["norm"])


class MetricsLog:
    """The file `metrics.csv`.

    Each row is written to disk at once. Every checkpoint holds the text of the file, and a resumed run starts from that
    text. So in the end each row is there exactly once, whatever happened to the file in between.

    Args:
        folder: the folder of the run.
        text: the content of the file at the checkpoint; empty for a new run.

    Raises:
        ZooError: if the file cannot be written. `write` raises it too.
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self._path, self._lines = folder / "metrics.csv", [text or HEADER]
        restore(self._path, self.text)

    @property
    def text(self) -> str:
        """The content of the file."""
        return "".join(self._lines)

    def write(self, row: dict[str, float]) -> None:
        """Append a row. Columns that are not in it stay empty."""
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow(row)
        self._lines.append(line.getvalue())
        with naming(self._path), self._path.open("a") as file:
            file.write(line.getvalue())
            file.flush()
            os.fsync(file.fileno())


def restore(path: Path, text: str) -> None:
    """Reset a metrics file to the text that a checkpoint holds, if it differs.

    Raises:
        ZooError: if it cannot be written.
    """
    with naming(path):
        if path.is_file() and path.read_bytes() == text.encode():
            return
    with aside(path) as temporary:
        temporary.write_text(text)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a ZooError that names the file and a remedy."""
    try:
        yield
    except OSError as error:
        raise ZooError(
            f"training stopped: cannot write {path} ({error.strerror or error}); free some space or change the rights, "
            "and repeat the command or call to resume from the last checkpoint"
        ) from error
