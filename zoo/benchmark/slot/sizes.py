"""The sizes of everything: real ones for a GPU, and tiny ones for a rehearsal on a CPU."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """The sizes of what is measured and trained.

    Args:
        device: "cuda" or "cpu".
        layers12: number of clips in a step of the published networks.
        small: number of clips in a step of the preset `small`.
        frames: number of frames in a clip.
        options: options of each network, which replace those of its preset.
        variants: the variants to time, the plain loop first.
        more: further variants, for the published networks only.
        channels: number of input and output channels of the kernels that are decomposed.
        ranks: rank of their chain of two cores.
        images: shape of the input of a single layer without its channels: (batch, height, width).
        product: number of rows and columns of the matrices whose product is timed.
        patience: fraction of a row's time that must be left to start it.
        training: settings of the training, which replace those of the preset.
        samples: number of test clips on which the trained network is evaluated.
        closing: number of seconds for the work after the training: weights, curves, samples, scores.
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
