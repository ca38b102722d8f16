"""Normalisation as part of a model: it reads normalised frames, and its predictions are converted back at once.

So losses, metrics, pictures and exported networks work with frames in [0, 1], and no other code handles normalisation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.predictors.video_model import VideoModel


def normalize(model: VideoModel, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let a model read `(frame - mean) / std` and return `prediction · std + mean`. Its weights keep their names.

    Args:
        model: the model, which is changed in place.
        mean: the mean of each channel; an empty list stands for 0.
        std: the standard deviation of each channel; an empty list stands for 1.

    Raises:
        ZooError: if the number of values differs from the model's number of channels.

    >>> from zoo.evaluation import CopyLast
    >>> model, x = CopyLast(), torch.rand(1, 3, 1, 8, 8)
    >>> normalize(model, [0.5], [0.25])
    >>> bool(torch.allclose(model(x, 1)[:, -1], x[:, -1]))
    True
    """
    if not mean and not std:
        return
    for name, values in (("mean", mean), ("std", std)):
        if values and len(values) != model.channels:
            raise ZooError(f"data.{name} = {list(values)} must have {model.channels} numbers, one for each channel")
    shift = torch.tensor([*(mean or [0.0] * model.channels)])[:, None, None]
    scale = torch.tensor([*(std or [1.0] * model.channels)])[:, None, None]

    def into(frames: Tensor) -> Tensor:
        return (frames - shift.to(frames)) / scale.to(frames)

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = dict(zip(("x", "horizon", "truth", "use_truth"), args, strict=False)) | kwargs
        for name in ("x", "truth"):
            if names.get(name) is not None:
                names[name] = into(names[name])
        return (), names

    def after(module: Any, args: Any, kwargs: Any, predictions: Any) -> Tensor:
        if not isinstance(predictions, Tensor) or predictions.dim() != 5 or predictions.shape[2] != len(shift):
            raise ZooError(
                f"{type(model).__name__} does not return frames in training, so its output cannot be normalised; leave "
                "out data.mean and data.std"
            )
        return predictions * scale.to(predictions) + shift.to(predictions)

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after, with_kwargs=True)
