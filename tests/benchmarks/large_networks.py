"""Networks of torchvision and timm, and some of other kinds, with random weights: what share of them is reached."""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tensortrain as tt
import zoo._torchvision  # noqa: F401 - mends a torchvision without its operators
from tensortrain.compression.analysis.timing import clock_for, race
from tests.benchmarks.tables import Table


class UNet(nn.Module):
    """Two levels with skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(64, 64, 3, padding=1)
        self.up, self.merge = nn.ConvTranspose2d(64, 32, 2, stride=2), nn.Conv2d(64, 32, 3, padding=1)
        self.out = nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down1(x))
        middle = F.relu(self.middle(F.relu(self.down2(first))))
        return self.out(F.relu(self.merge(torch.cat([first, self.up(middle)], 1))))


def audio_net() -> nn.Module:
    """A classifier of sound."""
    layers: list[nn.Module] = []
    for a, b in ((1, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv1d(a, b, 9, stride=4, padding=4), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 35))


def torchvision(name: str) -> nn.Module:
    """A network of torchvision with random weights."""
    from torchvision import models

    return models.get_model(name, weights=None)


def efficientnet() -> nn.Module:
    """timm's EfficientNet-B0 with random weights."""
    import timm

    net: nn.Module = timm.create_model("efficientnet_b0", pretrained=False)
    return net


# how it is built, shape of a sample, samples
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "ResNet-18": (lambda: torchvision("resnet18"), (3, 128, 128), 32),
    "ResNet-50": (lambda: torchvision("resnet50"), (3, 224, 224), 32),
    "MobileNet-V3": (lambda: torchvision("mobilenet_v3_large"), (3, 224, 224), 16),
    "ConvNeXt-T": (lambda: torchvision("convnext_tiny"), (3, 224, 224), 8),
    "ViT-B": (lambda: torchvision("vit_b_16"), (3, 224, 224), 8),
    "Swin-T": (lambda: torchvision("swin_t"), (3, 224, 224), 8),
    "R(2+1)D": (lambda: torchvision("r2plus1d_18"), (3, 8, 64, 64), 8),
    "U-Net": (UNet, (3, 64, 64), 64),
    "audio, 1-D": (audio_net, (1, 4096), 64),
    "EfficientNet-B0 (timm)": (efficientnet, (3, 224, 224), 16),
}


GOALS = {"ResNet-50": (180.0, 4.0)}  # seconds and gigabytes, on a quiet machine with two cores
REACHED = 0.95  # of the parameters, of every network
FASTER = 1.5  # by which ResNet-18 has to get faster


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which networks."""
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="of the part `large`")


def table(arguments: argparse.Namespace) -> Table:
    """Networks with random weights at half of their parameters, each in a process of its own."""
    rows = Table("network", "parameters", "kept", "reached", "time after / before", "s", "GB", "wanted", "met")
    for name in arguments.networks:
        row = in_a_process(name, 0.5, arguments.threads)
        if isinstance(row, str):
            rows.add(name, "failed", row[:100])
            continue
        wanted, met = f"reached ≥ {REACHED:.0%}", row["reached"] >= REACHED
        if name in GOALS:
            seconds, gigabytes = GOALS[name]
            wanted += f", ≤ {seconds:.0f} s, ≤ {gigabytes:.0f} GB"
            met &= row["seconds"] <= seconds and row["gigabytes"] <= gigabytes
        cells = [f"{row['parameters']:,}", f"{row['kept']:.1%}", f"{row['reached']:.1%}", f"{row['time']:.2f}"]
        rows.add(name, *cells, f"{row['seconds']:.0f}", f"{row['gigabytes']:.1f}", wanted, "yes" if met else "NO")
    return rows


def time_table() -> Table:
    """ResNet-18 at 128² in two thirds of its time."""
    torch.manual_seed(0)
    net, images = torchvision("resnet18").eval(), torch.randn(16, 3, 128, 128)
    dense = race(lambda: net(images), lambda: net(images), clock_for(images.device)).before[1]
    start = time.process_time()
    result = tt.compress(net, [images], milliseconds=dense / FASTER, progress=False)
    times, parameters = result.report.milliseconds, result.report.parameters
    assert times is not None
    factor, seconds = times[0][1] / times[1][1], time.process_time() - start
    rows = Table("network", "ms before", "ms after", "quartiles", "faster", "kept", "wanted", "met", "s")
    quartiles = f"{times[1][0]:.0f} – {times[1][2]:.0f}"
    cells = [f"{times[0][1]:.0f}", f"{times[1][1]:.0f}", quartiles, f"{factor:.2f}"]
    met = "yes" if factor >= FASTER else "NO"
    kept = f"{parameters[1] / parameters[0]:.1%}"
    rows.add("ResNet-18, 16 × 128²", *cells, kept, f"≥ {FASTER}", met, f"{seconds:.0f}")
    return rows


def measure(name: str, budget: float) -> dict[str, Any]:
    """Compress one network; what came of it."""
    build, shape, samples = NETWORKS[name]
    torch.manual_seed(0)
    net, inputs = build().eval(), torch.randn(samples, *shape)
    start = time.process_time()
    result = tt.compress(net, inputs, parameters=budget, progress=False)
    before, after = result.report.parameters
    times = result.report.milliseconds
    return {
        "parameters": before,
        "kept": after / before,
        "reached": result.report.reached,
        "seconds": time.process_time() - start,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "time": None if times is None else times[1][1] / times[0][1],
    }


def in_a_process(name: str, budget: float, threads: int) -> dict[str, Any] | str:
    """`measure` in a process of its own, so that the peak of memory is that of this network; or why it failed."""
    code = f"from tests.benchmarks.large_networks import main; main({name!r}, {budget}, {threads})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(name: str, budget: float, threads: int) -> None:
    """Print the measurement of one network as JSON."""
    torch.set_num_threads(threads)
    print(json.dumps(measure(name, budget)))
