"""Networks of torchvision and timm, and some of other kinds, with random weights: what share of them is reached."""

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


def in_a_process(name: str, budget: float) -> dict[str, Any] | str:
    """`measure` in a process of its own, so that the peak of memory is that of this network; or why it failed."""
    code = f"from tests.benchmarks.large_networks import main; main({name!r}, {budget})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(name: str, budget: float) -> None:
    """Print the measurement of one network as JSON."""
    print(json.dumps(measure(name, budget)))
