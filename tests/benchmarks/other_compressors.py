"""Other ways to compress a network without training, for comparisons at equal parameters.

tensorly-torch and Torch-Pruning are no dependencies of this project: `pip install tensorly-torch torch-pruning` in an
environment of its own. Rows of packages that are not installed say so.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.network import analyse
from tensortrain.compression.analysis.statistics import collect
from tensortrain.compression.budget.plan import Constraints, offer, pick
from tensortrain.compression.layers.assembly import assembled
from tensortrain.compression.layers.candidates import Factors, approximate
from tensortrain.compression.layers.modules import factorised
from tensortrain.compression.layers.unfolding import PatchMap

STEPS = 8  # halvings of the fraction that brings a method to the wanted number of parameters

Method = Callable[[nn.Module, Tensor, float], nn.Module]


def size(net: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in net.parameters())


def fraction_for(build: Callable[[float], nn.Module], most: float) -> float:
    """The largest fraction at which a method stays within a number of parameters.

    Raises:
        ValueError: it cannot get as small as that.
    """
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        fraction = (low + high) / 2
        if size(build(fraction)) <= most:
            low = fraction
        else:
            high = fraction
    if not low:
        raise ValueError("it cannot get as small as that")
    return low


def by_fraction(build: Callable[[nn.Module, Tensor, float], nn.Module]) -> Method:
    """A method that takes a fraction of its own, at a fraction of all parameters."""

    def method(net: nn.Module, images: Tensor, budget: float) -> nn.Module:
        return build(net, images, fraction_for(lambda f: build(net, images, f), budget * size(net)))

    return method


def tensorly_torch(factorization: str) -> Method:
    """tensorly-torch's convs, every one at the same fraction of its parameters."""

    def build(net: nn.Module, fraction: float, fitted: bool) -> nn.Module:
        import tltorch

        small = copy.deepcopy(net)
        for name, layer in net.named_modules():
            if isinstance(layer, nn.Conv2d) and min(layer.weight.shape[:2]) > 4:
                torch.manual_seed(0)
                new: Any = tltorch.FactorizedConv.from_conv(
                    layer, rank=fraction, factorization=factorization, implementation="reconstructed",
                    decompose_weights=fitted,
                )  # fmt: skip
                small.set_submodule(name, new)
        return small.eval()

    fit_to_count = factorization == "tt"  # whose ranks are cut to what the kernel allows only when it is fitted

    def method(net: nn.Module, images: Tensor, budget: float) -> nn.Module:
        return build(net, fraction_for(lambda f: build(net, f, fit_to_count), budget * size(net)), True)

    return method


def torch_pruning(net: nn.Module, images: Tensor, fraction: float) -> nn.Module:
    """Torch-Pruning's global magnitude pruning of channels."""
    import torch_pruning as tp

    small = copy.deepcopy(net)
    last = [m for m in small.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.MagnitudePruner(
        small, images[:1], tp.importance.MagnitudeImportance(p=2), global_pruning=True, pruning_ratio=1 - fraction,
        ignored_layers=[last],
    )  # fmt: skip
    pruner.step()
    return small


def whitened_svd(net: nn.Module, images: Tensor, fraction: float) -> nn.Module:
    """Each layer's weight truncated in the metric of its inputs, at most the same fraction of each layer."""
    analysis = analyse(
        net, images, include=(), exclude=(), samples=len(images), output=None, logits=None, seed=0,
        tick=lambda stage, layer: None,
    )  # fmt: skip
    measured = analysis.measured
    assert measured is not None
    choice = offer(analysis, "parameters", Constraints(1, {}, {"*": fraction}))
    ranks = pick(analysis, choice, choice.total).ranks
    moments = collect(analysis.reference, analysis.maps, measured.trial.uses, measured.calibration, lambda _: None)
    layers = {}
    for name, own in analysis.maps.items():
        if form := ranks[name]:
            outputs, inputs = moments.moments[name].shrunk(own.matrix())
            layers[name] = factorised(own, approximate(own.matrix(), outputs, inputs, own.taps, form))
    return assembled(analysis.model, layers).eval()


def tucker2_vbmf(net: nn.Module, images: Tensor, fraction: float) -> nn.Module:
    """Tucker-2 of each kernel at the ranks that variational Bayesian matrix factorisation estimates, times a factor."""
    layers = {}
    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d) or min(layer.weight.shape[:2]) < 4 or layer.kernel_size == (1, 1):
            continue
        own = PatchMap.of(layer)
        weight = layer.weight.detach().double()
        outer, inner = (weight.movedim(axis, 0).flatten(1) for axis in (0, 1))
        ranks = [max(1, round(2 * fraction * vbmf_rank(matrix))) for matrix in (outer, inner)]
        s, r = min(ranks[0], own.outputs - 1), min(ranks[1], own.inputs - 1)
        u, v = torch.linalg.svd(outer)[0][:, :s], torch.linalg.svd(inner)[0][:, :r]
        core = torch.einsum("oikl,os,ir->srkl", weight, u, v).flatten(2)
        layers[name] = factorised(own, Factors(u[None], core[None], v.mT[None]))
    return assembled(net, layers).eval()


def vbmf_rank(matrix: Tensor) -> int:
    """The rank that empirical variational Bayes keeps, its noise estimated too (Nakajima et al., JMLR 2013).

    >>> noise = torch.randn(40, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> u, v = torch.linalg.qr(noise[:, :3])[0], torch.linalg.qr(noise.mT[:, :3])[0]
    >>> vbmf_rank(40 * u @ v.mT + 0.1 * noise)
    3
    """
    rows, columns = sorted(matrix.shape)
    alpha = rows / columns
    tau = 2.5129 * alpha**0.5
    least = (1 + tau) * (1 + alpha / tau)
    squares = torch.linalg.svdvals(matrix).square()

    def objective(variance: Tensor) -> float:
        x = squares / (columns * variance)
        kept = x[x > least]
        root = ((kept - 1 - alpha).square() - 4 * alpha).clamp(min=0).sqrt()
        t = (kept - 1 - alpha + root) / 2
        free = (kept - t + ((t + 1) / kept).log() + alpha * (t / alpha + 1).log()).sum()
        rest = x[x <= least].clamp(min=1e-300)
        return float(free + (rest - rest.log()).sum())

    total = squares.sum() / (rows * columns)
    top = float(torch.log(total))
    grid = torch.exp(torch.linspace(top - 12, top, 400, dtype=squares.dtype))
    best = min(grid, key=objective)
    return max(1, int((squares > columns * best * least).sum()))


OTHERS: dict[str, Method] = {
    "uniform input-whitened SVD": by_fraction(whitened_svd),
    "Tucker-2, VBMF ranks scaled": by_fraction(tucker2_vbmf),
    "tensorly-torch CP": tensorly_torch("cp"),
    "tensorly-torch Tucker": tensorly_torch("tucker"),
    "tensorly-torch TT": tensorly_torch("tt"),
    "Torch-Pruning, global magnitude": by_fraction(torch_pruning),
}
