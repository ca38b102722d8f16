"""Clips of video to train and evaluate on: Moving-MNIST, KTH, and folders of videos."""

from dataclasses import replace
from pathlib import Path

from zoo.data.clips import ClipDataset
from zoo.data.digits import Split, auto_source
from zoo.data.download import download_kth, download_mnist
from zoo.data.kth import KTH, check_kth, prepare_kth
from zoo.data.moving_mnist import MovingMNIST, PublishedMovingMNIST
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips
from zoo.data.videos import Videos, prepare_videos
from zoo.settings import Data, KTHData, MovingMNISTData, VideosData

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
    "prepare_videos",
]


def make_dataset(data: Data, split: Split, root: str | Path | None = None, length: int | None = None) -> ClipDataset:
    """The data set that a recipe's settings describe.

    Args:
        data: the settings.
        split: "train", "val" or "test".
        root: the data root, see `data_root`.
        length: T, frames of a clip; by default those of the settings.

    Raises:
        ZooError: the data are missing or do not suit the settings.

    >>> data = MovingMNISTData(digits=3, size=32, source="embedded")
    >>> make_dataset(data, "test", length=30).clips([0, 1]).shape
    torch.Size([2, 30, 1, 32, 32])
    """
    length = data.length if length is None else length
    if isinstance(data, MovingMNISTData):
        return _moving_mnist(data, split, root, length)
    if isinstance(data, KTHData):
        return _kth(data, split, root, length)
    return _videos(data, split, root, length)


def pin_data(data: Data, root: str | Path | None = None) -> Data:
    """The settings with everything filled in that depends on this machine, so that a resumed run reads the same data.

    Moving-MNIST: the digits that source "auto" stands for here. Videos: the absolute path of the folder. KTH and
    videos: a digest of the decoded files.

    Args:
        data: the settings.
        root: the data root, see `data_root`.

    Raises:
        ZooError: the data are missing or do not suit the settings.

    >>> pin_data(MovingMNISTData(), root="no/such/folder").source
    'embedded'
    """
    if isinstance(data, MovingMNISTData):
        return replace(data, source=data.source if data.source != "auto" else auto_source(data_root(root)))
    if isinstance(data, VideosData):
        folder = Path(data.name.partition(":")[2]).expanduser().resolve()
        data = replace(data, name=f"videos:{folder}")
    dataset = make_dataset(data, "train", root)
    assert isinstance(dataset, StoredClips)
    return replace(data, store=dataset.store.digest())


def _moving_mnist(data: MovingMNISTData, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    train = split == "train"
    return MovingMNIST(
        split,
        root=root,
        digits=data.digits,
        size=data.size,
        length=length,
        count=data.clips_per_epoch if train else None,
        endless=data.endless and train,
        source=data.source,
        seed=data.seed if train else 0,
    )


def _kth(data: KTHData, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return KTH(
        split,
        root=root,
        length=length,
        count=data.clips_per_epoch,
        endless=data.endless,
        seed=data.seed,
        size=data.size,
        windows=data.windows,
        validation_persons=data.validation_persons,
        observed=data.observed,
    )


def _videos(data: VideosData, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return Videos(
        data.name.partition(":")[2],
        split,
        root=root,
        size=data.size,
        grey=data.channels == 1,
        length=length,
        count=data.clips_per_epoch,
        endless=data.endless,
        seed=data.seed,
    )
