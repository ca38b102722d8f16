"""Decompose trained kernels at equal parameters, in every named format and by the automatic choice.

    python -m tests.benchmarks.real_kernels DATA_ROOT [--threads 2]

DATA_ROOT holds `cnn/` with a LeNet for MNIST and a CIFAR-10 ResNet-20. Prints relative Frobenius errors, and
processor seconds for the automatic choice.
"""

import argparse
import time
from pathlib import Path

import torch

import tensortrain as tt
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint

NAMES = ("cttd", "tucker2", "separable", "tt4", "cp", "depthwise", "block_term")
KERNELS = {
    "wangxinya_lenet_mnist.pth": (((20, 10, 5, 5), (0.4,)),),
    "resnet20-12fca82f.th": (((64, 64, 3, 3), (0.1, 0.19, 0.39)),),
}


def error(weight: torch.Tensor, name: str, budget: float) -> str:
    """The error of one format at a budget, or a dash if it has no chain that small."""
    try:
        return f"{tt.ConvTensorTrain.decompose(weight, name, budget=budget).error:.3f}"
    except tt.TensorTrainError:
        return "–"


def main() -> None:
    """Print one row for each kernel and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    print("| kernel | params |", " | ".join(NAMES), "| auto | chosen | s |")
    print("|---|---|" + "---|" * (len(NAMES) + 3))
    for file, wanted in KERNELS.items():
        tensors = read_checkpoint(arguments.root / "cnn" / file).tensors
        for shape, budgets in wanted:
            for name, weight in tensors.items():
                if tuple(weight.shape) != shape:
                    continue
                for budget in budgets:
                    errors = [error(weight, name, budget) for name in NAMES]
                    start = time.process_time()
                    chain = tt.ConvTensorTrain.decompose(weight, budget=budget)
                    seconds = time.process_time() - start
                    cores = (
                        str(chain)
                        .splitlines()[1]
                        .removeprefix("  cores")
                        .partition("  (")[0]
                        .strip()
                        .replace("|", "\\|")
                    )
                    cells = [name.removesuffix(".weight"), f"{budget:.0%}", *errors, f"**{chain.error:.3f}**"]
                    print("|", " | ".join(cells), f"| {cores} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
