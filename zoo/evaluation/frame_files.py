"""Write predictions as numbers to an `.npz` file, or as frames to a folder of PNG files."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.files import aside, folder_aside


def write_arrays(path: str | Path, **arrays: Tensor | Mapping[str, Tensor] | list[str]) -> None:
    """Write an `.npz` file. A mapping becomes two arrays: one of its values, and one called `models` of its names."""
    entries = {}
    for name, value in arrays.items():
        if isinstance(value, Mapping):
            entries[name] = torch.stack([*value.values()]).float().numpy()
            entries["models"] = np.array([*value])
        else:
            entries[name] = value.float().numpy() if isinstance(value, Tensor) else np.array(value)
    with aside(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **entries)  # type: ignore[arg-type]  # its signature has other named arguments


def write_frames(path: str | Path, observed: Tensor, truth: Tensor, predictions: Mapping[str, Tensor]) -> None:
    """Write a folder with a PNG file for each frame, without resizing. The names are the numbers in the clip.

    It has the folders `observed`, `truth` (if some true frames are known), and `predictions/NAME` for each model. Each
    of them can be read as a clip of the data set `images:FOLDER`.

    Raises:
        ZooError: if the folder exists already or cannot be created, or frames do not have one or three channels.
    """
    from PIL import Image

    channels = observed.shape[1]
    if channels not in (1, 3):
        raise ZooError(f"frames with {channels} channels cannot be PNG images; write an .npz file instead")
    seen = len(observed)
    folders = {"observed": (observed, 1), "truth": (truth, seen + 1)}
    for name, frames in predictions.items():
        place = f"predictions/{re.sub('[^A-Za-z0-9._-]', '-', name)}"
        if place in folders:
            raise ZooError(f"two models would write to {place}; rename one of them")
        folders[place] = (frames, seen + 1)
    with folder_aside(path) as temporary:
        for place, (frames, first) in folders.items():
            if not len(frames):
                continue
            (temporary / place).mkdir(parents=True)
            for number, frame in enumerate(frames, first):
                pixels = (frame.float().clamp(0, 1) * 255).round().to(torch.uint8)
                image = Image.fromarray(pixels[0].numpy() if channels == 1 else pixels.permute(1, 2, 0).numpy())
                image.save(temporary / place / f"{number:04d}.png")
