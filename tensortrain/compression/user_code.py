"""Run functions that a user names on the command line, and read the images of a folder."""

import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.importing import import_file, search_first

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
BATCH = 64  # number of images in a batch


def function(option: str, text: str) -> Callable[..., Any]:
    """Return the function that `"my_module.py:build"` or `"my_package.module:build"` names. This runs its module.

    Args:
        option: name of the option, for error messages.
        text: the value of the option.

    Raises:
        TensorTrainError: there is no such file, module or function, or the module raises an error.

    >>> function("--metric", "math:sqrt")(4.0)
    2.0
    """
    module_name, _, name = text.rpartition(":")
    if not module_name or not name:
        raise TensorTrainError(f"{option} = {text!r}; MODULE.py:FUNCTION is needed, such as my_module.py:build")
    value = getattr(_module(option, module_name), name, None)
    if not callable(value):
        raise TensorTrainError(f"{option} = {text!r}: {module_name} has no function {name!r}")
    named: Callable[..., Any] = value
    return named


def _module(option: str, name: str) -> Any:
    path = Path(name)
    if name.endswith(".py") and not path.is_file():
        raise TensorTrainError(f"{option}: there is no file {name}")
    try:
        if name.endswith(".py"):
            return import_file(path)
        search_first(Path.cwd())  # as `python -m` does
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's module raises
        raise TensorTrainError(f"{option}: {name} cannot be run: {type(error).__name__}: {error}") from error


def called(option: str, text: str) -> Any:
    """Call the function that a user names, without arguments, and return the result.

    Args:
        option: name of the option, for error messages.
        text: the value of the option.

    Raises:
        TensorTrainError: as for `function`, or the function raises an error.
    """
    make = function(option, text)
    try:
        return make()
    except Exception as error:
        raise TensorTrainError(f"{option}: {text} raised {type(error).__name__}: {error}") from error


def image_batches(folder: Path, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Iterator[Tensor]:
    """Yield the images of a folder and its subfolders in batches `(N, channels, *size)`.

    The order is random but always the same, so that the first images are a mixed sample even if each class has a folder
    of its own.

    Args:
        folder: holds files that end in one of `ENDINGS`.
        size: height and width in pixels to which every image is stretched, without cropping.
        mean: mean of each channel, for pixels from 0 to 1; one number for grey images, three for colour.
        std: standard deviation of each channel; a pixel becomes `(pixel - mean) / std`.

    Raises:
        TensorTrainError: there are no images, an image cannot be read, the number of channels is not 1 or 3, a standard
            deviation is not positive, or Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise TensorTrainError(
            "images need Pillow; install it, or name a function: --data my_module.py:batches"
        ) from None
    modes = {1: "L", 3: "RGB"}
    if len(mean) not in modes or len(std) != len(mean) or min(std) <= 0:
        raise TensorTrainError(
            f"mean = {tuple(mean)}, std = {tuple(std)}; 1 or 3 numbers each are needed, those of std positive"
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not files:
        raise TensorTrainError(f"{folder} holds no images; they end in {', '.join(ENDINGS)}")
    random.Random(0).shuffle(files)
    shift, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    for start in range(0, len(files), BATCH):
        images = []
        for path in files[start : start + BATCH]:
            try:
                with Image.open(path) as image:
                    pixels = _in_eight_bits(image).convert(modes[len(mean)])
                    pixels = pixels.resize(size[::-1], Image.Resampling.BILINEAR)
            except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
                raise TensorTrainError(f"cannot read {path}: {error}") from None
            values = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
            images.append((values.reshape(*size, len(mean)).permute(2, 0, 1) / 255 - shift) / scale)
        yield torch.stack(images)


def _in_eight_bits(image: Any) -> Any:
    """Return an image with 8 bits for each pixel and channel; Pillow itself would cut off larger values of 16 bits."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 257))  # 65535 becomes 255
