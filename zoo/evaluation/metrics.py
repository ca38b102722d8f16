"""What a predicted frame is measured by.

A `Measure` is plain data that says exactly how a number is made: which pixels, which window, which range. Conventions
(`zoo.evaluation.conventions`) are made of measures. All arithmetic is in float64, but for the network of LPIPS:
variances in SSIM cancel.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.evaluation.perceptual import Net, load_lpips

Pixels = Literal["raw", "clamped", "uint8"]

_HIGHEST_PSNR = 100.0  # dB; a perfect frame would be infinite and carry every average with it


class Comparison(NamedTuple):
    """A measurement in two halves, so that those of the truth serve every model.

    Args:
        features: of frames `(B, T, C, H, W)`; anything that broadcasts over B and T.
        value: of predicted and true features, `(B, T)` in float64.
    """

    features: Callable[[Tensor], Any]
    value: Callable[[Any, Any], Tensor]


def _raw(frames: Tensor) -> Tensor:
    return frames.double()


def _clamped(frames: Tensor) -> Tensor:
    return frames.double().clamp(0, 1)


def _uint8(frames: Tensor) -> Tensor:
    return (frames.float().clamp(0, 1) * 255).to(torch.uint8).double()  # truncated, as NumPy's uint8() does


_PREPARE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "raw": (_raw, "predictions as they are"),
    "clamped": (_clamped, "predictions clamped to [0, 1]"),
    "uint8": (_uint8, "frames clamped to [0, 1] and truncated to 0…255"),
}


@dataclass(frozen=True)
class Measure(ABC):
    """One number for each predicted frame.

    Args:
        pixels: "raw" takes predictions as they are, "clamped" clamps them to [0, 1], "uint8" also multiplies by 255
            and truncates to whole numbers.

    >>> half, black = torch.full((1, 2, 1, 16, 16), 0.5), torch.zeros(1, 2, 1, 16, 16)
    >>> Mse().between(half, black)
    tensor([[0.2500, 0.2500]], dtype=torch.float64)
    """

    pixels: Pixels = "clamped"
    key: ClassVar[str]
    higher_is_better: ClassVar[bool]
    digits: ClassVar[int]  # printed after the point

    @abstractmethod
    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """The functions that measure; `root` is the data root, where weights may lie.

        Raises:
            ZooError: weights that are not there.
        """

    @abstractmethod
    def text(self) -> str:
        """How the number is made from prepared pixels, for the foot of a table."""

    @property
    def unit(self) -> str:
        """What a table's heading says below the name."""
        return ""

    @property
    def scale(self) -> float:
        """What a value is multiplied by in a table."""
        return 1.0

    @property
    def heading(self) -> str:
        """The name with the direction of better values, and the unit."""
        return f"{self.key.upper()} {'↑' if self.higher_is_better else '↓'}\n{self.unit}".strip()

    @property
    def pixels_text(self) -> str:
        """How pixels are prepared, for the foot of a table."""
        return _PREPARE[self.pixels][1]

    def prepare(self, frames: Tensor) -> Tensor:
        """Frames as this measure takes them, in float64."""
        return _PREPARE[self.pixels][0](frames)

    def shown(self, value: float) -> str:
        """A value as a table prints it."""
        return f"{value * self.scale:.{self.digits}f}"

    def between(self, made: Tensor, true: Tensor, root: Path | str | None = None) -> Tensor:
        """Measure predictions `(B, T, C, H, W)` against the truth: `(B, T)` in float64."""
        features, value = self.comparison(root, true.device)
        return value(features(made), features(true))

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `measure_from_dict` makes the measure again."""
        return {"measure": self.key, **asdict(self)}


@dataclass(frozen=True)
class _Error(Measure):
    """A pixelwise error.

    Args:
        per: "pixel" averages over channels, height and width; "frame" sums over them.
    """

    per: Literal["pixel", "frame"] = "pixel"
    higher_is_better = False
    digits = 2

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """The error of each pixel."""

    @property
    def unit(self) -> str:
        """See `Measure`."""
        return "×10⁻³" if self.per == "pixel" else "per frame"

    @property
    def scale(self) -> float:
        """Means are small: a table shows thousandths."""
        return 1e3 if self.per == "pixel" else 1.0

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """See `Measure`."""
        reduce = torch.mean if self.per == "pixel" else torch.sum
        return Comparison(self.prepare, lambda made, true: reduce(self.error(made - true), (-3, -2, -1)))

    def text(self) -> str:
        """See `Measure`."""
        return "mean per pixel" if self.per == "pixel" else "sum over the pixels of a frame"


class Mse(_Error):
    """Squared error."""

    key = "mse"

    def error(self, difference: Tensor) -> Tensor:
        """The error of each pixel."""
        return difference.square()


class Mae(_Error):
    """Absolute error."""

    key = "mae"

    def error(self, difference: Tensor) -> Tensor:
        """The error of each pixel."""
        return difference.abs()


@dataclass(frozen=True)
class Psnr(Measure):
    """Peak signal-to-noise ratio in dB of each frame; a frame without error counts as 100 dB, the most there is."""

    key = "psnr"
    higher_is_better = True
    digits = 2

    @property
    def peak(self) -> float:
        """The range of prepared pixels."""
        return 255.0 if self.pixels == "uint8" else 1.0

    @property
    def unit(self) -> str:
        """See `Measure`."""
        return "dB"

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """See `Measure`."""

        def psnr(made: Tensor, true: Tensor) -> Tensor:
            error = ((made - true) / self.peak).square().mean((-3, -2, -1))
            return -10 * torch.log10(error.clamp(min=10 ** (-_HIGHEST_PSNR / 10)))

        return Comparison(self.prepare, psnr)

    def text(self) -> str:
        """See `Measure`."""
        return f"of each frame, averaged, range {self.peak:g}, at most {_HIGHEST_PSNR:g} dB"


class _Moments(NamedTuple):
    frames: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Ssim(Measure):
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli, 2004), the mean over channels and window positions.

    Only windows that lie wholly inside the frame count, as in scikit-image: no border is made up.

    Args:
        window: "gaussian-11" is 11 pixels wide with σ = 1.5 and weighted (co)variances, "uniform-7" 7 pixels wide
            with the unbiased sample (co)variances that scikit-image takes by default.
        data_range: L in the constants (0.01 L)² and (0.03 L)².
    """

    window: Literal["gaussian-11", "uniform-7"] = "gaussian-11"
    data_range: float = 1.0
    key = "ssim"
    higher_is_better = True
    digits = 3

    def _weights(self) -> tuple[Tensor, float]:
        """The weights along one axis, and the factor of (co)variances."""
        if self.window == "gaussian-11":
            offset = torch.arange(-5, 6, dtype=torch.float64)
            weights = torch.exp(-(offset**2) / (2 * 1.5**2))
            return weights / weights.sum(), 1.0
        return torch.full((7,), 1 / 7, dtype=torch.float64), 49 / 48

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """See `Measure`."""
        weights, factor = self._weights()
        weights = weights.to(device)
        c1, c2 = (0.01 * self.data_range) ** 2, (0.03 * self.data_range) ** 2

        def blur(frames: Tensor) -> Tensor:
            return _band(weights, frames.shape[-2]) @ frames @ _band(weights, frames.shape[-1]).mT

        def moments(frames: Tensor) -> _Moments:
            frames = self.prepare(frames)
            mean = blur(frames)
            return _Moments(frames, mean, factor * (blur(frames.square()) - mean.square()))

        def ssim(made: _Moments, true: _Moments) -> Tensor:
            product = made.mean * true.mean
            covariance = factor * (blur(made.frames * true.frames) - product)
            luminance = (2 * product + c1) / (made.mean.square() + true.mean.square() + c1)
            structure = (2 * covariance + c2) / (made.variance + true.variance + c2)
            return (luminance * structure).mean((-3, -2, -1))

        return Comparison(moments, ssim)

    def text(self) -> str:
        """See `Measure`."""
        kinds = {"gaussian-11": "11-pixel Gaussian window σ 1.5", "uniform-7": "7-pixel uniform window"}
        return f"{kinds[self.window]} inside the frame, range {self.data_range:g}"


def _band(weights: Tensor, size: int) -> Tensor:
    """The matrix `(size - window + 1, size)` that slides the window: 13 times as fast as a float64 conv on a CPU."""
    window = len(weights)
    if size < window:
        raise ZooError(f"frames of {size} pixels are smaller than SSIM's window of {window}; leave it out")
    band = weights.new_zeros(size - window + 1, size)
    for offset in range(window):
        band.diagonal(offset)[: len(band)] = weights[offset]
    return band


@dataclass(frozen=True)
class Lpips(Measure):
    """Learned perceptual distance (Zhang et al., 2018), version 0.1 of package `lpips`; grey becomes three channels.

    Args:
        net: the backbone.
        signed: map pixels from [0, 1] to [-1, 1] before the network, as it was trained.
    """

    net: Net = "squeeze"
    signed: bool = True
    key = "lpips"
    higher_is_better = False
    digits = 1

    @property
    def unit(self) -> str:
        """See `Measure`."""
        return "×10⁻³"

    @property
    def scale(self) -> float:
        """See `Measure`."""
        return 1e3

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """See `Measure`."""
        network = load_lpips(self.net, root, device)

        def features(frames: Tensor) -> list[Tensor]:
            images = self.prepare(frames).float().flatten(0, 1)
            layers = network.features(2 * images - 1 if self.signed else images)
            return [layer.view(*frames.shape[:2], *layer.shape[1:]) for layer in layers]

        return Comparison(features, network.distance)

    def text(self) -> str:
        """See `Measure`."""
        return f"{self.net} v0.1, input in [{-1 if self.signed else 0}, 1]"


MEASURES: dict[str, type[Measure]] = {kind.key: kind for kind in (Mse, Mae, Psnr, Ssim, Lpips)}


def measure_from_dict(data: dict[str, Any]) -> Measure:
    """Undo `Measure.to_dict`."""
    data = dict(data)
    return MEASURES[data.pop("measure")](**data)
