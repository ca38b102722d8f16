"""What each form of a layer costs, in the unit of the budget, and what is left for the layers of a network."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.trial import Use
from tensortrain.compression.layers.candidates import Factors
from tensortrain.compression.layers.modules import factorised
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.errors import TensorTrainError
from tensortrain.profiling.macs import Recorder


@dataclass(frozen=True)
class Prices:
    """Cost of a layer in all its forms `1×1 (p ← s) | K×K (s ← r) | 1×1 (r ← q)`, which is bilinear in the ranks.

    Attributes:
        kernel: cost for each unit of s·r.
        outer: cost for each unit of s, if there is an outer factor.
        inner: cost for each unit of r, if there is an inner factor.
        present: cost of the original layer.
    """

    kernel: float
    outer: float
    inner: float
    present: float

    def of(self, ranks: Tensor, maps: PatchMap) -> Tensor:
        """Costs `(n,)` of the forms with these outer and inner ranks `(n, 2)`, the dense one with its own.

        >>> maps = PatchMap.of(nn.Conv2d(4, 8, 3))
        >>> parameters(maps, maps.layer).of(torch.tensor([[2, 4], [8, 1], [2, 1], [8, 4]]), maps)
        tensor([ 88.,  76.,  38., 288.], dtype=torch.float64)
        """
        s, r = ranks.double().unbind(1)
        costs = self.kernel * s * r + self.outer * s * (s < maps.outputs) + self.inner * r * (r < maps.inputs)
        return torch.where((s == maps.outputs) & (r == maps.inputs), self.present, costs)


def parameters(maps: PatchMap, layer: nn.Module) -> Prices:
    """Entries of the weights; biases stay and do not count.

    Args:
        maps: the layer as a plain one.
        layer: the layer as it is, which may be factorised already.
    """
    g = maps.groups
    bias = 0 if maps.layer.bias is None else maps.layer.bias.numel()
    return Prices(g * maps.taps, g * maps.outputs, g * maps.inputs, sum(p.numel() for p in layer.parameters()) - bias)


def in_bytes(maps: PatchMap, layer: nn.Module) -> Prices:
    """The same in bytes of memory."""
    size = maps.layer.weight.element_size()
    entries = parameters(maps, layer)
    return Prices(*(size * value for value in (entries.kernel, entries.outer, entries.inner, entries.present)))


def macs(maps: PatchMap, layer: nn.Module, use: Use, samples: int) -> Prices:
    """Multiply-accumulates for each sample, over all calls."""
    meta = copy.deepcopy(maps.layer).to("meta")
    chain: Any = factorised(PatchMap.of(meta), _unit_factors(maps))
    counts = [0] * len(chain.cores)
    for input, output in zip(use.inputs, use.outputs, strict=True):
        counts = [a + b for a, b in zip(counts, _core_macs(chain, maps, input, output), strict=True)]
    if maps.taps > 1:
        outer, kernel, inner = counts
    else:
        (outer, kernel), inner = counts, 0
        kernel //= maps.inputs  # whose inner rank is q
    present = layer_macs(maps, layer, use, samples)
    return Prices(kernel / samples, outer / samples, inner / samples, present)


def layer_macs(maps: PatchMap, layer: nn.Module, use: Use, samples: int) -> float:
    """Multiply-accumulates for each sample of any layer in this place, over all calls."""
    on_meta, total = copy.deepcopy(layer).to("meta"), 0
    for input, output in zip(use.inputs, use.outputs, strict=True):
        with Recorder() as recorder:
            _run(on_meta, maps, input, output)
        total += recorder.count.macs
    return total / samples


def _unit_factors(maps: PatchMap) -> Factors:
    """Factors of rank 1 in each group, without entries; a layer of one tap has no inner one."""
    g, p, q, taps = maps.groups, maps.outputs, maps.inputs, maps.taps
    sizes = {"dtype": maps.layer.weight.dtype, "device": "meta"}
    if taps == 1:
        return Factors(torch.empty(g, p, 1, **sizes), torch.empty(g, 1, q, 1, **sizes), None)
    return Factors(torch.empty(g, p, 1, **sizes), torch.empty(g, 1, 1, taps, **sizes), torch.empty(g, 1, q, **sizes))


def _core_macs(chain: Any, maps: PatchMap, input: tuple[int, ...], output: tuple[int, ...]) -> list[int]:
    """Multiply-accumulates of each core in one call."""
    counts = [0] * len(chain.cores)
    handles = []
    for l, core in enumerate(chain.cores):

        def hook(module: Any, args: Any, result: Tensor, l: int = l) -> None:
            channels = -1 - len(maps.size)
            places = args[0] if maps.transposed else result
            counts[l] += places.numel() // places.shape[channels] * module.weight.numel()

        handles.append(core.register_forward_hook(hook))
    _run(chain, maps, input, output)
    for handle in handles:
        handle.remove()
    return counts


def _run(layer: Any, maps: PatchMap, input: tuple[int, ...], output: tuple[int, ...]) -> None:
    """One call on tensors without entries."""
    x = torch.empty(input, dtype=maps.layer.weight.dtype, device="meta")
    with torch.no_grad():
        layer(x, list(output[-len(maps.size) :])) if maps.transposed else layer(x)


def amount(name: str, value: object, total: float) -> float:
    """A budget, as a fraction or a number of its units, as a number of units.

    Args:
        name: name of the budget: parameters, macs or bytes.
        value: a float up to 1 is a fraction of the whole network; an int is a number.
        total: cost of the whole network.

    Raises:
        TensorTrainError: anything else.

    >>> amount("parameters", 0.29, 100), amount("parameters", 29, 100)
    (29.0, 29.0)
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return float(value)
    if isinstance(value, float) and 0 < value <= 1:
        return float(math.floor(value * total * (1 + 1e-12)))  # 0.29 of 100 are 29
    raise TensorTrainError(
        f"{name} = {value!r}; a fraction of the whole network such as 0.3, or a number of {name} as an int is needed"
    )
