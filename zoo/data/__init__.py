"""Clips to train and evaluate on: Moving-MNIST, KTH, your own videos, images and arrays, and Lorenz series."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from zoo.data import array_clips, array_files, videos
from zoo.data.array_clips import ArrayFrames, Arrays, open_frames
from zoo.data.array_files import ArrayFile
from zoo.data.augmentation import Augmentation
from zoo.data.clips import ClipDataset, SeriesDataset, counted
from zoo.data.digits import Split, auto_source
from zoo.data.download import download_kth, download_mnist
from zoo.data.images import Images
from zoo.data.kth import KTH, check_kth, prepare_kth
from zoo.data.lorenz import Lorenz
from zoo.data.moving_mnist import MovingMNIST, PublishedMovingMNIST
from zoo.data.protocol import ClipSource, adapted
from zoo.data.root import data_root
from zoo.data.splits import Splits
from zoo.data.stored_clips import StoredClips
from zoo.data.videos import Videos
from zoo.errors import ZooError
from zoo.settings import (
    ArraysData,
    Data,
    FilmedData,
    ImagesData,
    KTHData,
    LorenzData,
    MovingMNISTData,
    PythonData,
    StoredData,
    VideosData,
)

__all__ = [
    "KTH",
    "ArrayFrames",
    "Arrays",
    "Augmentation",
    "ClipDataset",
    "ClipSource",
    "Images",
    "Lorenz",
    "MovingMNIST",
    "PublishedMovingMNIST",
    "SeriesDataset",
    "Splits",
    "Videos",
    "adapted",
    "array_frames",
    "check_kth",
    "data_root",
    "describe_own",
    "download_kth",
    "download_mnist",
    "make_dataset",
    "own_clip",
    "pin_data",
    "prepare_kth",
]


def make_dataset(data: Data, split: Split, root: str | Path | None = None, length: int | None = None) -> ClipDataset:
    """Make the data set that the settings of a recipe describe.

    Args:
        data: the settings.
        split: "train", "val" or "test".
        root: the data root; see `data_root`.
        length: T, the number of steps in a clip; by default that of the settings.

    Raises:
        ZooError: if the data are missing or do not fit the settings.

    >>> data = MovingMNISTData(digits=3, size=32, source="embedded")
    >>> make_dataset(data, "test", length=30).clips([0, 1]).shape
    torch.Size([2, 30, 1, 32, 32])
    """
    length = data.length if length is None else length
    if isinstance(data, MovingMNISTData):
        return _moving_mnist(data, split, root, length)
    if isinstance(data, KTHData):
        return _kth(data, split, root, length)
    if isinstance(data, PythonData):
        raise ZooError(
            "data.name = 'python' stands for clips that a program passes to zoo.fit or zoo.evaluate; pass such clips"
        )
    if isinstance(data, LorenzData):
        return _lorenz(data, split, length)
    clips = _arrays(data, split, root, length) if isinstance(data, ArraysData) else _videos(data, split, root, length)
    if split == "test" and data.store:
        _warn_if_changed(data, clips.digest())
    return clips


def _warn_if_changed(data: StoredData | KTHData, digest: str) -> None:
    """Warn if the settings name a digest of other clips, those of a training. Other clips may be split in another way.

    The digest also depends on how frames are made from the files.
    """
    if data.store not in ("", digest):
        warnings.warn(
            f"{data.name} has changed since the training, or its frames are made with other settings (digest "
            f"{digest[:12]}… instead of {data.store[:12]}…), so the model may have been trained on clips that are now "
            "for testing; restore the files for fair scores",
            stacklevel=3,
        )


def pin_data(data: Data, root: str | Path | None = None) -> Data:
    """Fill in all settings that depend on this machine, so that a resumed run reads the same data.

    If the settings are those of an earlier run and name the digest of its clips, a warning says when the clips differ.

    - Moving-MNIST: the source that "auto" stands for here.
    - Videos, images and arrays: the absolute path.
    - Videos, images, arrays and KTH: a digest of the clips.
    - Arrays: the size of their frames, their axes and their range.
    - Lorenz series, and clips of a Python program: nothing.

    Args:
        data: the settings.
        root: the data root; see `data_root`.

    Raises:
        ZooError: if the data are missing or do not fit the settings.

    >>> pin_data(MovingMNISTData(), root="no/such/folder").source
    'embedded'
    """
    if isinstance(data, MovingMNISTData):
        return replace(data, source=data.source if data.source != "auto" else auto_source(data_root(root)))
    if isinstance(data, PythonData | LorenzData):
        return data
    if isinstance(data, StoredData):
        data = replace(data, name=f"{data.kind}:{place_of(data).resolve()}")
    if isinstance(data, ArraysData):
        frames = array_frames(data, root)
        data = replace(data, size=list(frames.shape[1:]), axes=frames.axes, range=list(frames.range))
    dataset = make_dataset(data, "train", root)
    assert isinstance(dataset, StoredClips)
    digest = dataset.store.digest()
    _warn_if_changed(data, digest)
    return replace(data, store=digest)


def place_of(data: StoredData) -> Path:
    """The folder or file in the name of the data set."""
    return Path(data.name.partition(":")[2]).expanduser()


def array_frames(data: ArraysData, root: str | Path | None = None) -> ArrayFrames:
    """Open the array that the settings describe.

    Raises:
        ZooError: in the cases of `zoo.data.array_clips.open_frames`, or if it has another number of channels.
    """
    frames = open_frames(place_of(data), root, data.key, data.axes, data.range, data.frame, data.resize)
    if frames.shape[0] != data.channels:
        raise ZooError(
            f"{place_of(data)} has {counted(frames.shape[0], 'channel')} (axes {frames.axes}), but data.channels = "
            f"{data.channels}; set data.channels and the model's channels to {frames.shape[0]}, or name other axes"
        )
    return frames


def own_clip(data: ArraysData, path: str | Path, count: int, root: str | Path | None = None) -> Tensor:
    """The first clip of a file of the same kind as the training data, `(T, C, H, W)` in [0, 1] with T ≤ count.

    Args:
        data: the settings of the training data, whose axes, range, size and stride are used. The axis N may be missing.
            A range that is only the default of the training data's dtype is replaced by the default of the file's.
        path: the file.
        count: the largest number T of steps in the clip.
        root: the data root; see `data_root`.

    Raises:
        ZooError: in the cases of `array_frames`, if a value is out of range, or if it is unknown what the values of
            the file's dtype mean.
    """
    file = array_files.open_array_file(path, data.key, root)
    axes = data.axes.replace("N", "") if len(file.shape) == len(data.axes) - 1 else data.axes
    value_range = list(_own_range(data, file, root))
    data = replace(data, name=f"arrays:{Path(path).absolute()}", axes=axes, range=value_range)
    return array_clips.read_clip(array_frames(data, root), count, data.stride)


def _own_range(data: ArraysData, file: ArrayFile, root: str | Path | None) -> Sequence[float]:
    """The values of black and white in a file other than that of the training data.

    A default range belongs to one dtype: bytes from 0 to 255 and floats from 0 to 1 mean the same.

    Raises:
        ZooError: if the dtypes differ, and the range does not follow from the dtype of the file.
    """
    if not data.range:
        return ()
    pinned, own = (data.range[0], data.range[-1]), array_clips.default_range(file.dtype)
    trained = _dtype_of(data, root)
    if own == pinned or (trained is not None and _alike(trained, file.dtype)):
        return pinned
    dtypes = map(np.dtype, ("u1", "f4")) if trained is None else [trained]
    if own and pinned in [array_clips.default_range(dtype) for dtype in dtypes]:
        return own
    if trained is None:
        return pinned  # somebody named this range, and nothing is known that speaks against it
    raise ZooError(
        f"{file.path} holds {file.dtype}, but the model was trained on {trained} in a range from {pinned[0]:g} to "
        f"{pinned[1]:g}, so it is unknown which values in this file are black and white; save it as {trained}, in "
        "this range"
    )


def _alike(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether equal numbers of two dtypes mean the same: the dtypes are equal, or both are floats."""
    return one.newbyteorder("=") == other.newbyteorder("=") or one.kind == other.kind == "f"


def _dtype_of(data: ArraysData, root: str | Path | None) -> np.dtype[Any] | None:
    """The dtype of the training data; None if they are not on this machine."""
    try:
        return array_files.open_array_file(place_of(data), data.key, root).dtype
    except ZooError:
        return None


def describe_own(data: StoredData, root: str | Path | None = None) -> Iterator[str]:
    """Prepare and check your own clips. Yields lines of text: the clips, unusable files with reasons, and the splits.

    Raises:
        ZooError: in the cases of `make_dataset`.
    """
    splits = Splits(data.val, data.test)
    if isinstance(data, ArraysData):
        yield from array_clips.report(array_frames(data, root), data.length, data.stride, splits)
    else:
        kind = Images if isinstance(data, ImagesData) else Videos
        folder, grey = place_of(data), data.channels == 1
        store = kind.prepare(folder, root, size=data.frame, grey=grey, resize=data.resize)
        yield from videos.report(store, folder, kind.noun, data.length, data.stride, splits)


def _arrays(data: ArraysData, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    return Arrays(
        array_frames(data, root),
        split,
        length=length,
        count=data.clips_per_epoch,
        endless=data.endless,
        seed=data.seed,
        stride=data.stride,
        splits=Splits(data.val, data.test),
        augmentation=_augmentation(data),
    )


def _augmentation(data: FilmedData) -> Augmentation:
    return Augmentation(data.flip, data.max_zoom, data.max_speed)


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


def _lorenz(data: LorenzData, split: Split, length: int) -> ClipDataset:
    train = split == "train"
    return Lorenz(
        split,
        length=length,
        count=data.clips_per_epoch if train else None,
        endless=data.endless and train,
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
        augmentation=_augmentation(data),
    )


def _videos(data: VideosData, split: Split, root: str | Path | None, length: int) -> ClipDataset:
    kind = Images if isinstance(data, ImagesData) else Videos
    return kind(
        data.name.partition(":")[2],
        split,
        root=root,
        size=data.frame,
        grey=data.channels == 1,
        length=length,
        count=data.clips_per_epoch,
        endless=data.endless,
        seed=data.seed,
        resize=data.resize,
        stride=data.stride,
        splits=Splits(data.val, data.test),
        augmentation=_augmentation(data),
    )
