"""The metrics of a run: running sums on the device, and a file with a row for each interval of steps."""

import csv
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


class Meter:
    """Sums since the last row, kept on the device so that a step need not wait for it.

    Args:
        device: of the losses.
        dtype: of the losses.

    Attributes:
        steps: since the last row.
        loss: sum of the losses.
        norm: the largest norm of the gradients.
        bad: the first step of the run that gave values that are not finite; `NEVER` if none has.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.steps = 0
        self.loss = torch.zeros((), device=device, dtype=dtype)
        self.norm = torch.zeros((), device=device, dtype=dtype)
        self.bad = torch.full((), NEVER, device=device, dtype=torch.int64)

    def update(self, step: int, loss: Tensor, norm: Tensor, finite: Tensor) -> None:
        """Add a step. All changes are made in place, where a CUDA graph expects the tensors."""
        self.steps += 1
        self.loss += loss
        torch.maximum(self.norm, norm, out=self.norm)
        self.bad.copy_(torch.where(finite, self.bad, self.bad.clamp(max=step)))

    def reset(self) -> None:
        """Begin the next row."""
        self.steps = 0
        self.loss.zero_()
        self.norm.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums of an unfinished row."""
        return {"steps": self.steps, "loss": self.loss.clone(), "norm": self.norm.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to such sums."""
        self.steps = state["steps"]
        self.loss.copy_(state["loss"])
        self.norm.copy_(state["norm"])


class MetricsLog:
    """`metrics.csv`, and the same values for TensorBoard.

    Rows are appended and flushed at once. A resumed run first drops the rows written after its checkpoint, and a row
    that was cut short, so that in the end none is missing and none is there twice.

    Args:
        folder: of the run.
        step: of the last row before the checkpoint that the run resumes from; 0 for a new file.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.csv"
        kept = [row for row in read_metrics(self._path) if int(row["step"]) <= step] if step else []
        with aside(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: dict[str, float]) -> None:
        """Append a row; columns it lacks stay empty."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Close the files."""
        self._board.close()


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics file, as text, without one that was cut short; none if there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines()))
