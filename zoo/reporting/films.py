"""Predictions as players and strips for an HTML page, in a compact form."""

import io
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tensortrain.pages import Picture, Player
from zoo.evaluation import Prediction, SeriesPrediction

MOST_BYTES = 300_000  # largest size of a packed picture
_SHRUNK = 0.8  # factor by which a larger picture is scaled down, repeatedly


def film(title: str, prediction: Prediction) -> Player:
    """A player with the truth and every model's prediction. While frames are observed, all panels show these frames."""
    seen, horizon = len(prediction.observed), prediction.horizon
    films = {"truth": prediction.truth, **prediction.predictions}
    channels, height, width = prediction.observed.shape[1:]
    clips = []
    for frames in films.values():
        missing = frames.new_zeros(horizon - len(frames), channels, height, width)  # the truth may be shorter
        clips.append(torch.cat([prediction.observed, frames, missing]).float())
    size = height, width
    while len(sprite := png(_sprite(clips, size))) > MOST_BYTES:
        size = max(1, int(size[0] * _SHRUNK)), max(1, int(size[1] * _SHRUNK))
    kinds = ["observed"] * seen + ["predicted"] * horizon
    stages = [f"frame {t} of {len(kinds)}, {kind}" for t, kind in enumerate(kinds, 1)]
    return Player(title, sprite, list(films), stages, size, first=seen)


def strip(title: str, prediction: Prediction) -> Picture:
    """The strip of some frames, reduced to few colours."""
    image = prediction.strip()
    while len(data := png(image.quantize(128))) > MOST_BYTES:
        image = image.resize((int(image.width * _SHRUNK), int(image.height * _SHRUNK)))
    names = ", ".join(prediction.predictions)
    return Picture(title, data, f"Rows of frames: the input, the truth, and the predictions of {names}.")


def series_picture(title: str, prediction: SeriesPrediction) -> Picture:
    """The curves of a predicted series."""
    data = io.BytesIO()
    prediction.figure().savefig(data, format="png", dpi=100)
    return Picture(
        title, data.getvalue(), f"Curves of the truth and of the predictions of {', '.join(prediction.predictions)}."
    )


def png(image: Image.Image) -> bytes:
    """The content of a PNG file with this image."""
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return data.getvalue()


def _sprite(clips: Sequence[Tensor], size: tuple[int, int]) -> Image.Image:
    """Clips `(T, C, H, W)` below each other, with time from left to right. Without three channels, they are grey."""
    rows = []
    for frames in clips:
        shown = frames if frames.shape[1] == 3 else frames.mean(1, keepdim=True)
        shown = shown if tuple(frames.shape[-2:]) == size else F.interpolate(shown, size, mode="area")
        rows.append(torch.cat(list(shown), -1))
    pixels = (torch.cat(rows, -2).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())
