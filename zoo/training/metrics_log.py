"""The metrics of a run: running sums on the device, and a file of rows, one for each step that was looked at."""

import csv
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.files import aside

COLUMNS = ("step", "loss", "gradient_norm", "ratio", "rate", "validation_loss", "validation_mse", "seconds")


class Meter:
    """Mean loss and largest gradient norm since the last row, and the first step that was not finite; all stay on the
    device until someone looks.

    Args:
        device: of the losses.
        dtype: of the losses.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.steps = 0
        self.loss = torch.zeros((), device=device, dtype=dtype)
        self.norm = torch.zeros((), device=device, dtype=dtype)
        self.bad = torch.full((), math.inf, device=device, dtype=torch.float64)

    def update(self, step: int, loss: Tensor, norm: Tensor, finite: Tensor) -> None:
        """Add a step, without waiting for the device."""
        self.steps += 1
        self.loss += loss
        torch.maximum(self.norm, norm, out=self.norm)  # in place, where a CUDA graph finds it
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
        """Go on from them."""
        self.steps = state["steps"]
        self.loss.copy_(state["loss"])
        self.norm.copy_(state["norm"])


class MetricsLog:
    """`metrics.csv`, and the same for TensorBoard. Rows are appended and flushed at once; a resumed run first drops
    that its checkpoint does not know, one cut short included, so that none is missing and none twice.

    Args:
        folder: of the run.
        step: of the last row before the checkpoint that the run goes on from; 0 begins anew.
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
        """Let go of the files."""
        self._board.close()


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics file, as text; none if there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines()))
