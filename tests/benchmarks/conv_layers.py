"""Compare conv layers, forward and backward: this library, a handwritten chain, tensorly-torch and the dense conv.

Every row is one shape, batch and format at equal parameters. All contestants run in every round, in an order
drawn anew, so that neither a drift of the machine nor what the one before left in the caches favours any.
The numbers are medians over the rounds, as ratios to this library: above 1 means slower than it.

Run: python -m tests.benchmarks.conv_layers [--rounds 30] [--threads 2]
"""

import argparse
import importlib.metadata
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

import tensortrain.nn
from tensortrain import ConvTensorTrain
from tensortrain.conv import formats

SHAPES = [(64, 64, 3, 56), (64, 64, 5, 32), (256, 256, 3, 14)]  # out, in, kernel, image
FORMATS = {
    # name here: (format, name in tensorly-torch)
    "square": (formats.cttd, None),
    "tucker2": (formats.tucker2, "tucker"),
    "cp": (formats.cp, "cp"),
    "tt4": (formats.tt4, "tt"),
}
BUDGET = 0.25


def random_chain(form: formats.Format, out: int, into: int) -> ConvTensorTrain:
    """A chain with equal interior ranks, the largest within the budget."""
    dense = out * into * form.kernel_size[0] * form.kernel_size[1]
    rank = max(r for r in range(1, 4 * max(out, into)) if parameters(form, out, into, r) <= BUDGET * dense)
    ranks = (out, *[rank] * (form.order - 1), into)
    groups = form.groups(ranks)
    generator = torch.Generator().manual_seed(0)
    cores = []
    for l, (size, count) in enumerate(zip(form.kernel_sizes, groups, strict=True)):
        core = torch.randn(ranks[l], ranks[l + 1] // count, *size, generator=generator)
        cores.append(core / core[0].numel() ** 0.5)
    return ConvTensorTrain(cores, groups=groups)


def parameters(form: formats.Format, out: int, into: int, rank: int) -> int:
    return form.n_parameters((out, *[rank] * (form.order - 1), into))


def by_hand(layer: tensortrain.nn.ConvTT2d) -> nn.Module:
    """The same convs in an `nn.Sequential`, as a user would write them without this library."""
    convs = []
    for core in reversed(layer.cores):
        conv = nn.Conv2d(
            core.in_channels, core.out_channels, core.kernel_size, padding=core.padding, groups=core.groups,
            bias=core.bias is not None,
        )  # fmt: skip
        conv.load_state_dict(core.state_dict())
        convs.append(conv)
    return nn.Sequential(*convs)


def tensorly_torch(factorization: str | None, conv: nn.Conv2d, kept: int) -> dict[str, nn.Module]:
    """The layers of tensorly-torch with the same format and number of parameters, if it is installed and has them."""
    if factorization is None:
        return {}
    try:
        import tltorch
    except ImportError:
        return {}
    layers = {}
    for implementation in ("factorized", "reconstructed"):
        torch.manual_seed(0)
        layers[f"tltorch {implementation}"] = tltorch.FactorizedConv.from_conv(
            conv, rank=kept / conv.weight.numel(), decompose_weights=False, factorization=factorization,
            implementation=implementation,
        )  # fmt: skip
    return layers


def forward(module: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> None:
        with torch.inference_mode():
            module(x)

    return run


def backward(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """A forward and backward pass, with gradients of the parameters and the input."""
    x = x.clone().requires_grad_()
    inputs = [x, *module.parameters()]
    return lambda: torch.autograd.grad(module(x).sum(), inputs, allow_unused=True)


def race(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each contestant."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    shuffle = random.Random(0).shuffle
    for round_number in range(rounds + 2):
        shuffle(order)
        for name in order:
            start = time.perf_counter()
            runs[name]()
            if round_number >= 2:  # the first two warm up
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} absent"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{machine()}, {arguments.threads} threads; {', '.join(map(version, ('torch', 'tensorly-torch')))}")
    others = ["by hand", "tltorch factorized", "tltorch reconstructed", "dense"]
    print(f"| kernel, image | format | batch | pass | this, ms | {' | '.join(others)} |")
    print("|---" * (5 + len(others)) + "|")
    for out, into, kernel, image in SHAPES:
        conv = nn.Conv2d(into, out, kernel, padding=kernel // 2)
        for name, (make, factorization) in FORMATS.items():
            chain = random_chain(make((kernel, kernel)), out, into)
            layer = tensortrain.nn.ConvTT2d.like(conv, chain)
            modules: dict[str, nn.Module] = {"this": layer, "by hand": by_hand(layer)}
            modules |= tensorly_torch(factorization, conv, chain.n_parameters)
            modules["dense"] = conv
            for batch in (1, 8):
                x = torch.randn(batch, into, image, image, generator=torch.Generator().manual_seed(1))
                for label, measure in (("forward", forward), ("forward + backward", backward)):
                    seconds = race({n: measure(m, x) for n, m in modules.items()}, arguments.rounds)
                    ratios = [f"{seconds[n] / seconds['this']:.2f}" if n in seconds else "–" for n in others]
                    print(
                        f"| {into}→{out} {kernel}×{kernel}, {image}² | {name} | {batch} | {label} |"
                        f" {seconds['this'] * 1e3:.2f} | {' | '.join(ratios)} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
