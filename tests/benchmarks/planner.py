"""Check that the planner picks the faster form, on a grid of chains and image sizes that are timed again after it.

    python -m tests.benchmarks.planner [--threads 2]

A cell is good if the chosen form's median time is within 1.10 of the better one's. Plan and check are separate
measurements, so that noise of the machine counts against the planner.
"""

import argparse
import itertools
import platform
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

import tensortrain as tt
from tensortrain.conv import formats
from tensortrain.conv.functional import conv_sum, conv_tt

FORMATS = (formats.cttd, formats.tucker2, formats.separable, formats.cp, formats.depthwise)
CHANNELS = ((16, 16), (64, 64), (128, 32))
SIZES = (8, 32, 64)
KERNELS = (3, 5)
BUDGETS = (0.1, 0.4)
BATCHES = (1, 8)
TOLERANCE, SHARE = 1.10, 0.95


def random_chain(form: formats.Format, outputs: int, inputs: int, budget: float) -> tt.ConvTensorTrain | None:
    """A chain of this format with about `budget` of the dense parameters; the values do not matter for time."""
    size = form.kernel_size
    best = None
    for count in range(1, 4 * max(outputs, inputs)):
        interior = [0] * (form.order - 1)
        for tied, fixed in form.bonds(outputs, inputs):
            for bond, factor in tied.items():
                interior[bond - 1] = factor * (fixed or count)
        ranks = (outputs, *interior, inputs)
        if form.n_parameters(ranks) > budget * outputs * inputs * size[0] * size[1]:
            break
        best = ranks
    if best is None:
        return None
    groups = form.groups(best)
    shapes = [(best[l], best[l + 1] // g, *k) for l, (g, k) in enumerate(zip(groups, form.kernel_sizes, strict=True))]
    return tt.ConvTensorTrain([torch.randn(shape) for shape in shapes], groups=groups)


def check(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The median seconds of two functions, timed in alternation."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in (first, second):
        run()
    while len(times[0]) < 11 or (sum(times[0]) + sum(times[1]) < 0.05 and len(times[0]) < 300):
        for run, into in zip((first, second), times, strict=True):
            start = time.perf_counter()
            run()
            into.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def main() -> None:
    """Run the grid and print the share of good cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    good, cells, regret = 0, 0, []
    for make, (outputs, inputs), kernel, budget in itertools.product(FORMATS, CHANNELS, KERNELS, BUDGETS):
        form = make((kernel, kernel))
        chain = random_chain(form, outputs, inputs, budget)
        if chain is None:
            continue
        weight = chain.reconstruct()
        for size, batch in itertools.product(SIZES, BATCHES):
            plan = chain.plan(size, batch)
            x = torch.randn(batch, inputs, size, size)
            maps = [None] * (chain.order - 1) + [x]
            with torch.inference_mode():
                sequential, dense = check(partial(conv_tt, chain.cores, maps), partial(conv_sum, [weight], [x]))
            planned = sequential if plan.choice == "sequential" else dense
            ratio = planned / min(sequential, dense)
            cells, good = cells + 1, good + (ratio <= TOLERANCE)
            regret.append((ratio, form.name, (outputs, inputs), kernel, budget, size, batch, plan.choice))
    print(
        f"{good} of {cells} cells within {TOLERANCE:.2f} of the better form: {good / cells:.1%} (to reach: {SHARE:.0%})"
    )
    print("worst cells (time over better form's):")
    for ratio, name, (outputs, inputs), kernel, budget, size, batch, choice in sorted(regret, reverse=True)[:5]:
        where = f"{name} {inputs}→{outputs} {kernel}×{kernel}, budget {budget}, size {size}, batch {batch}"
        print(f"  {ratio:.2f}  {where}: {choice}")


if __name__ == "__main__":
    main()
