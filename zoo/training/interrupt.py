"""Signals that end training between two steps."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """Notes SIGINT and SIGTERM, so that training can end between two steps; a second one has its ordinary effect."""

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        self.install()
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals over; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                found = signal.signal(number, self._note)
                self._before.setdefault(number, found)

    def take_effect(self) -> None:
        """Do what a noted signal asks for, now that all is saved: raise KeyboardInterrupt or SystemExit."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise SystemExit(128 + self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])
