"""Show how training proceeds: a bar in a terminal or notebook, a line for each validation elsewhere."""

import time
from collections.abc import Sequence
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tensortrain.tables import wrapped
from zoo.settings import Training

LEGEND = (
    "loss: on training clips, since the last line. ratio: share of true frames that the model reads after the observed "
    "ones; the others are its own predictions. So the loss may rise while the ratio falls, and the model still gets "
    "better. rate: the learning rate. validation: the loss on clips that are not trained on, from its own predictions "
    "alone. MSE: their squared error, summed over a predicted frame."
)
HEADS = ("step", "loss", "ratio", "rate", "clips/s", "validation", "MSE")
_REPEATED = 25  # lines after which their heads are repeated


class Reporter:
    """Shows the steps taken, and the last row of metrics.

    Args:
        training: settings of the run.
        start: steps taken before.
        shown: whether to show anything.
    """

    def __init__(self, training: Training, start: int, shown: bool) -> None:
        self._console = Console(quiet=not shown)
        self._bar = Progress(
            BarColumn(max(2, min(20, self._console.width - 56))),  # beside it the numbers take 55 characters
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal and not self._console.is_jupyter,
        )
        self._task: TaskID = self._bar.add_task("", total=training.steps, completed=start, measured="")
        self._clips, self._since = training.batch_size, (time.monotonic(), start)
        self._printed = 0

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a sentence, wrapped between words."""
        for line in wrapped(text, self._console.width):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, cells: Sequence[str]) -> None:
        widths = (7, 8, 5, 8, 7, 10, 7)  # 58 with the blanks between them
        cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        self._console.print(" ".join(cells), highlight=False, markup=False, soft_wrap=True)

    def step(self, done: int) -> None:
        """Move the bar to `done` steps."""
        self._bar.update(self._task, completed=done)

    def busy(self, text: str) -> None:
        """Show a text beside the bar."""
        self._bar.update(self._task, measured=text)

    def speed(self, done: int) -> float:
        """Clips trained on per second since the last row, not counting the time of validations."""
        time_then, step_then = self._since
        return self._clips * (done - step_then) / max(time.monotonic() - time_then, 1e-9)

    def row(self, row: dict[str, float], speed: float) -> None:
        """Show a row of metrics beside the bar; print it as a line if it has a validation."""
        step = int(row["step"])
        shown = [f"{step}", f"{row['loss']:.5f}", f"{row['sampling_ratio']:.2f}", f"{row['learning_rate']:.2g}"]
        shown.append(f"{speed:.3g}")
        text = "  ".join(f"{name} {value}" for name, value in zip(HEADS[1:4], shown[1:4], strict=True))
        if "validation_loss" in row:
            if self._printed == 0:
                self.say(LEGEND)
            if self._printed % _REPEATED == 0:
                self._line(HEADS)
            self._printed += 1
            self._line([*shown, f"{row['validation_loss']:.5f}", f"{row['validation_mse']:.4g}"])
        self.busy(text)
        self._since = time.monotonic(), step


@rank_zero_only
def say(text: str) -> None:
    """Print a line in the first process, and in no other."""
    print(text)
