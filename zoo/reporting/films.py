"""Predictions as films and strips for a page, small enough that the page stays small."""

import io
import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tensortrain.pages import Picture, Player
from zoo.evaluation import Prediction, SeriesPrediction

MOST_BYTES = 400_000  # of a sprite, before it is packed


def film(title: str, prediction: Prediction) -> Player:
    """A player with the truth and every model's prediction; while frames are observed, all show these."""
    seen, horizon = len(prediction.observed), prediction.horizon
    films = {"truth": prediction.truth, **prediction.predictions}
    channels, *size = prediction.observed.shape[1:]
    depth = 3 if channels == 3 else 1
    most = math.sqrt(MOST_BYTES / depth / len(films) / (seen + horizon) / (size[0] * size[1]))
    height, width = (max(1, int(side * min(1.0, most))) for side in size)
    rows = []
    for frames in films.values():
        missing = horizon - len(frames)  # the truth may be shorter
        whole = torch.cat([prediction.observed, frames, frames.new_zeros(missing, *frames.shape[1:])])
        rows.append(torch.cat(list(_small(whole, depth, (height, width))), -1))
    sprite = (torch.cat(rows, -2).clamp(0, 1) * 255).round().to(torch.uint8)
    image = Image.fromarray(sprite.permute(1, 2, 0).squeeze(-1).numpy())
    stages = [
        f"frame {t + 1} of {seen + horizon}, {'observed' if t < seen else 'predicted'}" for t in range(seen + horizon)
    ]
    return Player(title, png(image), list(films), stages, (height, width), first=seen)


def strip(title: str, prediction: Prediction) -> Picture:
    """The strip of some frames, in few colours."""
    image = prediction.strip().quantize(128)
    names = ", ".join(prediction.predictions)
    return Picture(title, png(image), f"Rows of frames: the input, the truth, and the predictions of {names}.")


def series_picture(title: str, prediction: SeriesPrediction) -> Picture:
    """Curves of a predicted series."""
    data = io.BytesIO()
    prediction.figure().savefig(data, format="png", dpi=100)
    return Picture(
        title, data.getvalue(), f"Curves of the truth and of the predictions of {', '.join(prediction.predictions)}."
    )


def png(image: Image.Image) -> bytes:
    """The bytes of a picture file."""
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return data.getvalue()


def _small(frames: Tensor, depth: int, size: tuple[int, int]) -> Tensor:
    """Frames `(T, C, H, W)` with one or three channels, in a size; other numbers of channels become grey."""
    frames = frames.float() if frames.shape[1] == depth else frames.float().mean(1, keepdim=True)
    return frames if tuple(frames.shape[-2:]) == size else F.interpolate(frames, size, mode="area")
