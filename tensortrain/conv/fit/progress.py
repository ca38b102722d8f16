"""How far a decomposition is: a bar on a terminal; elsewhere a long one says beforehand how long it will take."""

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PATIENCE = 2.0  # seconds before the bar appears, or a duration is estimated
LONG = 15.0  # estimated seconds from which a decomposition is announced where there is no terminal
MEASURED = 1.0  # seconds of steps from which a duration is estimated
INTERVAL = 60.0  # seconds between two lines after that


class Ticker:
    """Counts the work of solvers, and shows it.

    Args:
        show: whether to show anything; None: a bar on a terminal after `PATIENCE` seconds, and lines on the standard
            error elsewhere if it takes longer than `LONG`.
        name: of what is decomposed.
    """

    def __init__(self, show: bool | None, name: str = "decompose") -> None:
        terminal = sys.stderr.isatty()
        self.name = name
        self.wants_bar = terminal if show is None else show
        self.wants_lines = show is None and not terminal
        self.started = time.monotonic()
        self.first: tuple[float, float] | None = None  # when the first step ended, and the work until then
        self.work = self.expected = 0.0
        self.spoken: float | None = None
        self.bar: Progress | None = None

    def expect(self, work: float) -> None:
        """Announce that so many multiplications lie ahead, roughly and at most."""
        self.expected += work

    def __call__(self, work: float) -> None:
        """Count one step of so many multiplications, and show what there is to show."""
        now = time.monotonic()
        self.work += work
        if self.first is None:
            self.first = now, self.work
        if now - self.started > PATIENCE:
            if self.wants_bar:
                self._show()
            elif self.wants_lines:
                self._speak(now)

    def duration(self) -> float:
        """Estimated seconds of the whole: those so far, and the work ahead at the speed of the steps so far."""
        now = time.monotonic()
        elapsed = now - self.started
        if self.first is None or self.work <= 0:
            return elapsed
        since, before = self.first
        done = self.work - before
        speed = (now - since) / done if done else elapsed / self.work
        return elapsed + max(0.0, self.expected - self.work) * speed

    def _show(self) -> None:
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
        self.bar.update(self.task, completed=self.work, total=max(self.expected, self.work) or None)

    def _speak(self, now: float) -> None:
        if self.spoken is None:
            seconds = self.duration()
            if self._measured(now) and seconds > LONG:
                self._print(f"{self.name}: about {_words(seconds)}")
                self.spoken = now
        elif now - self.spoken > INTERVAL:
            done, whole = _words(now - self.started), _words(self.duration())
            self._print(f"{self.name}: {done} of about {whole}")
            self.spoken = now

    def _measured(self, now: float) -> bool:
        """Whether steps have taken long enough to judge their speed."""
        return now - self.started > LONG or (self.first is not None and now - self.first[0] > MEASURED)

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()


def _words(seconds: float) -> str:
    """A duration for people.

    >>> _words(42.3), _words(150)
    ('42 s', '2.5 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
