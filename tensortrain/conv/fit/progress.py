"""Show the progress of decompositions: a bar in a terminal, otherwise the expected duration of long decompositions."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tensortrain.errors import TensorTrainError
from tensortrain.terminal import watched

PATIENCE = 2.0  # seconds before the bar appears or a duration is estimated
LONG = 15.0  # without a terminal, a decomposition is announced if it is expected to take so many seconds
MEASURED = 1.0  # a duration is estimated after so many seconds of steps
INTERVAL = 60.0  # seconds between two later lines


@runtime_checkable
class Follower(Protocol):
    """An object that is notified of the work of solvers."""

    def expect(self, work: float) -> None:
        """Announce a rough upper limit of the multiplications to come."""

    def __call__(self, work: float) -> None:
        """Count one step with so many multiplications."""


class Ticker:
    """Counts the work of solvers, of one or several decompositions, and shows the progress.

    Args:
        show: whether to show the progress. None shows a bar in a terminal or notebook after `PATIENCE` seconds;
            elsewhere it prints lines to standard error if the decomposition takes longer than `LONG`.
        name: name of the decomposition.
    """

    def __init__(self, show: bool | None, name: str = "decompose") -> None:
        terminal = watched()
        self.name = name
        self.wants_bar = terminal if show is None else show
        self.wants_lines = show is None and not terminal
        self.started = time.monotonic()
        self.first: tuple[float, float] | None = None  # the time at the end of the first step, and the work until then
        self.work = self.expected = 0.0
        self.begun = 0.0  # fraction of the whole whose work was announced, if there are several parts
        self.spoken: float | None = None
        self.bar: Progress | None = None
        self.lock = threading.Lock()

    def expect(self, work: float) -> None:
        """Announce a rough upper limit of the multiplications to come."""
        with self.lock:
            self.expected += work

    def __call__(self, work: float, part: str = "") -> None:
        """Count one step with so many multiplications, of the decomposition `part`, and show the progress."""
        with self.lock:
            now = time.monotonic()
            self.work += work
            if self.first is None:
                self.first = now, self.work
            if now - self.started > PATIENCE:
                if self.wants_bar:
                    self._show(part)
                elif self.wants_lines:
                    self._speak(now, part)

    @contextmanager
    def part(self, name: str, share: float) -> Iterator[Follower]:
        """Follow one of several decompositions, which needs about this share of the whole work."""
        with self.lock:
            self.begun = min(1.0, self.begun + share)
        part = _Part(self, name)
        yield part
        with self.lock:
            self.expected -= max(0.0, part.expected - part.work)  # the part has ended before its limit

    def total(self) -> float:
        """Return the expected multiplications of the whole."""
        return self.expected / (self.begun or 1.0)

    def duration(self) -> float:
        """Return the estimated seconds of the whole: the elapsed time, plus the remaining work at the speed so far."""
        now = time.monotonic()
        elapsed = now - self.started
        if self.first is None or self.work <= 0:
            return elapsed
        since, before = self.first
        done = self.work - before
        speed = (now - since) / done if done else elapsed / self.work
        return elapsed + max(0.0, self.total() - self.work) * speed

    def _show(self, part: str) -> None:
        """Show or update the progress bar."""
        if self.bar is None:
            from rich.console import Console

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=None)
        described = f"{self.name} {part}".rstrip()
        self.bar.update(
            self.task, description=described, completed=self.work, total=max(self.total(), self.work) or None
        )

    def _speak(self, now: float, part: str) -> None:
        """Print the expected duration, or later the elapsed time, if a line is due."""
        if self.spoken is None:
            seconds = self.duration()
            if self._measured(now) and seconds > LONG:
                self._print(f"{self.name}: at most about {_words(seconds)}; most fits end much sooner")
                self.spoken = now
        elif now - self.spoken > INTERVAL:
            done, whole = _words(now - self.started), _words(self.duration())
            self._print(f"{self.name}: {done} of at most about {whole}" + (f", at {part}" if part else ""))
            self.spoken = now

    def _measured(self, now: float) -> bool:
        """Return whether steps have run long enough to judge their speed."""
        return now - self.started > LONG or (self.first is not None and now - self.first[0] > MEASURED)

    @staticmethod
    def _print(line: str) -> None:
        """Print a line to standard error."""
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()


class _Part:
    """One of several decompositions that a ticker counts together."""

    def __init__(self, ticker: Ticker, name: str) -> None:
        self._ticker, self._name = ticker, name
        self.work = self.expected = 0.0

    def expect(self, work: float) -> None:
        """Announce a rough upper limit of the multiplications to come."""
        self.expected += work
        self._ticker.expect(work)

    def __call__(self, work: float) -> None:
        self.work += work
        self._ticker(work, self._name)


def follower(progress: "bool | Follower | None", name: str) -> contextlib.AbstractContextManager[Follower]:
    """Return the `Follower` that was passed, or a new ticker with this name.

    Raises:
        TensorTrainError: `progress` is something else.
    """
    if progress is None or isinstance(progress, bool):
        return Ticker(progress, name)
    if not isinstance(progress, Follower):
        raise TensorTrainError(f"progress = {progress!r}; legal: True, False, and None for long calls only")
    return contextlib.nullcontext(progress)


def _words(seconds: float) -> str:
    """Return a duration as readable text.

    >>> _words(42.3), _words(150)
    ('42 s', '2.5 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
