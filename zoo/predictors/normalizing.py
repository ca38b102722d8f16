"""Normalisation as part of a model: it reads normalised frames, and its predictions are converted back at once.

So losses, metrics, pictures and exported networks work with frames in [0, 1], and no other code handles normalisation.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zoo.errors import ZooError
from zoo.predictors.normalization import Normalization
from zoo.predictors.video_model import VideoModel


def normalize(model: VideoModel, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let a model read `(frame - mean) / std` and return `prediction · std + mean`. Its weights keep their names.

    Args:
        model: the model, which is changed in place.
        mean: the mean of each channel; an empty list stands for 0.
        std: the standard deviation of each channel; an empty list stands for 1.

    Raises:
        ZooError: if the number of values differs from the model's number of channels.

    >>> import torch
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
    model.normalization = Normalization(mean or [0.0] * model.channels, std or [1.0] * model.channels)
    model.register_forward_pre_hook(_before, with_kwargs=True)
    model.register_forward_hook(_after)


def _before(model: VideoModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Normalise the frames among the arguments of `VideoModel.forward`."""
    names = dict(zip(("x", "horizon", "truth", "use_truth"), args, strict=False)) | kwargs
    for name in ("x", "truth"):
        if names.get(name) is not None:
            names[name] = model.normalized(names[name])
    return (), names


def _after(model: VideoModel, args: Any, predictions: Any) -> Tensor:
    """Convert predictions back."""
    if not isinstance(predictions, Tensor) or predictions.dim() != 5 or predictions.shape[2] != model.channels:
        raise ZooError(
            f"{type(model).__name__} does not return frames in training, so its output cannot be normalised; leave "
            "out data.mean and data.std"
        )
    return model.denormalized(predictions)
