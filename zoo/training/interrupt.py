"""Stop training between two steps on SIGINT (Ctrl-C) or SIGTERM."""

import signal
import threading
from types import FrameType
from typing import Any


class CleanStop(KeyboardInterrupt):
    """A stop by Ctrl-C between two steps, after everything was saved."""


class Interrupt:
    """Notes SIGINT and SIGTERM while its block runs. A second signal of the same kind has its ordinary effect.

    Attributes:
        signal: the number of the last signal, 0 if there was none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # no other thread can set a handler
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_effect(self) -> None:
        """Raise what the noted signal would have raised: KeyboardInterrupt for SIGINT, SystemExit for SIGTERM."""
        if self.signal == signal.SIGINT:
            raise CleanStop
        if self.signal:
            raise SystemExit(128 + self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])
