"""Show the current stage of a long computation, and measure the time of each stage."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tensortrain.terminal import watched

PATIENCE = 1.0  # seconds after which the stage is shown on a terminal
SILENCE = 15.0  # seconds after which stages are printed, if there is no terminal


class Stages:
    """Shows the current stage and layer, and measures the time of each stage.

    In a terminal this is one line that changes, and appears after `PATIENCE` seconds. Without a terminal, one line is
    printed for each stage.

    Args:
        show: whether to show anything. None does so as well but, without a terminal, only after `SILENCE` seconds.

    Attributes:
        seconds: time of each stage so far, in seconds.
        shown: the argument `show`.

    >>> with Stages(False) as stages:
    ...     stages("statistics", "conv1")
    ...     stages("refit", "conv1")
    >>> list(stages.seconds)
    ['statistics', 'refit']
    """

    def __init__(self, show: bool | None) -> None:
        self.seconds: dict[str, float] = {}
        self.shown = show
        self._terminal = watched()
        self._wanted, self._patience = show is not False, 0.0 if show else SILENCE
        self._stage = ""
        self._began = self._last = time.perf_counter()
        self._bar: Progress | None = None

    def __call__(self, stage: str, layer: str = "") -> None:
        """Set the current stage and the layer on which it works."""
        self._count()
        fresh = stage != self._stage
        self._stage = stage
        self.seconds.setdefault(stage, 0.0)
        if not self._wanted:
            return
        if not self._terminal:
            if fresh and time.perf_counter() - self._began >= self._patience:
                print(f"compress: {stage} {layer}".rstrip(), file=sys.stderr)
            return
        if self._bar is None and time.perf_counter() - self._began > PATIENCE:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("")
        if self._bar is not None:
            self._bar.update(self._task, description=f"{stage} {layer}")

    def pause(self) -> None:
        """Release the terminal for other output until the next stage."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _count(self) -> None:
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] += now - self._last
        self._last = now

    def __enter__(self) -> "Stages":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count()
        self.pause()
