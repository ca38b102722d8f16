"""Measure how fast chains run compared with the dense kernel; they need not be fitted, as entries do not matter."""

from collections.abc import Callable, Sequence
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from tensortrain.conv.fit.choose_format import Entrant
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.ranks import with_ends
from tensortrain.conv.planner import IMAGE, admitted
from tensortrain.errors import TensorTrainError
from tensortrain.profiling.clock import Clock, alternate

BATCH = 16  # number of images in a batch
ROUNDS = 9  # number of alternations
LEAST = 1e-3  # seconds of one measurement; shorter runs are repeated


def ratios(field: Sequence[Entrant], kernel: NormalizedKernel, size: Sequence[int]) -> list[float]:
    """Return the times of chains relative to the dense kernel on random images, medians of alternating runs."""
    generator = torch.Generator().manual_seed(0)
    device = kernel.weight.device

    def numbers(*shape: int) -> Tensor:
        """Return random numbers in the dtype and on the device of the kernel."""
        return torch.randn(shape, generator=generator, device="cpu").to(device, kernel.dtype)

    p, q = kernel.channels
    images, dense = numbers(BATCH, kernel.conv_groups * q, *size), numbers(kernel.conv_groups * p, q, *kernel.size)
    conv = (F.conv1d, F.conv2d, F.conv3d)[len(kernel.size) - 1]

    def runner(entrant: Entrant) -> Callable[[], Tensor]:
        """Return a function that runs a chain on the images."""
        bounds = with_ends(kernel, entrant.ranks)
        groups = entrant.chain_format.groups(bounds)
        cores = [
            numbers(kernel.conv_groups * bounds[l], bounds[l + 1] // groups[l], *taps)
            for l, taps in enumerate(entrant.chain_format.kernel_sizes)
        ]

        def run() -> Tensor:
            """Run the chain on the images."""
            x = images
            for core, g in zip(reversed(cores), reversed(groups), strict=True):
                x = conv(x, core, groups=kernel.conv_groups * g)
            return x

        return run

    runs = [lambda: conv(images, dense, groups=kernel.conv_groups), *map(runner, field)]
    clock = Clock(device, torch.get_num_threads())
    with torch.inference_mode():
        times = [clock.repeats(run, LEAST) for run in runs]
        timed = {i: _timed(clock, runs[i], times[i]) for i in range(len(runs))}
        rounds = alternate(timed, ROUNDS)
    return [median(seconds[i] / seconds[0] for seconds in rounds) for i in range(1, len(runs))]


def _timed(clock: Clock, run: Callable[[], Tensor], times: int) -> Callable[[], float]:
    """Return a function that returns the seconds of one run."""
    return lambda: clock.seconds(run, times)


def fast_enough(
    field: Sequence[Entrant], kernel: NormalizedKernel, objective: str, size: Sequence[int] | None
) -> list[Entrant]:
    """Return the entrants that an objective admits.

    Raises:
        TensorTrainError: the objective is about speed, and the images are smaller than the kernel.
    """
    if objective == "error":
        return list(field)
    if size is not None and any(n < k for n, k in zip(size, kernel.size, strict=True)):
        raise TensorTrainError(
            f'size = {tuple(size)} is smaller than the kernel, {kernel.size}; objective = "{objective}" times the'
            " chains on images of this size without padding, so give at least the size of the kernel"
        )
    image = size or [max(IMAGE, k) for k in kernel.size]
    return [field[i] for i in admitted(ratios(field, kernel, image), objective)]
