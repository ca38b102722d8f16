"""Handwritten digits of 28×28 pixels: MNIST if it is in the data root, else the 1,797 digits of scikit-learn."""

import hashlib
import warnings
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zoo.data.mnist_files import find_images, read_images
from zoo.data.root import data_root
from zoo.errors import ZooError

SIZE = 28
Split = Literal["train", "val", "test"]
Source = Literal["auto", "mnist", "embedded"]

_MNIST = {
    "train": ("train", 60_000, slice(0, 50_000)),
    "val": ("train", 60_000, slice(50_000, 60_000)),
    "test": ("t10k", 10_000, slice(0, 10_000)),
}
_PUBLISHED = {  # SHA-256 of the bytes of MNIST's own images
    "train": "c80ceb24eedca80f31cfca280b8fb911cbb41b9990f998bebd40e26b1ab6d0f8",
    "val": "2b079632b0defaf508a5ebf8c4ac1e18ce15c8b337da087e9c3e1c84c618d244",
    "test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
}
_EMBEDDED = {"train": slice(0, 1197), "val": slice(1197, 1497), "test": slice(1497, 1797)}


class Digits(NamedTuple):
    """Handwritten digits.

    Args:
        images: the digits, `(N, 28, 28)`, uint8.
        name: a phrase that says which digits they are.
        published: whether they are the original MNIST digits, so that results can be compared with publications.
    """

    images: Tensor
    name: str
    published: bool


def load_digits(split: Split, root: str | Path | None = None, source: Source = "auto") -> Digits:
    """Load the digits of a split. No digit is in two splits.

    With MNIST, "train" has the first 50,000 digits of its training set, "val" the last 10,000, and "test" its test set.

    Args:
        split: "train", "val" or "test".
        root: the data root; see `zoo.data.data_root`. `zoo.data.mnist_files.find_images` lists the places and names of
            MNIST's files there.
        source: "mnist", "embedded" for the digits of scikit-learn, or "auto" for MNIST if it is in the data root and
            the embedded digits (with a warning) otherwise.

    Raises:
        ZooError: if the split or source is unknown, or MNIST is required but missing, truncated or not readable.

    >>> digits = load_digits("test", source="embedded")
    >>> digits.images.shape, digits.name
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
    """Raise a ZooError if there is no such split."""
    if split not in _MNIST:
        raise ZooError(f"split = {split!r} must be one of {', '.join(_MNIST)}")


def has_mnist(root: Path) -> bool:
    """Whether both image files of MNIST are in the data root, so that all splits can be read."""
    return all(find_images(root, part) for part in ("train", "t10k"))


def auto_source(root: Path) -> Source:
    """The source that "auto" stands for with this data root. If it is not MNIST, there is one warning."""
    if has_mnist(root):
        return "mnist"
    _warn(root)
    return "embedded"


@cache  # warns once, even if the warning filters change in between, as they do when large packages are imported
def _warn(root: Path) -> None:
    warnings.warn(
        f"there is no complete MNIST in {root}, so the digits are the 1,797 of scikit-learn, and scores cannot be "
        "compared with published ones; fetch MNIST with `zoo data mnist --download` or zoo.data.download_mnist(), "
        'or set source to "embedded" to use these digits without a warning',
        stacklevel=1,
    )


def _mnist(split: Split, root: Path) -> Digits:
    part, count, digits = _MNIST[split]
    path = find_images(root, part)
    if path is None:
        raise ZooError(
            f"no {part}-images-idx3-ubyte[.gz] and no mnist.npz in {root} and its folders raw, MNIST/raw and mnist; "
            f"fetch it with zoo.data.download_mnist({str(root)!r}), name another data root, or use the embedded digits "
            "(source embedded)"
        )
    images = read_images(path, part, (count, SIZE, SIZE))[digits].copy()
    published = hashlib.sha256(images.data).hexdigest() == _PUBLISHED[split]
    name = f"{len(images):,} MNIST {split} digits from {path if path.suffix == '.npz' else path.parent}"
    return Digits(torch.from_numpy(images), name if published else f"{name} (not the published images)", published)


def _embedded(split: Split) -> Digits:
    """The digits of scikit-learn, 8×8 pixels with values 0 … 16, resized by bicubic interpolation."""
    from sklearn import datasets

    small = torch.from_numpy(datasets.load_digits().images[_EMBEDDED[split]])  # float64
    large = torch.nn.functional.interpolate(small[:, None] * (255 / 16), size=SIZE, mode="bicubic")[:, 0]
    images = large.round().clamp(0, 255).to(torch.uint8)
    return Digits(images, f"{len(images):,} embedded scikit-learn {split} digits", published=False)
