"""Measure seconds, of several computations in turn."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


class Clock:
    """Times computations on a device.

    On one thread of a CPU it measures processor time, so that other programs on the machine matter little; otherwise
    wall-clock time.

    Args:
        device: where the computations run.
        threads: of the CPU that they use.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._device = device
        alone = device.type == "cpu" and threads == 1
        self.name = "processor time" if alone else "wall-clock time"
        self._now = time.process_time if alone else time.perf_counter

    def seconds(self, run: Callable[[], Any], times: int = 1) -> float:
        """The seconds of one run, as the mean of `times` in a row."""
        self._wait()
        start = self._now()
        for _ in range(times):
            run()
        self._wait()
        return (self._now() - start) / times

    def repeats(self, run: Callable[[], Any], least: float) -> int:
        """How many runs in a row take at least about `least` seconds."""
        run()
        return max(1, min(1000, round(least / max(self.seconds(run), 1e-7))))

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def alternate(runs: Mapping[Key, Callable[[], float]], rounds: int) -> list[dict[Key, float]]:
    """Call all runs in turn, round by round, so that a drift of the machine affects all alike; their seconds."""
    return [{key: run() for key, run in runs.items()} for _ in range(rounds)]
