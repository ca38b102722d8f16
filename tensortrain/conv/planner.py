"""Measure which evaluation of a convolutional tensor train is faster on this machine: core by core or dense.

Operation counts alone cannot answer this, because depthwise cores and cores with few channels run at a fraction of the
machine's peak speed. Therefore both forms are timed, as convolution libraries do to choose their own algorithms.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor

OBJECTIVES = ("error", "speed", "both")
IMAGE = 32  # default size, on each axis, of the images with which chains are timed
FASTER = 0.95  # a chain counts as faster if its time is at most this fraction of the dense time


def admitted(ratios: Sequence[float], objective: str) -> list[int]:
    """Return which chains an objective admits, from their times relative to the dense kernel.

    "error" admits all chains and "speed" only the fastest. "both" admits the chains that are faster than the dense
    kernel, or the fastest chain if there are none.

    >>> admitted([0.9, 0.7, 1.2], "both"), admitted([1.4, 1.2], "both"), admitted([0.9, 0.7], "speed")
    ([0, 1], [1], [1])
    """
    if objective == "error":
        return list(range(len(ratios)))
    faster = [i for i, ratio in enumerate(ratios) if ratio <= FASTER]
    return faster if objective == "both" and faster else [min(range(len(ratios)), key=ratios.__getitem__)]


@dataclass(frozen=True)
class Plan:
    """The cost of a chain for one batch, in both forms.

    Attributes:
        choice: the faster form.
        sequential_macs: multiply-accumulates for each image, core by core.
        dense_macs: multiply-accumulates for each image with the dense kernel, without the cost of building it.
        sequential_seconds: measured median time for the whole batch, core by core.
        dense_seconds: measured median time for the whole batch with the dense kernel.
    """

    choice: Literal["sequential", "dense"]
    sequential_macs: int
    dense_macs: int
    sequential_seconds: float
    dense_seconds: float


def plan(
    sequential: Callable[[], Tensor],
    dense: Callable[[], Tensor],
    macs: int,
    dense_macs: int,
    device: torch.device,
) -> Plan:
    """Measure both forms of a chain in inference mode, in alternation, and choose the faster.

    Args:
        sequential: a function that evaluates a batch core by core.
        dense: a function that evaluates the same batch with one dense kernel.
        macs: multiply-accumulates of `sequential` for each image.
        dense_macs: multiply-accumulates of `dense` for each image.
        device: the device on which both run; on a GPU, the end of every run is awaited.

    Complexity: at least five runs of each form; short runs are repeated for 20 ms.
    """
    with torch.inference_mode():
        sequential_seconds, dense_seconds = _race(sequential, dense, device)
    return Plan(
        choice="sequential" if sequential_seconds <= dense_seconds else "dense",
        sequential_macs=macs,
        dense_macs=dense_macs,
        sequential_seconds=sequential_seconds,
        dense_seconds=dense_seconds,
    )


def _race(first: Callable[[], Tensor], second: Callable[[], Tensor], device: torch.device) -> tuple[float, float]:
    """Return the median seconds of two functions that are run in turn, so that a drift of the machine affects both."""

    def seconds(run: Callable[[], Tensor]) -> float:
        """Return the seconds of one run."""
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for run in (first, second):
        seconds(run)
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < 5 or (sum(times[0]) + sum(times[1]) < 0.02 and len(times[0]) < 200):
        times[0].append(seconds(first))
        times[1].append(seconds(second))
    return median(times[0]), median(times[1])
