"""What a long computation is doing, and how long each of its stages took."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tensortrain.terminal import watched

PATIENCE = 1.0  # seconds before anything is shown on a terminal
SILENCE = 15.0  # seconds after which a long call says what it does, where there is none


class Stages:
    """Names stages and layers while they are worked on: a moving line on a terminal, else a line for each stage.

    Args:
        show: `shown`; None shows it once it has taken `PATIENCE` seconds, or `SILENCE` where there is no terminal.

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
        """Say that a stage works on a layer now."""
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
        """Leave the terminal to somebody else until the next stage."""
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
