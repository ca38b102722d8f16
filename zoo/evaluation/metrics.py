"""Measures of predicted frames: MSE, MAE, PSNR, SSIM and LPIPS.

A `Measure` is plain data that says exactly how a number is computed: from which pixels, with which window and range. A
convention (`zoo.evaluation.conventions`) is a set of measures. Everything is computed in float64, because the variances
in SSIM are small differences of large numbers. Only the network of LPIPS runs in float32.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from zoo.data.clips import counted
from zoo.errors import ZooError
from zoo.evaluation.frames import Features, check_pair, extremes
from zoo.evaluation.measure import Measure, Parts
from zoo.evaluation.perceptual import Net, load_lpips
from zoo.evaluation.series_metrics import Rmse

Pixels = Literal["raw", "clamped", "uint8"]

_HIGHEST_PSNR = 100.0  # dB; a perfect frame would be infinite, and so would every average with it


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
class FrameMeasure(Measure):
    """A measure of frames `(B, T, C, H, W)`. True pixels are in [0, 1], and predicted pixels should be.

    Args:
        pixels: "raw" uses predictions as they are; "clamped" clamps them to [0, 1]; "uint8" clamps both frames,
            multiplies them by 255 and truncates them to whole numbers.

    >>> half, black = torch.full((1, 2, 1, 16, 16), 0.5), torch.zeros(1, 2, 1, 16, 16)
    >>> Mse().between(half, black)
    tensor([[0.2500, 0.2500]], dtype=torch.float64)
    """

    content = "video"

    pixels: Pixels = "clamped"

    def check(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Check frames; see `Measure.check`."""
        return extremes(steps)

    def check_pair(self, predicted: Features, true: Features) -> None:
        """Check that frames can be compared; see `Measure.check_pair`."""
        check_pair(predicted, true)

    @property
    def preparation(self) -> str:
        """How frames are prepared, to print below a table."""
        return _PREPARE[self.pixels][1]

    def prepare(self, frames: Tensor) -> Tensor:
        """Prepare frames as `pixels` says, in float64."""
        return _PREPARE[self.pixels][0](frames)


@dataclass(frozen=True)
class _Error(FrameMeasure):
    """An error of each pixel, averaged or summed over a frame.

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
        """The unit in tables."""
        return "×10⁻³" if self.per == "pixel" else "per frame"

    @property
    def scale(self) -> float:
        """The factor in tables. Means are small, so they are shown in thousandths."""
        return 1e3 if self.per == "pixel" else 1.0

    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure; see `Measure.parts`."""
        reduce = torch.mean if self.per == "pixel" else torch.sum
        return Parts(self.prepare, lambda predicted, true: reduce(self.error(predicted - true), (-3, -2, -1)))

    def text(self) -> str:
        """How the number is computed, to print below a table."""
        return "mean per pixel" if self.per == "pixel" else "sum over the pixels of a frame"


class Mse(_Error):
    """The squared error (MSE)."""

    key = "mse"

    def error(self, difference: Tensor) -> Tensor:
        """The squared error of each pixel."""
        return difference.square()


class Mae(_Error):
    """The absolute error (MAE)."""

    key = "mae"

    def error(self, difference: Tensor) -> Tensor:
        """The absolute error of each pixel."""
        return difference.abs()


@dataclass(frozen=True)
class Psnr(FrameMeasure):
    """The peak signal-to-noise ratio of each frame in dB, at most 100, which is the value of a frame without error."""

    key = "psnr"
    higher_is_better = True
    digits = 2

    @property
    def peak(self) -> float:
        """The largest value of prepared pixels."""
        return 255.0 if self.pixels == "uint8" else 1.0

    @property
    def unit(self) -> str:
        """The unit in tables."""
        return "dB"

    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure; see `Measure.parts`."""

        def psnr(predicted: Tensor, true: Tensor) -> Tensor:
            error = ((predicted - true) / self.peak).square().mean((-3, -2, -1))
            return -10 * torch.log10(error.clamp(min=10 ** (-_HIGHEST_PSNR / 10)))

        return Parts(self.prepare, psnr)

    def text(self) -> str:
        """How the number is computed, to print below a table."""
        return f"of each frame, averaged, range {self.peak:g}, at most {_HIGHEST_PSNR:g} dB"


class _Moments(NamedTuple):
    frames: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Ssim(FrameMeasure):
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli, 2004), averaged over channels and window positions.

    Only windows that lie entirely inside the frame count, as in scikit-image. Frames are not padded.

    Args:
        window: "gaussian-11" is 11 pixels wide with σ = 1.5 and weighted variances and covariances. "uniform-7" is 7
            pixels wide with unbiased sample variances and covariances, the default of scikit-image.
        data_range: L in the constants (0.01 L)² and (0.03 L)².
    """

    window: Literal["gaussian-11", "uniform-7"] = "gaussian-11"
    data_range: float = 1.0
    key = "ssim"
    higher_is_better = True
    digits = 3

    def _weights(self) -> tuple[Tensor, float]:
        """The window's weights along one axis, and the factor that makes variances and covariances unbiased."""
        if self.window == "gaussian-11":
            offset = torch.arange(-5, 6, dtype=torch.float64)
            weights = torch.exp(-(offset**2) / (2 * 1.5**2))
            return weights / weights.sum(), 1.0
        return torch.full((7,), 1 / 7, dtype=torch.float64), 49 / 48

    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure; see `Measure.parts`."""
        weights, factor = self._weights()
        weights = weights.to(device)
        c1, c2 = (0.01 * self.data_range) ** 2, (0.03 * self.data_range) ** 2

        def blur(frames: Tensor) -> Tensor:
            return _sliding_window(weights, frames.shape[-2]) @ frames @ _sliding_window(weights, frames.shape[-1]).mT

        def moments(frames: Tensor) -> _Moments:
            frames = self.prepare(frames)
            mean = blur(frames)
            return _Moments(frames, mean, factor * (blur(frames.square()) - mean.square()))

        def ssim(predicted: _Moments, true: _Moments) -> Tensor:
            product = predicted.mean * true.mean
            covariance = factor * (blur(predicted.frames * true.frames) - product)
            luminance = (2 * product + c1) / (predicted.mean.square() + true.mean.square() + c1)
            structure = (2 * covariance + c2) / (predicted.variance + true.variance + c2)
            return (luminance * structure).mean((-3, -2, -1))

        return Parts(moments, ssim)

    def text(self) -> str:
        """How the number is computed, to print below a table."""
        windows = {"gaussian-11": "11-pixel Gaussian window σ 1.5", "uniform-7": "7-pixel uniform window"}
        return f"{windows[self.window]} inside the frame, range {self.data_range:g}"


def _sliding_window(weights: Tensor, size: int) -> Tensor:
    """A matrix `(size - window + 1, size)` whose rows are the window at each position.

    On a CPU, multiplying by it is 13 times as fast as a convolution in float64.
    """
    window = len(weights)
    if size < window:
        raise ZooError(
            f"frames of {counted(size, 'pixel')} are smaller than SSIM's window of {window} pixels; leave SSIM out"
        )
    matrix = weights.new_zeros(size - window + 1, size)
    for offset in range(window):
        matrix.diagonal(offset)[: len(matrix)] = weights[offset]
    return matrix


@dataclass(frozen=True)
class Lpips(FrameMeasure):
    """Learned perceptual distance (Zhang et al., 2018), version 0.1 of the package `lpips`.

    A grey frame is read as three equal channels.

    Args:
        net: the network that computes features: "squeeze", "alex" or "vgg".
        signed: whether to map pixels from [0, 1] to [-1, 1], the range that the network was trained with.
    """

    net: Net = "squeeze"
    signed: bool = True
    key = "lpips"
    higher_is_better = False
    digits = 1

    @property
    def unit(self) -> str:
        """The unit in tables."""
        return "×10⁻³"

    @property
    def scale(self) -> float:
        """The factor in tables."""
        return 1e3

    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure; see `Measure.parts`."""
        network = load_lpips(self.net, root, device)

        def features(frames: Tensor) -> list[Tensor]:
            images = self.prepare(frames).float().flatten(0, 1)
            layers = network.features(2 * images - 1 if self.signed else images)
            return [layer.view(*frames.shape[:2], *layer.shape[1:]) for layer in layers]

        return Parts(features, network.distance)

    def text(self) -> str:
        """How the number is computed, to print below a table."""
        return f"{self.net} v0.1, input in [{-1 if self.signed else 0}, 1]"


MEASURES: dict[str, type[Measure]] = {measure.key: measure for measure in (Mse, Mae, Psnr, Ssim, Lpips, Rmse)}


def measure_from_dict(data: dict[str, Any]) -> Measure:
    """Make a measure from the data of `Measure.to_dict`.

    >>> measure_from_dict(Psnr(pixels="uint8").to_dict())
    Psnr(pixels='uint8')
    """
    options = dict(data)
    return MEASURES[options.pop("measure")](**options)
