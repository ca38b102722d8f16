"""Show how training proceeds: a bar in a terminal or notebook, a line for each validation elsewhere."""

import time
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from zoo.settings import Training


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
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

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
        sampling, rate = row["sampling_ratio"], row["learning_rate"]
        text = f"loss {row['loss']:.5f}  ratio {sampling:.3f}  rate {rate:.2g}  {speed:.1f} clips/s"
        if "validation_loss" in row:
            validation = f"validation {row['validation_loss']:.5f} (MSE {row['validation_mse']:.4g})"
            self.say(f"step {step:>7}  {text}  {validation}")
        self.busy(text)
        self._since = time.monotonic(), step


@rank_zero_only
def say(text: str) -> None:
    """Print a line in the first process, and in no other."""
    print(text)
