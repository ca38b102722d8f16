"""Seconds, taken in turn."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


class Clock:
    """Times what runs on a device.

    On one thread of a CPU it counts processor time, so that what other programs take of the machine does not matter;
    else it counts wall-clock time.

    Args:
        device: where it runs.
        threads: of the CPU.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._device = device
        alone = device.type == "cpu" and threads == 1
        self.name = "processor time" if alone else "wall-clock time"
        self._now = time.process_time if alone else time.perf_counter

    def seconds(self, run: Callable[[], Any], times: int = 1) -> float:
        """What one run takes, of `times` in a row."""
        self._wait()
        start = self._now()
        for _ in range(times):
            run()
        self._wait()
        return (self._now() - start) / times

    def repeats(self, run: Callable[[], Any], least: float) -> int:
        """How often to run in a row so that it takes at least `least` seconds."""
        run()
        return max(1, min(1000, round(least / max(self.seconds(run), 1e-7))))

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def alternate(runs: Mapping[Key, Callable[[], float]], rounds: int) -> list[dict[Key, float]]:
    """The seconds that each run returns, round by round, so that a drift of the machine meets all alike."""
    return [{key: run() for key, run in runs.items()} for _ in range(rounds)]
