"""Certificates of random kernels with noise: width of the error's interval, lower bound, size, seconds of the checker.

    python -m tests.benchmarks.certificates [--output docs/results] [--only 64]

A kernel is a random chain of the sizes and ranks of its row, plus a hundredth of noise. The checker runs as a process
of its own, as its users run it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tensortrain import ConvTensorTrain
from tests.benchmarks.tables import Table

CHECKER = Path(__file__).parents[2] / "tensortrain_check.py"
ROWS: list[tuple[int, tuple[tuple[int, int], ...], int]] = [
    (64, ((3, 1), (1, 3)), 32),
    (64, ((2, 2), (2, 2)), 16),
    (128, ((3, 1), (1, 3)), 32),
    (256, ((3, 1), (1, 3)), 64),
    (256, ((1, 1), (3, 3), (1, 1)), 64),
    (512, ((1, 1), (3, 3), (1, 1)), 128),
    (512, ((2, 2), (2, 2)), 128),
]


def main() -> None:
    """Certify and check one kernel after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for certificates.csv")
    parser.add_argument("--only", default="", help="a part of the names of the kernels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("kernel", "cores", "ranks", "width of (A)", "lower bound (B)", "files, MB", "checker, s")
    for channels, sizes, rank in ROWS:
        name = f"{channels}×{channels}×3×3"
        if arguments.only in name:
            table.add(name, *measured(channels, sizes, rank))
    if arguments.output:
        command = "python -m tests.benchmarks.certificates"
        values = "width of the interval of the relative error; processor seconds of the checker, one process"
        table.write(arguments.output / "certificates.csv", command, values)


def measured(channels: int, sizes: tuple[tuple[int, int], ...], rank: int) -> list[str]:
    """The cells of a row after the first."""
    ranks = [channels, *[rank] * (len(sizes) - 1), channels]
    shapes = [(ranks[i], ranks[i + 1], *size) for i, size in enumerate(sizes)]
    draws = torch.Generator().manual_seed(0)
    kernel = ConvTensorTrain([torch.randn(shape, generator=draws) for shape in shapes]).reconstruct()
    noise = torch.randn(kernel.shape, generator=draws)
    weight = kernel + 0.01 * kernel.norm() / noise.norm() * noise
    chain = ConvTensorTrain.decompose(weight, sizes, ranks=rank, effort=0.1, progress=False)
    certificate = chain.certificate(weight)
    low, high = certificate.error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.json"
        certificate.save(path)
        size = sum(file.stat().st_size for file in path.parent.iterdir()) / 1e6
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, CHECKER, path], check=True, capture_output=True)
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    cores = " | ".join(f"{height}×{width}" for height, width in sizes)
    bound = "not certified" if certificate.lower_bound is None else f"certified, {certificate.lower_bound:.6f}"
    return [cores, f"{rank}", f"{high - low:.1e}", bound, f"{size:.1f}", f"{seconds:.1f}"]


if __name__ == "__main__":
    main()
