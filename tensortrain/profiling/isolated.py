"""What the machine can do: the seconds of each convolution on its own, and of a plain copy."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tensortrain.profiling.clock import Clock
from tensortrain.profiling.cudnn import Convolutions
from tensortrain.profiling.macs import Call, Spec

COPIED = 2**26  # bytes read, and as many written
_LEAST = {"cpu": 1e-3, "cuda": 4e-3}  # seconds; shorter calls are repeated until they take as long

Timed = Callable[[], float]


def isolated(calls: Iterable[Call], device: torch.device, clock: Clock) -> dict[Call, Timed]:
    """For each call a function that runs it alone, on random numbers, and returns its seconds.

    cuDNN may take its fastest algorithm, whether it repeats bit for bit or not.
    """
    calls = list(calls)
    reach: dict[torch.dtype, int] = {}
    for spec in (spec for call in calls for spec in _specs(call.args)):
        reach[spec.dtype] = max(reach.get(spec.dtype, 0), spec.reach)
    generator = torch.Generator(device).manual_seed(0)
    # all tensors of a type share their numbers: only their shapes matter
    numbers = {dtype: torch.randn(n, dtype=dtype, device=device, generator=generator) for dtype, n in reach.items()}
    return {call: _timed(call, numbers, device, clock) for call in calls}


def copying(device: torch.device, clock: Clock) -> Timed:
    """A function that copies `COPIED` bytes and returns the seconds."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.zeros_like(source)
    return _repeated(lambda: target.copy_(source), device, clock)


def _timed(call: Call, numbers: dict[torch.dtype, Tensor], device: torch.device, clock: Clock) -> Timed:
    args = _filled(call.args, numbers)
    convolutions = Convolutions(False, True, "tf32" if call.precision == "tf32" else "ieee")
    with torch.no_grad(), convolutions.in_force():
        run = _repeated(lambda: call.operator(*args), device, clock)

    def seconds() -> float:
        with torch.no_grad(), convolutions.in_force():
            return run()

    return seconds


def _repeated(run: Callable[[], Any], device: torch.device, clock: Clock) -> Timed:
    times = clock.repeats(run, _LEAST[device.type])
    if device.type == "cpu":
        return lambda: clock.seconds(run, times)
    graph = torch.cuda.CUDAGraph()  # launched one by one, small ones would wait for the CPU
    with torch.cuda.graph(graph):
        for _ in range(times):
            run()
    return lambda: clock.seconds(graph.replay) / times


def _specs(args: Any) -> list[Spec]:
    if isinstance(args, Spec):
        return [args]
    return [spec for arg in args for spec in _specs(arg)] if isinstance(args, tuple) else []


def _filled(args: Any, numbers: dict[torch.dtype, Tensor]) -> Any:
    """Arguments with a tensor of random numbers for each `Spec`."""
    if isinstance(args, Spec):
        return numbers[args.dtype].as_strided(args.shape, args.stride)
    return [_filled(arg, numbers) for arg in args] if isinstance(args, tuple) else args
