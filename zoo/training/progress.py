"""Show the progress of a training: a bar in a terminal or notebook, and a line for each validation."""

import time
from collections.abc import Sequence
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tensortrain.tables import wrapped
from zoo.settings import Recipe

_LEGEND = (
    "loss: training loss since the previous line. ratio: fraction of true {steps} that the model reads after the "
    "observed ones; the other {steps} are its own predictions. While the ratio falls, the loss may rise although the "
    "model gets better. rate: learning rate. validation: loss on clips that are not trained on, where the model reads "
    "only its own predictions. MSE: squared error on these clips, summed over {summed}."
)
LEGENDS = {  # by the content of the clips
    "video": _LEGEND.format(steps="frames", summed="a predicted frame"),
    "series": _LEGEND.format(steps="steps", summed="the columns of a predicted step"),
}
HEADS = ("step", "loss", "ratio", "rate", "clips/s", "validation", "MSE")
_REPEATED = 25  # number of lines after which the headings are printed again


class Reporter:
    """Shows the number of steps and the last row of metrics.

    Args:
        recipe: the settings of the run.
        start: the number of steps taken before.
        shown: whether to show anything.
    """

    def __init__(self, recipe: Recipe, start: int, shown: bool) -> None:
        self._console = Console(quiet=not shown)
        self._bar = Progress(
            BarColumn(max(2, min(20, self._console.width - 56))),  # the numbers beside it take 55 characters
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal and not self._console.is_jupyter,
        )
        self._task: TaskID = self._bar.add_task("", total=recipe.training.steps, completed=start, measured="")
        self._clips, self._legend = recipe.training.batch_size, LEGENDS[recipe.data.content]
        self._since = time.monotonic(), start
        self._printed = 0

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print text, wrapped between words."""
        for line in wrapped(text, self._console.width):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, cells: Sequence[str]) -> None:
        widths = (7, 8, 5, 8, 7, 10, 7)  # 58 characters with the blanks between them
        cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        self._console.print(" ".join(cells), highlight=False, markup=False, soft_wrap=True)

    def step(self, done: int) -> None:
        """Set the bar to `done` steps."""
        self._bar.update(self._task, completed=done)

    def busy(self, text: str) -> None:
        """Show a text beside the bar."""
        self._bar.update(self._task, measured=text)

    def speed(self, done: int) -> float:
        """Training clips per second since the last call of `restart`."""
        time_then, step_then = self._since
        return self._clips * (done - step_then) / max(time.monotonic() - time_then, 1e-9)

    def restart(self, done: int) -> None:
        """Start to measure the speed anew after `done` steps, so that only the time of steps counts."""
        self._since = time.monotonic(), done

    def row(self, row: dict[str, float], speed: float) -> None:
        """Show a row of metrics beside the bar. If it has a validation, also print it as a line."""
        shown = [
            f"{row['step']:.0f}",
            f"{row['loss']:.5f}",
            f"{row['sampling_ratio']:.2f}",
            f"{row['learning_rate']:.2g}",
        ]
        shown.append(f"{speed:.3g}")
        text = "  ".join(f"{name} {value}" for name, value in zip(HEADS[1:4], shown[1:4], strict=True))
        if "validation_loss" in row:
            if self._printed == 0:
                self.say(self._legend)
            if self._printed % _REPEATED == 0:
                self._line(HEADS)
            self._printed += 1
            self._line([*shown, f"{row['validation_loss']:.5f}", f"{row['validation_mse']:.4g}"])
        self.busy(text)


@rank_zero_only
def say(text: str) -> None:
    """Print a line, but only in the first process."""
    print(text)
