"""Small networks, with random weights but features of low rank, so that they can be compressed; and real ones."""

import gzip
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convs and batch norm around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def residual_network(seed: int = 0, channels: int = 12, classes: int = 5) -> nn.Sequential:
    """A classifier of images `(3, 8, 8)`, its batch-norm statistics those of random inputs."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1), Residual(channels), Residual(channels),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(20):
            net(images(64))
    return net.eval()


def images(count: int, seed: int = 0, size: int = 8) -> Tensor:
    """Smooth random images `(count, 3, size, size)`."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, size // 2, size // 2, generator=generator)
    return F.interpolate(coarse, scale_factor=2, mode="bilinear")


class LeNet(nn.Module):
    """The network of `wangxinya_lenet_mnist.pth`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def trained_lenet(data_root: Path) -> LeNet:
    """The LeNet with its trained weights."""
    net = LeNet()
    file = data_root / "cnn" / "wangxinya_lenet_mnist.pth"
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.eval()


def digits(data_root: Path, part: str, count: int, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """MNIST digits `(count, 1, 28, 28)` in [0, 1] with labels: the first ones, or a random choice.

    Args:
        data_root: holds `mnist/`.
        part: "train" or "t10k".
        count: how many.
        seed: of the choice; None takes the first ones.
    """
    folder = data_root / "mnist"
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    order = torch.arange(len(labels))
    if seed is not None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    chosen = order[:count]
    x = torch.from_numpy(pixels.reshape(-1, 1, 28, 28).copy())[chosen].float() / 255
    return x, torch.from_numpy(labels.copy())[chosen].long()


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Part of the inputs whose largest logit is that of the label."""
    parts = zip(x.split(1000), labels.split(1000), strict=True)
    return sum(int((net(part).argmax(1) == wanted).sum()) for part, wanted in parts) / len(x)
