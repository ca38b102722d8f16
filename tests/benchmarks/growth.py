"""Measure how the cost of tensor trains grows with order, rank and size, and compare it with the prediction.

For every subject one quantity at a time is raised, all else kept. The time and the predicted number of multiplications
(the library's own count where it has one) are each fitted by a power of it (least squares on logarithms). All points of
a curve are timed in turn, round by round; the numbers are medians, in processor time on one thread. What the exponents
differ by is how much better or worse larger operations run.

The largest point of each curve is profiled too: "floor" is the share of its time that
its convolutions and matrix products take when each is timed alone, MB the tensors at its worst moment.

Run: python -m tests.benchmarks.growth [--rounds 7] [--output out/growth]
"""

import argparse
import csv
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tensortrain.nn
from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainMatrix
from tensortrain.conv.fit.chain import step_cost
from tensortrain.conv.fit.spectral import SpectralChain
from tensortrain.figures import styled
from tensortrain.files import aside
from tensortrain.profiling.clock import Clock, alternate
from tensortrain.profiling.isolated import isolated
from tensortrain.profiling.machine import describe_machine, using_threads
from tensortrain.profiling.macs import Recorder
from tensortrain.profiling.memory import peak_bytes

Task = tuple[Callable[[], Any], float]  # what to run, and how many multiplications that is
CPU = torch.device("cpu")
LEAST = 2e-3  # seconds that a timing takes at least, by repeating what is timed


@dataclass
class Curve:
    """The cost of one subject as one quantity grows."""

    subject: str
    against: str
    values: Sequence[int]
    make: Callable[[int], Task]
    seconds: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    floor: float = math.nan  # of the largest value, as all that follows
    operators: int = 0
    bytes: int = 0

    def measure(self, rounds: int, clock: Clock) -> None:
        """Time all values in turn, and the products of the largest one in isolation."""
        runs: dict[Any, Callable[[], float]] = {}
        for value in self.values:
            run, multiplications = self.make(value)
            self.counts.append(multiplications)
            times = clock.repeats(run, LEAST)
            runs[value] = lambda run=run, times=times: clock.seconds(run, times)  # type: ignore[misc]
        with Recorder() as recorder:
            run()
        calls = recorder.count.calls
        times = alternate({**runs, **isolated(calls, CPU, clock)}, rounds)
        floors = [sum(number * one[call] for call, number in calls.items()) / one[self.values[-1]] for one in times]
        self.floor, self.operators = statistics.median(floors), recorder.count.operators
        self.bytes = peak_bytes(run, CPU)
        self.seconds = [statistics.median(one[value] for one in times) for value in self.values]

    @property
    def rates(self) -> list[float]:
        """10⁹ multiplications a second at each value."""
        return [count / seconds / 1e9 for count, seconds in zip(self.counts, self.seconds, strict=True)]


def exponent(values: Sequence[float], results: Sequence[float]) -> float:
    """The exponent of the power of `values` that fits `results` best, by least squares on logarithms."""
    return statistics.linear_regression([math.log(v) for v in values], [math.log(r) for r in results]).slope


def tt_evaluation(order: int = 6, rank: int = 48, size: int = 32, batch: int = 64) -> Task:
    """Evaluate a train on a batch of vectors, core by core."""
    train = TensorTrain.random((size,) * order, rank, seed=0)
    inputs = [random(batch, size) for _ in range(order)]
    return no_grad(lambda: train.evaluate(inputs)), batch * train.macs()


def tt_decomposition(order: int = 4, rank: int = 8, size: int = 24) -> Task:
    """Decompose a dense tensor of noise to given ranks by TT-SVD."""
    tensor = random(*(size,) * order)
    return no_grad(lambda: TensorTrain.decompose(tensor, ranks=rank)), tt_svd_count(tensor.shape, rank)


def tt_svd_count(shape: Sequence[int], cap: int) -> float:
    """Multiplications of TT-SVD: for each p × q unfolding, p ≤ q, `p² q` for its Gram matrix, `r p q` to project it."""
    shape, left, right, total = list(shape), 1, 1, 0.0
    while len(shape) > 1:
        ends = left * shape[0], shape[-1] * right
        short = min(ends)
        rest = left * math.prod(shape) * right // short
        rank = min(cap, short, rest)
        total += short**2 * rest + rank * short * rest
        if ends[0] <= ends[1]:
            left, shape = rank, shape[1:]
        else:
            right, shape = rank, shape[:-1]
    return total


def ctt_evaluation(order: int = 3, rank: int = 32, channels: int = 64, image: int = 32) -> Task:
    """Evaluate a chain of 3×3 cores on two images."""
    chain = random_chain(order, rank, channels)
    x = random(2, channels, image, image)
    return no_grad(lambda: chain.evaluate(x)), 2 * chain.macs(image)


def ctt_layer(order: int = 3, rank: int = 32, channels: int = 64, image: int = 32) -> Task:
    """Run the same chain as a layer, forward and backward to weights and input: three times the multiplications."""
    chain = random_chain(order, rank, channels)
    x = random(2, channels, image, image)
    layer = tensortrain.nn.ConvTT2d(chain, padding="same")
    return backward(layer, x), 3 * 2 * chain.macs(image)


def ctt_decomposition(order: int = 3, rank: int = 24, channels: int = 32) -> Task:
    """Take one step of the refinement of a chain: compute the error and its gradient."""
    sizes = [(3, 3)] * order
    side = 2 * order + 1
    weight = random(1, channels, channels, side, side).double()
    bounds = [channels, *[rank] * (order - 1), channels]
    cores = [random(1, bounds[l], bounds[l + 1], 3, 3).double() for l in range(order - 1)]
    chain = SpectralChain(weight, sizes, [1] * order, 0.0)
    return lambda: chain.evaluate(cores), step_cost(weight, sizes, [rank] * (order - 1))


def tt_layer(order: int = 3, rank: int = 16, size: int = 8, batch: int = 64) -> Task:
    """Run a linear layer whose weight is a TT-matrix, forward and backward to weights and input."""
    matrix = TensorTrainMatrix.random((size,) * order, (size,) * order, rank, seed=0)
    return backward(tensortrain.nn.TTLinear(matrix), random(batch, size**order)), 3 * batch * matrix.macs()


CURVES: list[tuple[str, Callable[..., Task], dict[str, Sequence[int]]]] = [
    (
        "TT evaluation",
        tt_evaluation,
        {"order": (4, 8, 16, 32), "rank": (32, 64, 128, 256), "size": (16, 32, 64, 128)},
    ),
    ("TT layer", tt_layer, {"order": (2, 3, 4), "rank": (8, 16, 32, 64), "size": (6, 8, 12, 16)}),
    ("TT decomposition", tt_decomposition, {"order": (3, 4, 5), "rank": (4, 8, 16), "size": (16, 24, 32, 48)}),
    (
        "CTT evaluation",
        ctt_evaluation,
        {"order": (2, 3, 4, 6, 8), "rank": (16, 32, 64, 128), "image": (16, 32, 64, 128)},
    ),
    ("CTT layer", ctt_layer, {"order": (2, 3, 4, 6, 8), "rank": (16, 32, 64, 128), "image": (16, 32, 64)}),
    (
        "CTT decomposition, a step",
        ctt_decomposition,
        {"order": (2, 3, 4, 5), "rank": (16, 32, 64), "channels": (16, 32, 64, 128)},
    ),
]


def all_curves() -> Iterator[Curve]:
    """A curve for each subject and each quantity that it depends on."""
    for subject, make, axes in CURVES:
        for against, values in axes.items():
            yield Curve(subject, against, values, lambda value, make=make, against=against: make(**{against: value}))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def random_chain(order: int, rank: int, channels: int) -> ConvTensorTrain:
    bounds = [channels, *[rank] * (order - 1), channels]
    return ConvTensorTrain([random(bounds[l], bounds[l + 1], 3, 3) / 3 / bounds[l + 1] ** 0.5 for l in range(order)])


def no_grad(run: Callable[[], Any]) -> Callable[[], Any]:
    return torch.inference_mode()(run)


def backward(layer: torch.nn.Module, x: Tensor) -> Callable[[], Any]:
    x.requires_grad_()
    inputs = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x).sum(), inputs)


def write(curves: Sequence[Curve], machine: str, folder: Path) -> None:
    """Write all points and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with aside(folder / "growth.csv") as temporary, temporary.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["subject", "against", "value", "multiplications", "seconds", "machine"])
        for curve in curves:
            for value, count, seconds in zip(curve.values, curve.counts, curve.seconds, strict=True):
                lines.writerow([curve.subject, curve.against, value, f"{count:.0f}", f"{seconds:.4g}", machine])
    with aside(folder / "growth.png") as temporary:
        draw(curves, machine).savefig(temporary, format="png", dpi=110)


@styled
def draw(curves: Sequence[Curve], machine: str) -> Any:
    """Draw a panel for each curve: the measured points, and the count scaled to pass through the last of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 2.6 * math.ceil(len(curves) / 3)), layout="constrained")
    figure.suptitle(machine, fontsize=8)
    for at, curve in enumerate(curves):
        axes = figure.add_subplot(math.ceil(len(curves) / 3), 3, at + 1)
        scale = curve.seconds[-1] / curve.counts[-1]
        predicted, measured = exponent(curve.values, curve.counts), exponent(curve.values, curve.seconds)
        axes.loglog(curve.values, [scale * n for n in curve.counts], color="#cc3311", label=f"count, {predicted:.2f}")
        axes.loglog(curve.values, curve.seconds, "o", color="#4477aa", label=f"seconds, {measured:.2f}")
        axes.set_title(f"{curve.subject} against {curve.against}", fontsize=9)
        axes.set_xticks(curve.values, [str(value) for value in curve.values])
        axes.minorticks_off()
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    return figure


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("out/growth"))
    arguments = parser.parse_args()
    measured = list(all_curves())
    with using_threads(1) as threads:
        clock = Clock(CPU, threads)
        machine = ", ".join(f"{name} {value}" for name, value in describe_machine(CPU, threads, clock).items())
        print(machine)
        print("| subject | against | from–to | predicted | measured | ms | 10⁹/s | floor | MB | operators |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for curve in measured:
            curve.measure(arguments.rounds, clock)
            print(
                f"| {curve.subject} | {curve.against} | {curve.values[0]}–{curve.values[-1]} |"
                f" {exponent(curve.values, curve.counts):.2f} | {exponent(curve.values, curve.seconds):.2f} |"
                f" {curve.seconds[0] * 1e3:.3g}–{curve.seconds[-1] * 1e3:.3g} |"
                f" {curve.rates[0]:.3g}–{curve.rates[-1]:.3g} |"
                f" {curve.floor:.0%} | {curve.bytes / 1e6:.3g} | {curve.operators:,} |",
                flush=True,
            )
    write(measured, machine, arguments.output)
    print(f"{arguments.output}/growth.csv, {arguments.output}/growth.png")


if __name__ == "__main__":
    main()
