"""Rows about the library itself: decompositions on the device, and factorised layers compared with a dense one."""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.conv import formats
from zoo.benchmark.slot.bench import TIMES, Bench, Values
from zoo.errors import ZooError
from zoo.training.devices import keep_channels_last
from zoo.training.graph import WARM_UP, Graphed

KERNEL = (3, 3)
BUDGET = 0.25  # fraction of the dense kernel's parameters
# formats whose fit does not need TensorLy at this size; cttd gets `ranks`, so that its sweep needs a dense SVD
DECOMPOSED = ("cttd", "separable", "depthwise")
FACTORISED = {
    "cttd": formats.cttd,
    "tucker2": formats.tucker2,
    "tt4": formats.tt4,
    "cp": formats.cp,
    "depthwise": formats.depthwise,
}


def decomposition(name: str) -> Callable[[Bench], Values]:
    """A row for the decomposition of a random kernel, with its relative error."""

    def run(bench: Bench) -> Values:
        channels = bench.sizes.channels
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(channels, channels, *KERNEL, generator=generator).to(bench.device)
        limit = {"ranks": bench.sizes.ranks} if name == "cttd" else {"budget": BUDGET}
        chains: list[tt.ConvTensorTrain] = []
        seconds = bench.median(lambda: chains.append(tt.ConvTensorTrain.decompose(weight, name, **limit)))
        return {"seconds": seconds, "error": chains[-1].error, "note": f"ranks {chains[-1].ranks}"}

    return run


def dense_layer(bench: Bench) -> Values:
    """A row for one dense convolution in bf16, forward and backward."""
    return {"seconds": _seconds(_dense(bench), bench)}


def factorised_layer(name: str) -> Callable[[Bench], Values]:
    """A row for a factorised layer with a quarter of the parameters. `times_plain` compares it with the dense layer."""

    def run(bench: Bench) -> Values:
        dense = _dense(bench)
        chain = _random_chain(FACTORISED[name](KERNEL), bench.sizes.channels)
        seconds = _seconds(tt.nn.ConvTT2d.like(dense, chain), bench)
        whole = bench.results.get("layer dense", {}).get("seconds")
        values: Values = {"seconds": seconds, "note": f"ranks {chain.ranks}"}
        return values | ({"times_plain": whole / seconds} if whole else {})

    return run


def _dense(bench: Bench) -> nn.Conv2d:
    channels = bench.sizes.channels
    return nn.Conv2d(channels, channels, KERNEL, padding="same").to(bench.device)


def _random_chain(form: formats.Format, channels: int) -> tt.ConvTensorTrain:
    """A random chain with equal ranks, the largest within the budget.

    Raises:
        ZooError: if no rank is small enough.
    """
    dense = channels**2 * KERNEL[0] * KERNEL[1]

    def bounds(rank: int) -> tuple[int, ...]:
        return (channels, *[rank] * (form.order - 1), channels)

    fitting = [rank for rank in range(1, 4 * channels) if form.n_parameters(bounds(rank)) <= BUDGET * dense]
    if not fitting:
        raise ZooError(f"no chain of {form} has so few parameters")
    ranks = bounds(fitting[-1])
    groups = form.groups(ranks)
    generator = torch.Generator().manual_seed(0)
    cores = []
    for l, (size, count) in enumerate(zip(form.kernel_sizes, groups, strict=True)):
        core = torch.randn(ranks[l], ranks[l + 1] // count, *size, generator=generator)
        cores.append(core / core[0].numel() ** 0.5)
    return tt.ConvTensorTrain(cores, groups=groups)


def _seconds(layer: nn.Module, bench: Bench) -> float:
    """The seconds of a forward and a backward pass in bf16, with channels last."""
    batch, height, width = bench.sizes.images
    keep_channels_last(layer)
    x = torch.randn(batch, bench.sizes.channels, height, width, device=bench.device)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    parameters = list(layer.parameters())

    def step(x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(bench.device.type, torch.bfloat16):
            y = layer(x)
        return torch.autograd.grad(y.float().sum(), [x, *parameters])

    # kernels this short would wait for the CPU if they were launched one by one
    run = Graphed(step) if bench.device.type == "cuda" else step
    for _ in range(WARM_UP + 1):
        run(x)
    times = bench.clock.repeats(lambda: run(x), 0.02)
    return statistics.median(bench.clock.seconds(lambda: run(x), times) for _ in range(TIMES))
