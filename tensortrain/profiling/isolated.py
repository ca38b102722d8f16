"""Measure the speed of the machine: the time of each convolution, product or sampling in isolation, and of a copy."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.profiling.clock import Clock
from tensortrain.profiling.cudnn import Convolutions
from tensortrain.profiling.macs import Call, NestedSpec, OtherSpec, Spec

COPIED = 2**26  # bytes that are read; as many are written
_LEAST = {"cpu": 1e-3, "cuda": 4e-3}  # seconds; shorter calls are repeated until they take this long

_GRID = {torch.ops.aten.grid_sampler_2d: 1, torch.ops.aten.grid_sampler_2d_backward: 2}  # which argument is the grid

Timed = Callable[[], float]


def isolated(calls: Iterable[Call], device: torch.device, clock: Clock) -> dict[Call, Timed]:
    """Return for each call a function that runs it in isolation, on random numbers, and returns the seconds.

    cuDNN may use its fastest algorithm, even if its results do not repeat bit for bit. Maps are sampled at the centres
    of their pixels: at random places they would be read in an order that no flow has.

    Raises:
        TensorTrainError: a call has an argument that random numbers cannot replace, such as a sparse tensor.
    """
    calls = list(calls)
    reach: dict[torch.dtype, int] = {}
    for spec in (spec for call in calls for spec in _specs(call.args)):
        reach[spec.dtype] = max(reach.get(spec.dtype, 0), spec.reach)
    generator = torch.Generator(device).manual_seed(0)
    # all tensors of a dtype share their numbers, because only their shapes matter
    numbers = {dtype: torch.randn(n, dtype=dtype, device=device, generator=generator) for dtype, n in reach.items()}
    return {call: _timed(call, numbers, device, clock) for call in calls}


def copying(device: torch.device, clock: Clock) -> Timed:
    """Return a function that copies `COPIED` bytes and returns the seconds."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.zeros_like(source)
    return _repeated(lambda: target.copy_(source), device, clock)


def _timed(call: Call, numbers: dict[torch.dtype, Tensor], device: torch.device, clock: Clock) -> Timed:
    """Return a function that runs a call and returns the seconds."""
    args = _filled(call.args, numbers)
    if call.operator.overloadpacket in _GRID:
        place = _GRID[call.operator.overloadpacket]
        args[place] = _centres(args[place])
    convolutions = Convolutions(False, True, "tf32" if call.precision == "tf32" else "ieee")
    with torch.no_grad(), convolutions.in_force():
        run = _repeated(lambda: call.operator(*args), device, clock)

    def seconds() -> float:
        """Return the seconds of one call."""
        with torch.no_grad(), convolutions.in_force():
            return run()

    return seconds


def _centres(grid: Tensor) -> Tensor:
    """Return a grid `(N, H, W, 2)` like this one that samples every pixel of a map at its centre."""
    count, height, width, _ = grid.shape
    identity = torch.eye(2, 3, dtype=grid.dtype, device=grid.device).expand(count, 2, 3)
    return torch.nn.functional.affine_grid(identity, [count, 1, height, width], align_corners=False)


def _repeated(run: Callable[[], Any], device: torch.device, clock: Clock) -> Timed:
    """Return a function that returns the seconds of one run, repeated if it is short."""
    times = clock.repeats(run, _LEAST[device.type])
    if device.type == "cpu":
        return lambda: clock.seconds(run, times)
    graph = torch.cuda.CUDAGraph()  # small kernels that are launched one by one would wait for the CPU
    with torch.cuda.graph(graph):
        for _ in range(times):
            run()
    return lambda: clock.seconds(graph.replay) / times


def _specs(args: Any) -> list[Spec]:
    """Return all `Spec` objects in the arguments."""
    if isinstance(args, Spec):
        return [args]
    if isinstance(args, OtherSpec):
        raise TensorTrainError(
            f"a tensor {args.shape} has the layout {args.layout}; only calls with strided or nested tensors can be"
            " timed alone, so measure a model without such tensors"
        )
    return [spec for arg in args for spec in _specs(arg)] if isinstance(args, tuple) else []


def _filled(args: Any, numbers: dict[torch.dtype, Tensor]) -> Any:
    """Return the arguments with a tensor of random numbers in place of each `Spec`."""
    if isinstance(args, Spec):
        return numbers[args.dtype].as_strided(args.shape, args.stride)
    if isinstance(args, NestedSpec):
        return torch.nested.nested_tensor(_filled(args.components, numbers))
    return [_filled(arg, numbers) for arg in args] if isinstance(args, tuple) else args
