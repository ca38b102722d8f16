"""How large everything is: as on a GPU, or tiny for a rehearsal on a CPU."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of what is measured and trained.

    Args:
        device: "cuda" or "cpu".
        layers12: clips in a step of the networks as published.
        small: clips in a step of the preset `small`.
        frames: number of frames of a clip.
        options: options of each network, which replace its preset's.
        variants: ways to run a network, the plain loop first.
        more: further ones, of which only the published networks are measured.
        channels: input and output channels of the kernels that are decomposed.
        ranks: rank of their chain of two cores.
        images: shape of what a single layer reads, without its channels: (batch, height, width).
        product: side of the matrices that show the rate of products.
        patience: how much of each row's time must be left before it is begun.
        training: settings of the training, over the preset's.
        samples: clips of the test split that the trained network is measured on.
        closing: seconds for what follows the training: weights, curves, samples, scores.
    """

    device: str
    layers12: int
    small: int
    frames: int
    options: dict[str, Any]
    variants: tuple[str, ...]
    more: tuple[str, ...]
    channels: int
    ranks: int
    images: tuple[int, int, int]
    product: int
    patience: float
    training: dict[str, Any]
    samples: int
    closing: float


REAL = Sizes(
    device="cuda",
    layers12=32,
    small=256,
    frames=20,
    options={},
    variants=("plain", "bf16-graph", "bf16-compiled-graph"),
    more=("tf32-graph", "bf16-free-graph"),
    channels=256,
    ranks=192,
    images=(32, 32, 32),
    product=8192,
    patience=1.0,
    training={"validate_every": 250, "validation_clips": 512, "log_every": 25},
    samples=2000,
    closing=40.0,
)
REHEARSAL = Sizes(
    device="cpu",
    layers12=2,
    small=2,
    frames=4,
    options={"hidden": [3, 3], "layers": [1, 1], "kernel": 3, "patch": 8, "rank": 2},
    variants=("plain", "bf16"),
    more=("bf16-graph",),
    channels=4,
    ranks=3,
    images=(2, 6, 6),
    product=32,
    patience=0.02,
    training={"steps": 30, "validate_every": 10, "validation_clips": 2, "log_every": 5},
    samples=2,
    closing=4.0,
)
