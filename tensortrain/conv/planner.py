"""Which form of a convolutional tensor train is faster on the machine at hand: core by core, or one dense kernel.

Operation counts alone do not tell: depthwise and thin cores run at a fraction of the machine's peak. So both forms
are timed, as convolution libraries choose their own algorithms.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor

OBJECTIVES = ("error", "speed", "both")
IMAGE = 32  # positions on each axis of the images that chains are timed on, where nobody says how many
FASTER = 0.95  # of the dense time, up to which a chain counts as faster


def admitted(ratios: Sequence[float], objective: str) -> list[int]:
    """Which of several chains an objective admits, by their times relative to the dense kernel.

    "error" admits all, "speed" the fastest alone, "both" those that are faster than the dense kernel, or else the
    fastest.

    >>> admitted([0.9, 0.7, 1.2], "both"), admitted([1.4, 1.2], "both"), admitted([0.9, 0.7], "speed")
    ([0, 1], [1], [1])
    """
    if objective == "error":
        return list(range(len(ratios)))
    faster = [i for i, ratio in enumerate(ratios) if ratio <= FASTER]
    return faster if objective == "both" and faster else [min(range(len(ratios)), key=ratios.__getitem__)]


@dataclass(frozen=True)
class Plan:
    """What a chain costs for one batch, in both forms.

    Attributes:
        choice: the faster form.
        sequential_macs: multiply-accumulates for each image, core by core.
        dense_macs: the same for the composed kernel (built once, not counted).
        sequential_seconds: measured median for the whole batch.
        dense_seconds: likewise.
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
    """Time both forms of a chain in inference mode, in alternation, and choose the faster.

    Args:
        sequential: evaluates a batch core by core.
        dense: evaluates the same batch with one dense kernel.
        macs: multiply-accumulates of `sequential` for each image.
        dense_macs: likewise of `dense`.
        device: where both run; on a GPU every run is waited for.

    Cost: a handful of runs of each form, at least 20 ms in all.
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
    """Median seconds of two functions run in turn, so that a drift of the machine meets both alike."""

    def seconds(run: Callable[[], Tensor]) -> float:
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
