"""A progress bar that appears only when a decomposition takes long and the output is a terminal."""

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PATIENCE = 2.0  # seconds before the bar appears


class Ticker:
    """Counts solver steps; `show=None` shows the bar on a terminal after `PATIENCE` seconds."""

    def __init__(self, show: bool | None) -> None:
        self.wanted = sys.stderr.isatty() if show is None else show
        self.started = time.monotonic()
        self.steps = 0
        self.bar: Progress | None = None

    def __call__(self) -> None:
        """Count one step, and show or update the bar."""
        self.steps += 1
        if self.wanted and self.bar is None and time.monotonic() - self.started > PATIENCE:
            from rich.console import Console

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("decompose", total=None)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.steps)

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
