"""What a run tells while it trains: a bar in a terminal or notebook, a line for each validation elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter:
    """Shows steps, and what was measured when the device was last looked at.

    Args:
        steps: of the whole run.
        start: steps done already.
        clips: in a step.
        shown: whether to show anything.
    """

    def __init__(self, steps: int, start: int, clips: int, shown: bool) -> None:
        self._console = Console(quiet=not shown)
        self._bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal and not self._console.is_jupyter,
        )
        self._task: TaskID = self._bar.add_task("", total=steps, completed=start, measured="")
        self._clips, self._last = clips, (time.monotonic(), start)

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

    def look(self, row: dict[str, float]) -> None:
        """Show a row of metrics; one with a validation stays on a line of its own."""
        (before, first), now, step = self._last, time.monotonic(), int(row["step"])
        self._last = now, step
        speed = self._clips * (step - first) / max(now - before, 1e-9)
        text = f"loss {row['loss']:.5f}  ratio {row['ratio']:.3f}  rate {row['rate']:.2g}  {speed:.1f} clips/s"
        if "validation_loss" in row:
            self.say(
                f"step {step:>7}  {text}  validation {row['validation_loss']:.5f} (MSE {row['validation_mse']:.1f})"
            )
        self._bar.update(self._task, completed=step, measured=text)
