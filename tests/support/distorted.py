"""Distorted MNIST, which a small network does not learn perfectly, and a ResNet-20 for it."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.networks import digits


def distort(x: Tensor, generator: torch.Generator) -> Tensor:
    """Digits `(N, 1, 28, 28)` in [0, 1] rotated, scaled, sheared, shifted, with patches of others and noise."""
    n = len(x)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    angle = (uniform(n) * 2 - 1) * math.pi / 5
    scale = uniform(n) * 0.7 + 0.8
    shift = (uniform(n, 2) * 2 - 1) * 0.25
    shear = (uniform(n) * 2 - 1) * 0.3
    rows = [
        torch.stack([angle.cos() * scale, -angle.sin() * scale + shear, shift[:, 0]], 1),
        torch.stack([angle.sin() * scale, angle.cos() * scale, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    other = torch.randperm(n, generator=generator)
    strength = uniform(n, 1, 1, 1) * 0.6
    mask = F.interpolate((uniform(n, 1, 7, 7) > 0.82).float(), scale_factor=4)
    x = torch.maximum(x, mask * strength * x[other].flip(-1).clamp(min=0.3))
    contrast = 0.5 + 0.5 * uniform(n, 1, 1, 1)
    return (x * contrast + 0.25 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


class Block(nn.Module):
    """Two convs around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.down: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))


class ResNet20(nn.Module):
    """A ResNet-20 of 272,186 parameters for one-channel images, its first conv with stride 2."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64), blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        for k, width in enumerate(widths):
            layers = [Block(inputs if j == 0 else width, width, 2 if k and j == 0 else 1) for j in range(blocks)]
            self.add_module(f"layer{k + 1}", nn.Sequential(*layers))
            inputs = width
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


def distorted_digits(data_root: Path, part: str, count: int, seed: int, draw: int | None) -> tuple[Tensor, Tensor]:
    """Distorted MNIST with labels.

    Args:
        data_root: holds `mnist/`.
        part: "train" or "t10k".
        count: how many.
        seed: of the distortions.
        draw: seed of a random choice of digits; None takes the first ones.
    """
    x, labels = digits(data_root, part, count, draw)
    return distort(x, torch.Generator().manual_seed(seed)), labels


def train(data_root: Path, steps: int, seed: int = 0, batch: int = 128) -> ResNet20:
    """A ResNet-20 trained for a fixed number of steps of SGD on fresh distortions, in evaluation mode."""
    torch.manual_seed(seed)
    net, generator = ResNet20(), torch.Generator().manual_seed(seed)
    x, labels = digits(data_root, "train", 60000)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=steps)
    for _ in range(steps):
        picks = torch.randint(len(x), (batch,), generator=generator)
        loss = F.cross_entropy(net(distort(x[picks], generator)), labels[picks])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()
