"""Measure the time of several computations in turn."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


class Clock:
    """Measures the time of computations on a device.

    With one CPU thread it measures processor time, which other programs on the machine hardly affect. Otherwise it
    measures wall-clock time.

    Args:
        device: the device on which the computations run.
        threads: number of CPU threads that they use.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._device = device
        alone = device.type == "cpu" and threads == 1
        self.name = "processor time" if alone else "wall-clock time"
        self._now = time.process_time if alone else time.perf_counter

    def seconds(self, run: Callable[[], Any], times: int = 1) -> float:
        """Return the seconds of one run, as the mean of `times` successive runs."""
        self._wait()
        start = self._now()
        for _ in range(times):
            run()
        self._wait()
        return (self._now() - start) / times

    def repeats(self, run: Callable[[], Any], least: float) -> int:
        """Return the number of successive runs, from 1 to 1000, that take at least about `least` seconds."""
        run()
        return max(1, min(1000, round(least / max(self.seconds(run), 1e-7))))

    def _wait(self) -> None:
        """Wait until the device has finished its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def alternate(runs: Mapping[Key, Callable[[], float]], rounds: int) -> list[dict[Key, float]]:
    """Call all functions in turn, round by round, and return their seconds; a drift of the machine affects all."""
    return [{key: run() for key, run in runs.items()} for _ in range(rounds)]
