"""Fits of long and of large kernels: error, processor seconds on one thread, and peak memory of a process of their own.

    python -m tests.benchmarks.long_kernels [--output docs/results] [--only 512]

All fits keep a fifth of the parameters. The kernels of one axis are random walks along it, as slowly varying filters
are. The kernel of two axes is a sum of random and of smooth filters. `effort` multiplies the work of a fit.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from tensortrain import ConvTensorTrain
from tests.benchmarks.tables import Table
from tests.support.oracles import gaussian, smooth

SHAPES = {"128←1024, 64 taps": (128, 1024, 64), "16←16, 512 taps": (16, 16, 512)}
LARGE = "512←512, 3×3"
FORMATS = ("depthwise", "block_term", "tucker2", "cttd", "auto")
FITS = [(kernel, name, 1.0) for kernel in SHAPES for name in FORMATS]
FITS += [(LARGE, "depthwise", effort) for effort in (1.0, 5.0)]


def weight_of(kernel: str) -> Tensor:
    """The kernel of a name, in float32."""
    if kernel == LARGE:
        return (gaussian(512, 3, 0) + smooth(512, 3, 1)).float()
    steps = torch.randn(SHAPES[kernel], generator=torch.Generator().manual_seed(0))
    return steps.cumsum(-1)


def fit(kernel: str, name: str, effort: float) -> tuple[float, float, float, str]:
    """Error, processor seconds, peak memory in GB, and ranks of one fit."""
    torch.set_num_threads(1)
    weight = weight_of(kernel)
    start = time.process_time()
    chain = ConvTensorTrain.decompose(weight, name, budget=0.2, effort=effort, progress=False)
    seconds = time.process_time() - start
    assert chain.error is not None
    ranks = ", ".join(str(rank) for rank in dict.fromkeys(chain.ranks[1:-1]))
    return chain.error, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, ranks


def main() -> None:
    """Measure one fit after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for long-kernels.csv")
    parser.add_argument("--only", default="", help="a part of the names of the kernels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("kernel", "format", "effort", "ranks", "error", "s", "GB")
    for kernel, name, effort in FITS:
        if arguments.only not in kernel:
            continue
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            error, seconds, memory, ranks = process.submit(fit, kernel, name, effort).result()
        table.add(kernel, name, f"{effort:g}", ranks, f"{error:.4f}", f"{seconds:.1f}", f"{memory:.1f}")
    if arguments.output:
        command = "python -m tests.benchmarks.long_kernels" + (f" --only {arguments.only}" if arguments.only else "")
        values = "relative Frobenius errors at a fifth of the parameters, processor seconds, peak memory of the process"
        table.write(arguments.output / "long-kernels.csv", command, values, keys=3)


if __name__ == "__main__":
    main()
