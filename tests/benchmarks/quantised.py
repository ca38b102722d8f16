"""Compression and int8 together: size of the file, time beside the original network, and change of the outputs.

    python -m tests.benchmarks.quantised [--output docs/results]

The network has three convolutions with 64 channels and random weights. "tucker2" decomposes two of them to 30 % of
their parameters. The times of the four networks are measured in turn, in one process.
"""

import argparse
import copy
import io
import time
import warnings
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import tensortrain as tt
from tests.benchmarks.tables import Table

ROUNDS = 30


def main() -> None:
    """Make the four networks and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for quantised.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", module="torch.ao")
    convs = [nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)]
    original = nn.Sequential(*(module for conv in convs for module in (conv, nn.ReLU()))).eval()
    small = tt.nn.decompose(copy.deepcopy(original), "tucker2", budget=0.3, include=["2", "4"]).eval()
    images = torch.rand(64, 3, 16, 16)
    networks: dict[str, nn.Module] = {"original": original, "decomposed": small}
    networks |= {f"{name}, int8": quantise(network, images) for name, network in [*networks.items()]}
    times = in_turn(networks, images)
    table = Table("network", "file, kB", "time of the original network", "change by int8")
    with torch.inference_mode():
        for name, network in networks.items():
            base = networks[name.removesuffix(", int8")](images)
            change = f"{float((network(images) - base).norm() / base.norm()):.1%}" if name.endswith("int8") else ""
            table.add(name, f"{size(network) / 1000:.0f}", f"{times[name]:.2f}", change)
    if arguments.output:
        values = f"size of a torch file; median of {ROUNDS} ratios, 64 images of 16×16; relative change of the outputs"
        table.write(arguments.output / "quantised.csv", "python -m tests.benchmarks.quantised", values)


def quantise(network: nn.Module, images: Tensor) -> nn.Module:
    """The network in int8, calibrated on these images."""
    prepared = prepare_fx(copy.deepcopy(network), get_default_qconfig_mapping("x86"), (images[:1],))
    with torch.no_grad():
        prepared(images)
        quantised: nn.Module = convert_fx(prepared)
    return quantised


def size(network: nn.Module) -> int:
    """The bytes of a file with the network's weights."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return len(file.getvalue())


@torch.inference_mode()
def in_turn(networks: dict[str, nn.Module], images: Tensor) -> dict[str, float]:
    """The median time of each network, as a share of the first one's time in the same round."""
    ratios: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        seconds = {}
        for name, network in networks.items():
            began = time.perf_counter()
            network(images)
            seconds[name] = time.perf_counter() - began
        for name, value in seconds.items():
            ratios[name].append(value / next(iter(seconds.values())))
    return {name: median(values) for name, values in ratios.items()}


if __name__ == "__main__":
    main()
