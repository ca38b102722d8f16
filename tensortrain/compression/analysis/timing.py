"""Times of layers and networks on this machine, for a budget of time and for the report.

Computations that are compared run in alternation, so that a drift of the machine affects both. On one thread of a CPU
the clock counts processor time. Times do not depend on the values of weights, so forms are timed before they are
fitted.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Batch
from tensortrain.compression.analysis.costs import arguments, parameters
from tensortrain.compression.analysis.network import Analysis
from tensortrain.compression.analysis.trial import Use, observe
from tensortrain.compression.layers.assembly import assembled
from tensortrain.compression.layers.candidates import Factors
from tensortrain.compression.layers.modules import factorised
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.profiling.clock import Clock, alternate

ROUNDS = 15  # number of alternations
FEW = 5  # number of alternations if many forms are compared
PASS = 0.1  # longest pass of the network in seconds, if the number of samples is free
LEAST = 1e-3  # shortest measurement in seconds; shorter calls are repeated
MANY = 64  # with at least this many channels, only multiples of 8 are tried as ranks
SIMILAR = 0.07  # largest difference of the shares of the channels that the two ranks of a form keep
PARTS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)  # shares of the channels that are tried as ranks

Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class Race:
    """The times of two computations that ran in alternation.

    Attributes:
        before: quartiles of the first computation's time, in milliseconds.
        after: quartiles of the second computation's time, in milliseconds.
        ratio: median of the ratios second / first; below 1 if the second is faster.
    """

    before: Quartiles
    after: Quartiles
    ratio: float


def clock_for(device: torch.device) -> Clock:
    """Return the clock for computations on a device with the current number of threads."""
    return Clock(device, torch.get_num_threads())


def race(first: Callable[[], Any], second: Callable[[], Any], clock: Clock, rounds: int = ROUNDS) -> Race:
    """Time two computations in alternation."""
    with torch.no_grad():
        times = {key: clock.repeats(run, LEAST) for key, run in ((0, first), (1, second))}
        runs = {
            0: lambda: clock.seconds(first, times[0]),
            1: lambda: clock.seconds(second, times[1]),
        }
        seconds = alternate(runs, rounds)
    ratios = sorted(one[1] / max(one[0], 1e-12) for one in seconds)
    return Race(_quartiles([one[0] for one in seconds]), _quartiles([one[1] for one in seconds]), ratios[rounds // 2])


def _quartiles(seconds: list[float]) -> Quartiles:
    low, middle, high = (1000 * value for value in quantiles(seconds, n=4, method="inclusive"))
    return low, middle, high


@dataclass(frozen=True)
class Timing:
    """Times of a network.

    Attributes:
        timer: timer of its layers.
        race: times of the original and of the network, for the timer's batch.
        missed: a sentence that says by how much the network misses a budget of time; empty if it does not.
    """

    timer: "LayerTimer"
    race: Race
    missed: str = ""


class LayerTimer:
    """Times layers on random inputs of the shapes that they are called with.

    Layers of the same geometry are timed once.

    Args:
        uses: the calls of each layer, with the shapes of its inputs.
        batch: the batch of the network's inputs that leads to these shapes.
    """

    def __init__(self, uses: Mapping[str, Use], batch: Batch) -> None:
        self.batch, self._uses, self._device = batch, uses, batch.tensors()[0].device
        self._clock = clock_for(self._device)
        self._races: dict[Hashable, Race] = {}

    def race(self, name: str, before: nn.Module, after: nn.Module, rounds: int = ROUNDS) -> Race:
        """Time a layer and its replacement in alternation, each with all calls of one forward pass.

        Args:
            name: name of the layer in the network.
            before: the layer.
            after: the replacement.
            rounds: number of alternations.
        """
        inputs, outputs = self._uses[name].inputs, self._uses[name].outputs
        key = (rounds, _geometry(before), _geometry(after), *inputs)
        if key not in self._races:
            calls = [
                arguments(before, self._input(before, shape), result)
                for shape, result in zip(inputs, outputs, strict=True)
            ]
            self._races[key] = race(_running(before, calls), _running(after, calls), self._clock, rounds)
        return self._races[key]

    def _input(self, layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
        weight = next(p for p in layer.parameters() if p.dim() > 1)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator).to(self._device, weight.dtype)
        if weight.dim() == 4 == x.dim() and not weight.is_contiguous():
            x = x.contiguous(memory_format=torch.channels_last)
        return x


def batch_to_time(analysis: Analysis) -> Batch:
    """Return a small batch, with so few samples that a pass of the network takes about `PASS` seconds at most."""
    assert analysis.measured is not None
    calibration = analysis.measured.calibration
    batch = calibration.small_batch()
    if not calibration.independent:
        return batch
    clock = clock_for(batch.tensors()[0].device)
    seconds = clock.seconds(lambda: calibration.run(analysis.reference, batch))
    return batch.rows(0, max(1, min(batch.size, int(batch.size * PASS / max(seconds, 1e-9)))))


def layer_timer(analysis: Analysis, batch: Batch) -> LayerTimer:
    """Return a timer of the layers of a network, for the shapes that a batch leads to."""
    assert analysis.measured is not None
    layers = {name: analysis.reference.get_submodule(name) for name in analysis.maps}
    run = analysis.measured.calibration.run
    trial = observe(lambda: run(analysis.reference, batch), analysis.reference, layers, batch.size)
    return LayerTimer(trial.uses, batch)


def time_whole(analysis: Analysis, model: nn.Module, batch: Batch) -> Race:
    """Time the original network and another one, which must be in evaluation mode, in alternation."""
    assert analysis.measured is not None
    original, run = assembled(analysis.model, {}).eval(), analysis.measured.calibration.run
    return race(lambda: run(original, batch), lambda: run(model, batch), clock_for(batch.tensors()[0].device))


def _running(layer: nn.Module, calls: list[tuple[Any, ...]]) -> Callable[[], None]:
    def run() -> None:
        for call in calls:
            layer(*call)

    return run


def _geometry(layer: nn.Module) -> Hashable:
    """Return everything, except the input, that the time of a layer depends on."""
    return repr(layer), *((tuple(p.shape), p.dtype, p.stride()) for p in layer.parameters())


def stand_in(own: PatchMap, ranks: tuple[int, int]) -> nn.Module:
    """Build a layer of this form to be timed. Its weights are random, and as large as those of the layer."""
    s, r = ranks
    generator = torch.Generator().manual_seed(0)

    def factor(size: float, *shape: int) -> Tensor:
        return (size * torch.randn(shape, generator=generator)).to(own.layer.weight)

    outer = factor(s**-0.5, own.groups, own.outputs, s) if s < own.outputs else None
    inner = factor(r**-0.5, own.groups, r, own.inputs) if r < own.inputs else None
    size = float(own.layer.weight.detach().float().square().mean()) ** 0.5
    return factorised(own, Factors(outer, factor(size, own.groups, s, r, own.taps), inner))


def forms_to_time(own: PatchMap, multiple: int) -> list[tuple[int, int]]:
    """Return the forms that are timed: with one factor or both, and with fewer parameters than the layer.

    Args:
        own: the layer.
        multiple: ranks, as totals over all groups, are rounded to multiples of this number. If it is 1 and there are
            many channels, they are rounded to multiples of 8.

    Returns:
        Pairs of an outer and an inner rank within a group.

    >>> forms_to_time(PatchMap.of(nn.Linear(8, 16)), 4)
    [(4, 8)]
    """

    def ranks(channels: int) -> list[int]:
        whole = 8 if multiple == 1 and channels * own.groups >= MANY else multiple
        unit = whole // math.gcd(whole, own.groups)  # within a group
        steps = {max(1, round(part * channels / unit)) * unit for part in PARTS}
        return sorted(rank for rank in steps if rank < channels)

    outer, inner = ranks(own.outputs), ranks(own.inputs)
    forms = [(s, own.inputs) for s in outer]
    if own.taps > 1:
        both = [(s, r) for s in outer for r in inner if abs(s / own.outputs - r / own.inputs) < SIMILAR]
        forms += [(own.outputs, r) for r in inner] + both
    stored = parameters(own, own.layer)
    costs = stored.of(torch.tensor(forms).reshape(-1, 2), own).tolist()
    return [form for form, cost in zip(forms, costs, strict=True) if cost < stored.present]
