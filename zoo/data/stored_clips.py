"""Data sets of clips that are cut from a store of decoded videos, or from an array."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from zoo.counter_rng import uniforms
from zoo.data.augmentation import Augmentation, Crops
from zoo.data.clips import ClipDataset, check_indices, counted
from zoo.errors import ZooError


class FrameSource(Protocol):
    """Clips of frames by name: a `zoo.data.frame_store.Store`, or an array."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the frames."""
        ...

    @property
    def folder(self) -> Path:
        """The folder of the store, or the file of the array."""
        ...

    @property
    def skipped(self) -> dict[str, str]:
        """The reason why a clip could not be used, by name."""
        ...

    def read(self, name: str, start: int, length: int) -> NDArray[Any]:
        """Frames `start` to `start + length - 1` of a clip, `(length, C, H, W)`: uint8, or float32 in [0, 1]."""
        ...

    def check(self, names: Sequence[str]) -> None:
        """Raise a ZooError if one of these clips has changed since it was stored."""
        ...

    def digest(self) -> str:
        """See `ClipDataset.digest`."""
        ...


_COLOURS = {1: "grey", 3: "RGB"}


class Window(NamedTuple):
    """Where clips of a video may start: at any of `starts` consecutive frames from `start` on, counted from 0."""

    name: str
    start: int
    starts: int = 1


class StoredFrames(NamedTuple):
    """Frames `(B, T, C, H, W)`, uint8, or float32 in [0, 1]."""

    frames: Tensor


class AugmentedFrames(NamedTuple):
    """Frames as in `StoredFrames`, and how they are mirrored and enlarged; see `zoo.data.augmentation.Crops`."""

    frames: Tensor
    flipped: Tensor
    share: Tensor
    centre: Tensor


class StoredClips(ClipDataset, Dataset[Tensor]):
    """Clips of `length` frames: either each window once, or `count` clips drawn uniformly from all positions.

    A drawn clip is a function of (seed, index). Windows are in a pseudo-random order by a hash of each, so that the
    first few windows are a fair sample.

    Args:
        store: the decoded videos, or the array.
        windows: where clips may start.
        length: T, the number of frames in a clip.
        comparable_with: data sets with equal values are comparable; see `ClipDataset`.
        parts: for a user's own clips: the parts of the store that this split consists of. A hash of the parts and the
            store's content is then added to `comparable_with`, because other clips may have the same names.
        title: the first words of `describe`.
        count: number of drawn clips in an epoch; None for each window once.
        endless: whether to accept every index below 2⁶³, so that each epoch draws new clips.
        seed: random seed of drawn clips, 0 ≤ seed < 2⁶⁴.
        stream: a number that differs for each kind of data set, so that their draws are independent.
        stride: a clip consists of every stride-th frame of the store.
        augmentation: how drawn clips are changed at random; windows are never changed. With `max_speed`, a video is
            drawn as at speed 1; then all positions that fit the clip's speed are equally likely.

    Raises:
        ZooError: if an argument is out of range, there is no window, or stored frames have changed.
    """

    noun: ClassVar[str] = "video"  # what `describe` calls an entry of the store

    def __init__(
        self,
        store: FrameSource,
        windows: Sequence[Window],
        *,
        length: int,
        comparable_with: str,
        title: str,
        parts: Sequence[object] | None = None,
        count: int | None = None,
        endless: bool = False,
        seed: int = 0,
        stream: int = 0,
        stride: int = 1,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
    ) -> None:
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ZooError(f"count = {count!r} must be a whole number, at least 1")
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ZooError(f"seed = {seed!r} must be a whole number, at least 0 and below 2^64")
        if not windows:
            every = f" with stride {stride}, which span {counted(span(length, stride), 'frame')}" if stride > 1 else ""
            raise ZooError(
                f"{title}: no clip has {counted(length, 'frame')}{every}; use a smaller length (data.length, which is "
                "--data.length on the command line) or horizon, or add longer clips"
            )
        store.check(sorted({window.name for window in windows}))
        self.store, self.length = store, length
        self._comparable_with, self._parts = comparable_with, parts
        self.endless, self.seed = endless, seed
        self.windows, self.drawn = sorted(windows, key=_order), count is not None
        self.count = len(windows) if count is None else count
        self._title, self._stream, self._stride = title, stream, stride
        self._ends = np.cumsum([window.starts for window in self.windows])
        self.augmentation = augmentation if self.drawn else Augmentation()

    def __len__(self) -> int:
        return self.count

    @cached_property
    def comparable_with(self) -> str:  # type: ignore[override]  # nobody assigns to it
        """See `ClipDataset`. It is computed when it is needed, because the hash of a large array takes a while."""
        if self._parts is None:
            return self._comparable_with
        content = hashlib.sha256(f"{self.store.digest()} {list(self._parts)}".encode(errors="surrogateescape"))
        return f"{self._comparable_with}, content {content.hexdigest()[:8]}"

    def places(self, indices: Sequence[int]) -> list[tuple[str, int, int]]:
        """The video, the first frame (counted from 0) and the stride of each clip.

        Raises:
            ZooError: if an index is out of range.
        """
        clips = check_indices(indices, 2**63 if self.endless else self.count)
        if not self.drawn:
            return [(self.windows[i].name, self.windows[i].start, self._stride) for i in clips]
        positions = uniforms(self.seed, self._stream, clips, 1)[:, 0] * self._ends[-1]
        speeds = self.augmentation.speeds(self.seed, clips)
        return [self._place(float(position), int(speed)) for position, speed in zip(positions, speeds, strict=True)]

    def _place(self, position: float, speed: int) -> tuple[str, int, int]:
        which = int(np.searchsorted(self._ends, position, side="right"))
        window = self.windows[which]
        offset = position - int(self._ends[which] - window.starts)
        further = (self.length - 1) * self._stride  # each step of speed makes a clip reach this many frames further
        speed = min(speed, 1 + (window.starts - 1) // max(1, further))
        starts = window.starts - further * (speed - 1)
        start = int(offset) if speed == 1 else min(int(offset / window.starts * starts), starts - 1)
        return window.name, window.start + start, self._stride * speed

    def fetch(self, indices: Sequence[int]) -> StoredFrames | AugmentedFrames:
        """Read the clips.

        Raises:
            ZooError: if an index is out of range.
        """
        clips = [
            self.store.read(name, start, span(self.length, stride))[::stride]
            for name, start, stride in self.places(indices)
        ]
        stacked = np.stack(clips) if clips else np.empty((0, self.length, *self.store.shape), np.uint8)
        frames = torch.from_numpy(stacked)
        if self.augmentation == Augmentation():
            return StoredFrames(frames)
        return AugmentedFrames(frames, *self.augmentation.crops(self.seed, indices))

    def render(self, batch: StoredFrames | AugmentedFrames) -> Tensor:
        """Return the frames `(B, T, C, H, W)`, float32 in [0, 1]."""
        frames = batch.frames.to(torch.float32)
        frames = frames / 255 if batch.frames.dtype == torch.uint8 else frames
        if isinstance(batch, StoredFrames):
            return frames
        return self.augmentation.apply(frames, Crops(*batch[1:]))

    def describe(self) -> str:
        """Describe the data in one line: split, counts, sizes, and the folder of the store."""
        sources = counted(len({window.name for window in self.windows}), self.noun)
        channels, height, width = self.store.shape
        clips = "endless" if self.endless else f"{self.count:,}"
        one = self.count == 1 and not self.endless
        return (
            f"{self._title}: {clips} {'random ' * self.drawn}clip{'s' * (not one)} of {counted(self.length, 'frame')} "
            f"{height}×{width} {_COLOURS.get(channels, f'of {channels} channels')} from {sources} in "
            f"{self.store.folder}{f', every {self._stride} frames' if self._stride > 1 else ''}"
            + self.augmentation.describe()
            + (f" ({len(self.store.skipped)} left out)" if self.store.skipped else "")
        )

    def left_out(self) -> list[str]:
        """The videos that cannot be used; see `ClipDataset.left_out`."""
        return [f"{name} {reason}" for name, reason in self.store.skipped.items()]

    def digest(self) -> str:
        """The digest of the store; see `ClipDataset.digest`."""
        return self.store.digest()


def span(length: int, stride: int) -> int:
    """The number of frames from the first to the last of a clip of `length` frames with this stride."""
    return (length - 1) * stride + 1


def too_short(name: str, frames: int, needed: int) -> str:
    """A line about a video or a part of an array that is shorter than a clip."""
    return f"{name} has {counted(frames, 'frame')}, but a clip needs {needed}"


def windows_of(name: str, frames: range, length: int, stride: int, every: bool) -> list[Window]:
    """Where clips may start in some frames of a video.

    Args:
        name: the name of the video.
        frames: the frames from which clips are cut.
        length: T, the number of frames in a clip.
        stride: the distance between two frames of a clip.
        every: True for every possible start; False for consecutive clips from the first frame on.
    """
    reach = span(length, stride)
    starts = len(frames) - reach + 1
    if starts < 1:
        return []
    if every:
        return [Window(name, frames.start, starts)]
    return [Window(name, frames.start + start) for start in range(0, starts, reach)]


def _order(window: Window) -> bytes:
    return hashlib.sha256(f"{window.name} {window.start}".encode(errors="surrogateescape")).digest()
