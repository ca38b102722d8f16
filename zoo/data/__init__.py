"""Clips to train and evaluate on."""

from pathlib import Path

from zoo.data.clips import ClipDataset
from zoo.data.digits import Split
from zoo.data.download import download_kth, download_mnist
from zoo.data.kth import KTH, check_kth, prepare_kth
from zoo.data.moving_mnist import MovingMNIST, PublishedMovingMNIST
from zoo.data.root import data_root
from zoo.data.videos import Videos
from zoo.errors import ZooError, nearest
from zoo.settings import Data

__all__ = [
    "KTH",
    "ClipDataset",
    "MovingMNIST",
    "PublishedMovingMNIST",
    "Videos",
    "check_kth",
    "data_root",
    "download_kth",
    "download_mnist",
    "make_dataset",
    "prepare_kth",
]


def make_dataset(data: Data, split: Split, root: str | Path | None = None, length: int | None = None) -> ClipDataset:
    """The data set that a recipe names.

    Args:
        data: the recipe's settings.
        split: "train", "val" or "test".
        root: the data root, see `data_root`.
        length: frames of a clip, instead of the recipe's.

    Raises:
        ZooError: no such data set, or its own complaints.
    """
    name = str(data.name).partition(":")[0]
    if name not in _DATASETS:
        raise ZooError(f"no data set {data.name!r}; {nearest(data.name, _DATASETS)}")
    return _DATASETS[name](data, split, root, data.length if length is None else length)


def _moving_mnist(data: Data, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    train = split == "train"
    return MovingMNIST(
        split,
        root=root,
        digits=data.digits,
        canvas=data.canvas,
        length=length,
        count=data.clips if train else None,
        endless=data.endless and train,
        source=data.source,
    )


def _kth(data: Data, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return KTH(
        split,
        root=root,
        length=length,
        count=data.clips,
        endless=data.endless,
        size=data.canvas,
        observed=data.observed,
    )


def _videos(data: Data, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    folder = str(data.name).partition(":")[2]
    if not folder:
        raise ZooError(f"no data set {data.name!r}; name the folder, as in videos:DIR")
    return Videos(folder, split, root=root, size=data.canvas, length=length, count=data.clips, endless=data.endless)


_DATASETS = {"moving-mnist": _moving_mnist, "kth": _kth, "videos": _videos}
