"""What a run tells while it trains: a bar in a terminal or notebook, a line for each validation elsewhere."""

import time
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from zoo.settings import Training


class Reporter:
    """Shows steps, and what was measured when the device was last looked at.

    Args:
        training: settings of the run.
        start: steps done already.
        shown: whether to show anything.
    """

    def __init__(self, training: Training, start: int, shown: bool) -> None:
        self._console = Console(quiet=not shown)
        self._bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal and not self._console.is_jupyter,
        )
        self._task: TaskID = self._bar.add_task("", total=training.steps, completed=start, measured="")
        self._clips, self._since = training.batch_size, (time.monotonic(), start)

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def step(self, done: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done)

    def busy(self, text: str) -> None:
        """Say beside the bar what takes so long."""
        self._bar.update(self._task, measured=text)

    def speed(self, done: int) -> float:
        """Clips a second since the last row; validations do not count."""
        time_then, step_then = self._since
        return self._clips * (done - step_then) / max(time.monotonic() - time_then, 1e-9)

    def row(self, row: dict[str, float], speed: float) -> None:
        """Show a row of metrics; one with a validation stays, on a line of its own."""
        step = int(row["step"])
        text = f"loss {row['loss']:.5f}  ratio {row['ratio']:.3f}  rate {row['rate']:.2g}  {speed:.1f} clips/s"
        if "validation_loss" in row:
            validation = f"validation {row['validation_loss']:.5f} (MSE {row['validation_mse']:.1f})"
            self.say(f"step {step:>7}  {text}  {validation}")
        self.busy(text)
        self._since = time.monotonic(), step


@rank_zero_only
def say(text: str) -> None:
    """Print a line, in the first process alone."""
    print(text)
