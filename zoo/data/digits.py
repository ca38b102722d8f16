"""Handwritten digits, 28×28: MNIST's if the data root has them, else the 1,797 that scikit-learn ships."""

import gzip
import math
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.root import data_root
from zoo.errors import ZooError

SIZE = 28
Split = Literal["train", "val", "test"]
Source = Literal["auto", "mnist", "embedded"]

_LAYOUTS = ("mnist", "MNIST/raw", "mnist/MNIST/raw")  # the second is torchvision's
_MNIST = {
    "train": ("train-images-idx3-ubyte", 60_000, slice(0, 50_000)),
    "val": ("train-images-idx3-ubyte", 60_000, slice(50_000, 60_000)),
    "test": ("t10k-images-idx3-ubyte", 10_000, slice(0, 10_000)),
}
_EMBEDDED = {"train": slice(0, 1197), "val": slice(1197, 1497), "test": slice(1497, 1797)}


class Digits(NamedTuple):
    """Images `(N, 28, 28)` uint8, and a phrase that says which they are."""

    images: Tensor
    name: str


def load_digits(split: Split, root: str | Path | None = None, source: Source = "auto") -> Digits:
    """The digits of a split; no digit is in two splits.

    MNIST: "train" has the first 50,000 of its training set, "val" the last 10,000, "test" its test set.

    Args:
        split: "train", "val" or "test".
        root: the data root, see `zoo.data.data_root`; MNIST's files are in its folder `mnist`, or in `MNIST/raw`, as
            torchvision writes them.
        source: "mnist", "embedded" (scikit-learn's), or "auto": MNIST if the root has it, else the embedded digits
            and a warning.

    Raises:
        ZooError: no such split or source; MNIST is asked for and missing, cut short or not readable.

    >>> images, name = load_digits("test", source="embedded")
    >>> images.shape, name
    (torch.Size([300, 28, 28]), '300 embedded scikit-learn test digits')
    """
    check_split(split)
    if source not in ("auto", "mnist", "embedded"):
        raise ZooError(f"source = {source!r} must be auto, mnist or embedded")
    folder = data_root(root)
    if source == "embedded":
        return _embedded(split)
    if source == "auto" and auto_source(folder) == "embedded":
        digits = _embedded(split)
        return digits._replace(name=f"{digits.name} (no complete MNIST in {folder})")
    return _mnist(split, folder)


def check_split(split: str) -> None:
    """Raise a ZooError unless there is such a split."""
    if split not in _MNIST:
        raise ZooError(f"split = {split!r} must be one of {', '.join(_MNIST)}")


def has_mnist(root: Path) -> bool:
    """Whether the root has both image files of MNIST, so that every split comes from it."""
    return all(_find(root, name) for name, _, _ in _MNIST.values())


def auto_source(root: Path) -> Source:
    """The source that "auto" stands for with this data root; if it is not MNIST, a warning says so once."""
    if has_mnist(root):
        return "mnist"
    _warn(root)
    return "embedded"


@cache  # once, even if the filters of warnings change in between, as they do when large packages are imported
def _warn(root: Path) -> None:
    warnings.warn(
        f"no complete MNIST in {root}, so the digits are the 1,797 that scikit-learn ships, and scores on them cannot "
        "be compared with published ones; fetch MNIST with `zoo data mnist --download` or zoo.data.download_mnist(), "
        'or set source to "embedded" if these digits are meant',
        stacklevel=1,
    )


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped if its name ends in `.gz`.

    Args:
        path: the file.
        shape: of the array that the file must hold; nothing beyond it is ever unpacked.

    Raises:
        ZooError: not readable, not IDX, of another shape, cut short or too long.
    """
    header = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            start, data = file.read(len(header)), file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"{path} cannot be read ({error}); fetch it again or change its rights") from error
    if start[:4] != header[:4]:
        raise ZooError(f"{path} is not an IDX file of bytes with {len(shape)} axes; replace it with MNIST's own")
    if len(start) == len(header) and start != header:
        stated = "×".join(map(str, np.frombuffer(start[4:], ">u4")))
        raise ZooError(f"{path} holds {stated} bytes, not {'×'.join(map(str, shape))}; replace it with MNIST's own")
    if len(data) != math.prod(shape):
        extent = "is cut short" if len(data) < math.prod(shape) else "continues after its last image"
        raise ZooError(f"{path} {extent}; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(root: Path, name: str) -> Path | None:
    for path in (root / layout / file for layout in _LAYOUTS for file in (name, f"{name}.gz")):
        try:
            if path.is_file():
                return path
        except OSError as error:
            raise ZooError(f"{path} cannot be reached ({error.strerror}); change the folder's rights") from error
    return None


def _mnist(split: Split, root: Path) -> Digits:
    name, count, part = _MNIST[split]
    path = _find(root, name)
    if path is None:
        raise ZooError(
            f"no {name}[.gz] in {root / 'mnist'}; fetch it with zoo.data.download_mnist({str(root)!r}), "
            "name another data root, or use the embedded digits (source embedded)"
        )
    images = read_idx(path, (count, SIZE, SIZE))[part].copy()
    return Digits(torch.from_numpy(images), f"{len(images):,} MNIST {split} digits from {path.parent}")


def _embedded(split: Split) -> Digits:
    """scikit-learn's digits, 8×8 with values 0 … 16, resized (bicubic)."""
    from sklearn import datasets

    small = torch.from_numpy(datasets.load_digits().images[_EMBEDDED[split]])  # float64
    large = torch.nn.functional.interpolate(small[:, None] * (255 / 16), size=SIZE, mode="bicubic")[:, 0]
    images = large.round().clamp(0, 255).to(torch.uint8)
    return Digits(images, f"{len(images):,} embedded scikit-learn {split} digits")
