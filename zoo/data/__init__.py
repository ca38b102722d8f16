"""Clips to train and evaluate on."""

from dataclasses import replace
from pathlib import Path

from zoo.data.clips import ClipDataset
from zoo.data.digits import Split, found_source
from zoo.data.download import download_kth, download_mnist
from zoo.data.kth import KTH, check_kth, prepare_kth
from zoo.data.moving_mnist import MovingMNIST, PublishedMovingMNIST
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips
from zoo.data.videos import Videos
from zoo.errors import ZooError
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
    "pin_data",
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
        ZooError: colours of a grey data set, or its own complaints.
    """
    if data.channels != 1 and data.kind != "videos":
        raise ZooError(f"data.channels = {data.channels}, but the clips of {data.name} are grey; leave it at 1")
    return _DATASETS[data.kind](data, split, root, data.length if length is None else length)


def pin_data(data: Data, root: str | Path | None = None) -> Data:
    """The settings with what they leave to the place and the day, so that a run goes on with the data it began with.

    That is the digits that "auto" stands for, the whole path of a folder, and the files that a store was made of.

    Raises:
        ZooError: see `make_dataset`.
    """
    if data.kind == "moving-mnist":
        return replace(data, source=data.source if data.source != "auto" else found_source(data_root(root)))
    if data.kind == "videos":
        folder = Path(data.name.partition(":")[2]).expanduser().resolve()
        data = replace(data, name=f"videos:{folder}")
    made = make_dataset(data, "train", root)
    assert isinstance(made, StoredClips)
    return replace(data, store=made.store.digest())


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
        seed=data.seed if train else 0,
    )


def _kth(data: Data, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return KTH(
        split,
        root=root,
        length=length,
        count=data.clips,
        endless=data.endless,
        seed=data.seed,
        size=data.canvas,
        rule=data.rule,
        validation=data.validation,
        observed=data.observed,
    )


def _videos(data: Data, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return Videos(
        data.name.partition(":")[2],
        split,
        root=root,
        size=data.canvas,
        grey=data.channels == 1,
        length=length,
        count=data.clips,
        endless=data.endless,
        seed=data.seed,
    )


_DATASETS = {"moving-mnist": _moving_mnist, "kth": _kth, "videos": _videos}
