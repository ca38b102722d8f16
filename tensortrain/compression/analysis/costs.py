"""The cost of each form of a layer in the unit of a budget."""

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
    """Costs from which the cost of every form `1×1 (p ← s) | K×K (s ← r) | 1×1 (r ← q)` of a layer follows.

    A form costs `kernel · s · r + outer · s + inner · r`, where a factor that is absent costs nothing.

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
        """Return the costs `(n,)` of the forms with these outer and inner ranks `(n, 2)`.

        Full ranks stand for the original layer.

        >>> maps = PatchMap.of(nn.Conv2d(4, 8, 3))
        >>> parameters(maps, maps.layer).of(torch.tensor([[2, 4], [8, 1], [2, 1], [8, 4]]), maps)
        tensor([ 88.,  76.,  38., 288.], dtype=torch.float64)
        """
        s, r = ranks.double().unbind(1)
        costs = self.kernel * s * r + self.outer * s * (s < maps.outputs) + self.inner * r * (r < maps.inputs)
        return torch.where((s == maps.outputs) & (r == maps.inputs), self.present, costs)


def parameters(maps: PatchMap, layer: nn.Module) -> Prices:
    """Return the costs of a layer in entries of its weights. Biases stay and are not counted.

    Args:
        maps: the plain layer.
        layer: the layer of the network, which may be factorised already.
    """
    g = maps.groups
    bias = 0 if maps.layer.bias is None else maps.layer.bias.numel()
    return Prices(g * maps.taps, g * maps.outputs, g * maps.inputs, sum(p.numel() for p in layer.parameters()) - bias)


def in_bytes(maps: PatchMap, layer: nn.Module) -> Prices:
    """Return the costs of a layer in bytes of its weights; the arguments are those of `parameters`."""
    size = maps.layer.weight.element_size()
    entries = parameters(maps, layer)
    return Prices(*(size * value for value in (entries.kernel, entries.outer, entries.inner, entries.present)))


def macs(maps: PatchMap, layer: nn.Module, use: Use, samples: int) -> Prices:
    """Return the costs of a layer in multiply-accumulates for each sample, over all of its calls.

    Args:
        maps: the plain layer.
        layer: the layer of the network, which may be factorised already.
        use: the calls of the layer.
        samples: number of samples in these calls.
    """
    meta = copy.deepcopy(maps.layer).to("meta")
    chain: Any = factorised(PatchMap.of(meta), _unit_factors(maps))
    counts = [0] * len(chain.cores)
    for input, output in zip(use.inputs, use.outputs, strict=True):
        counts = [a + b for a, b in zip(counts, _core_macs(chain, maps, input, output), strict=True)]
    if maps.taps > 1:
        outer, kernel, inner = counts
    else:
        (outer, kernel), inner = counts, 0
        kernel //= maps.inputs  # the inner rank of this factor is q
    present = layer_macs(maps, layer, use, samples)
    return Prices(kernel / samples, outer / samples, inner / samples, present)


def layer_macs(maps: PatchMap, layer: nn.Module, use: Use, samples: int) -> float:
    """Return the multiply-accumulates of any layer for each sample, over the calls in `use`.

    Args:
        maps: the plain layer.
        layer: the layer, which takes the calls of the plain layer.
        use: these calls.
        samples: number of samples in them.
    """
    on_meta, total = copy.deepcopy(layer).to("meta"), 0
    for input, output in zip(use.inputs, use.outputs, strict=True):
        with Recorder() as recorder:
            _run(on_meta, maps, input, output)
        total += recorder.count.macs
    return total / samples


def _unit_factors(maps: PatchMap) -> Factors:
    """Return factors of rank 1 in each group, without entries; a layer of one tap gets no inner factor."""
    g, p, q, taps = maps.groups, maps.outputs, maps.inputs, maps.taps
    sizes = {"dtype": maps.layer.weight.dtype, "device": "meta"}
    if taps == 1:
        return Factors(torch.empty(g, p, 1, **sizes), torch.empty(g, 1, q, 1, **sizes), None)
    return Factors(torch.empty(g, p, 1, **sizes), torch.empty(g, 1, 1, taps, **sizes), torch.empty(g, 1, q, **sizes))


def _core_macs(chain: Any, maps: PatchMap, input: tuple[int, ...], output: tuple[int, ...]) -> list[int]:
    """Return the multiply-accumulates of each core in one call."""
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
    """Run a layer once on tensors without entries."""
    x = torch.empty(input, dtype=maps.layer.weight.dtype, device="meta")
    with torch.no_grad():
        layer(*arguments(layer, x, output))


def arguments(layer: Any, x: Tensor, output: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the arguments with which a layer maps an input to an output of this shape.

    Only a transposed convolution may need more than the input. It gets an output size if the network must have passed
    one: its own output padding, which may exceed the stride if it is dilated, is not always such a size.

    >>> up = nn.ConvTranspose1d(2, 2, 3, stride=2)
    >>> [arguments(up, torch.zeros(1, 2, 4), (1, 2, length))[1:] for length in (9, 10)]
    [(), ([10],)]
    """
    if not getattr(layer, "transposed", False):
        return (x,)
    axes = len(layer.stride)
    settings = (layer.stride, layer.padding, layer.dilation, layer.kernel_size, layer.output_padding)
    own = [
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in zip(x.shape[-axes:], *settings, strict=True)
    ]
    wanted = list(output[-axes:])
    return (x,) if wanted == own else (x, wanted)


def amount(name: str, value: object, total: float) -> float:
    """Convert a budget, which may be a fraction, to a number of its units.

    Args:
        name: name of the budget: parameters, macs or bytes.
        value: a float up to 1 is a fraction of the whole network; an int is a number of units.
        total: cost of the whole network.

    Raises:
        TensorTrainError: the value is something else.

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
