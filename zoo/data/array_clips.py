"""Data sets of clips in array files."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.array_files import ArrayFile, open_array_file
from zoo.data.augmentation import Augmentation
from zoo.data.clips import counted, whole
from zoo.data.digits import Split, check_split
from zoo.data.resizing import resized
from zoo.data.splits import Splits, split_range
from zoo.data.stored_clips import StoredClips, span, too_short, windows_of
from zoo.errors import ZooError
from zoo.settings import Resize

_AXES = {3: "THW", 4: "NTHW", 5: "NTCHW"}
_STREAM = 0x41520001
_METHOD = 1  # version of the conversion from values to frames; part of the digest


class ArrayFrames:
    """The clips in an array, as frames in [0, 1]. It is a `zoo.data.stored_clips.FrameSource`.

    Args:
        file: the array.
        axes: letters that name the axes of the array in order: N clips, T steps in time, C channels, H rows, W columns.
            T, H and W are required. The default is THW, NTHW or NTCHW, by the number of axes.
        value_range: the lowest and highest value, which become 0 and 1. The default is 0 and 255 for uint8, and 0 and 1
            for floats and bool.
        size: height and width of the frames in pixels; 0 keeps those of the array.
        resize: how frames of another shape are brought to this size; see `zoo.data.resizing.resized`.

    Raises:
        ZooError: if the axes do not fit the array, the range is illegal, or the dtype needs an explicit range.
    """

    def __init__(
        self,
        file: ArrayFile,
        axes: str = "",
        value_range: Sequence[float] = (),
        size: tuple[int, int] = (0, 0),
        resize: Resize = "crop",
    ) -> None:
        self.file, self.folder, self.skipped = file, file.path, dict[str, str]()
        self.axes = _checked_axes(file, axes)
        self.range = _checked_range(file, value_range)
        sides = dict(zip(self.axes, file.shape, strict=True))
        self.clips, self.steps = sides.get("N", 1), sides["T"]
        height, width = size if any(size) else (sides["H"], sides["W"])
        self.shape = (sides.get("C", 1), height, width)
        self._resize: Resize = resize

    def read(self, name: str, start: int, length: int) -> NDArray[Any]:
        """Read frames `(T, C, H, W)` of a clip: float32, or uint8 if the array holds bytes from 0 to 255 in this size.

        Args:
            name: the number of the clip, as text.
            start: the first frame, counted from 0.
            length: the number of frames.

        Raises:
            ZooError: if a value is NaN or out of range.
        """
        values = self.values(name, start, length)
        exact = values.dtype == np.uint8 and self.range == (0.0, 255.0)
        if exact and values.shape[2:] == self.shape[1:]:
            return values
        low, high = self.range
        if not exact:
            _check_values(values, self.range, f"{self.file.path}: clip {name}, steps {start} to {start + length - 1}")
        frames = torch.from_numpy(((values.astype(np.float64) - low) / (high - low)).astype(np.float32))
        small: NDArray[Any] = resized(frames, self.shape[1:], self._resize).clamp(0, 1).numpy()
        return small

    def values(self, name: str, start: int, length: int) -> NDArray[Any]:
        """The values of a clip as they are in the array, `(T, C, H, W)`."""
        places: dict[str, int | slice] = {"N": int(name), "T": slice(start, start + length)}
        values = self.file.read(tuple(places.get(axis, slice(None)) for axis in self.axes))
        axes = self.axes.replace("N", "")
        if "C" not in axes:
            values, axes = values[..., None], axes + "C"
        return np.ascontiguousarray(values.transpose([axes.index(axis) for axis in "TCHW"]))

    def check(self, names: Sequence[str]) -> None:
        """Do nothing: an array is read from the user's own file, so there is no copy that could differ."""

    def digest(self) -> str:
        """A hash of the file's content and of how frames are made from it; see `ClipDataset.digest`."""
        how = json.dumps([_METHOD, self.axes, self.range, self.shape, self._resize])
        return hashlib.sha256(f"{self.file.digest()} {how}".encode()).hexdigest()


class Arrays(StoredClips):
    """Clips of an array in a file.

    The split "train" has `count` clips at random positions, all equally likely. The splits "val" and "test" have
    consecutive windows of `length` steps. An array with an axis N is split by clips, any other array by time.

    Args:
        frames: the array.
        split: "train", "val" or "test".
        length: T, the number of frames in a clip.
        count: number of training clips in an epoch.
        endless: whether to draw new training clips in each epoch.
        seed: random seed of the training clips.
        stride: a clip consists of every stride-th step.
        splits: the ranges that are held out. By default the last tenth is for testing, and the tenth before it for
            validation.
        augmentation: how training clips are changed at random; see `zoo.data.Augmentation`.

    Raises:
        ZooError: if there are too few clips or steps, or an argument is out of range.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/clips.npy", np.zeros((10, 30, 16, 16), np.uint8))
    ...     test = Arrays(open_frames(f"{folder}/clips.npy", folder), "test", length=20)
    ...     test.clips([0]).shape
    torch.Size([1, 20, 1, 16, 16])
    """

    noun = "sequence"

    def __init__(
        self,
        frames: ArrayFrames,
        split: Split = "train",
        *,
        length: int = 20,
        count: int = 10_000,
        endless: bool = False,
        seed: int = 0,
        stride: int = 1,
        splits: Splits = Splits(),  # noqa: B008 - immutable
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
    ) -> None:
        check_split(split)
        length, stride = whole("length", length), whole("stride", stride)
        train, path = split == "train", frames.file.path
        windows, parts = [], pieces(frames, splits)[split]
        for name, steps in parts:
            windows += windows_of(name, steps, length, stride, every=train)
        _, height, width = frames.shape
        super().__init__(
            frames,
            windows,
            length=length,
            comparable_with=f"arrays {path.name}, {height}×{width}" + (f", every {stride} steps" if stride > 1 else ""),
            title=f"array in {path}, {split}",
            parts=parts,
            count=count if train else None,
            endless=endless and train,
            seed=seed,
            stream=_STREAM,
            stride=stride,
            augmentation=augmentation,
        )


def pieces(frames: ArrayFrames, splits: Splits) -> dict[str, list[tuple[str, range]]]:
    """The parts of an array in each split, as pairs of a clip's number and its steps.

    Raises:
        ZooError: in the cases of `zoo.data.splits.split_range`.
    """
    try:
        if "N" not in frames.axes:
            return {split: [("0", steps) for steps in parts] for split, parts in _split(frames.steps, splits, False)}
        return {
            split: [(str(clip), range(frames.steps)) for part in parts for clip in part]
            for split, parts in _split(frames.clips, splits, True)
        }
    except ZooError as error:
        raise ZooError(f"{frames.file.path}: {error}") from None


def report(frames: ArrayFrames, length: int, stride: int, splits: Splits) -> Iterator[str]:
    """Describe an array in lines of text: its content, the distribution of its values, its faults and the splits.

    The whole array is read. Training and evaluation read only the steps that they need, so a value that cannot be used
    stops them only when they come to it. The line about such a value names what it stops.

    Raises:
        ZooError: in the cases of `pieces`.
    """
    file = frames.file
    sides = ", ".join(f"{axis} {side}" for axis, side in zip(frames.axes, file.shape, strict=True))
    yield f"{file.path}{f', {file.key}' * bool(file.key)}: {file.dtype}, {sides}, digest {frames.digest()}"
    of_split = _pieces_if_possible(frames, splits)
    count, total, squares = np.zeros((3, frames.shape[0]))
    lowest, highest = np.inf, -np.inf
    for clip in range(frames.clips):
        for start in range(0, frames.steps, 64):
            values = frames.values(str(clip), start, 64).astype(np.float64)
            try:
                _check_values(values, frames.range, f"clip {clip}, steps {start} to {start + len(values) - 1}")
            except ZooError as error:
                stopped = [split for split in of_split if _has(of_split[split], str(clip), start, values, frames.range)]
                yield f"cannot be used: {error}" + _stops(stopped)
            finite = np.isfinite(values)  # the others do not count
            lowest = min(lowest, values.min(where=finite, initial=np.inf))
            highest = max(highest, values.max(where=finite, initial=-np.inf))
            scaled = np.where(finite, (values - frames.range[0]) / (frames.range[1] - frames.range[0]), 0)
            total, squares = total + scaled.sum((0, 2, 3)), squares + np.square(scaled).sum((0, 2, 3))
            count += finite.sum((0, 2, 3))
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    if not count.any():
        yield "no value is finite"
        return
    yield (
        f"values from {lowest:g} to {highest:g}, in a range from {frames.range[0]:g} to {frames.range[1]:g}; as frames "
        f"in [0, 1] they have mean {[round(float(each), 4) for each in mean]} and standard deviation "
        f"{[round(float(each), 4) for each in std]}"
    )
    parts_of = pieces(frames, splits)
    yield from _too_short(frames, parts_of, span(length, stride))
    for split, parts in parts_of.items():
        positions = sum(window.starts for part in parts for window in windows_of(*part, length, stride, every=True))
        steps = sum(len(part[1]) for part in parts)
        yield (
            f"{split}: {counted(len(parts), 'clip')}, {counted(steps, 'frame')}, {counted(positions, 'position')} of "
            f"{counted(length, 'frame')}"
        )


def _pieces_if_possible(frames: ArrayFrames, splits: Splits) -> dict[str, list[tuple[str, range]]]:
    """The parts of each split; none if the array cannot be split, so that its values can be described before that."""
    try:
        return pieces(frames, splits)
    except ZooError:
        return {}


def _has(
    parts: list[tuple[str, range]], clip: str, start: int, values: NDArray[np.float64], legal: tuple[float, float]
) -> bool:
    """Whether one of some steps of a clip, which begin at `start`, is in these parts and has an illegal value."""
    legal_steps = ((values >= legal[0]) & (values <= legal[1])).all((1, 2, 3))  # this form also refuses NaN
    bad = start + np.flatnonzero(~legal_steps)
    return any(name == clip and any(int(step) in steps for step in bad) for name, steps in parts)


_READERS = {"train": "training", "val": "validation during training", "test": "zoo evaluate, compare and report"}


def _stops(splits: Sequence[str]) -> str:
    """What a value that cannot be used stops, as the end of a line."""
    return f"; it stops {' and '.join(f'{_READERS[split]} ({split})' for split in splits)}" if splits else ""


def _too_short(frames: ArrayFrames, parts_of: dict[str, list[tuple[str, range]]], needed: int) -> Iterator[str]:
    """A line for the clips that are shorter than a clip of the data set: all have one length, or are parts in time."""
    if "N" in frames.axes:
        if frames.steps < needed:
            each = f"each of {counted(frames.clips, 'clip')}"
            yield f"too short: {too_short(each, frames.steps, needed)}"
        return
    for split, parts in parts_of.items():
        for _, steps in parts:
            if len(steps) < needed:
                name = f"the part of {split} from step {steps.start} to step {steps.stop - 1}"
                yield f"too short: {too_short(name, len(steps), needed)}"


def open_frames(
    path: str | Path,
    root: str | Path | None,
    key: str = "",
    axes: str = "",
    value_range: Sequence[float] = (),
    size: tuple[int, int] = (0, 0),
    resize: Resize = "crop",
) -> ArrayFrames:
    """Open the clips in an array file; see `ArrayFrames` and `zoo.data.array_files.open_array_file`."""
    return ArrayFrames(open_array_file(path, key, root), axes, value_range, size, resize)


def read_clip(frames: ArrayFrames, count: int, stride: int) -> Tensor:
    """Every stride-th step of the first clip, at most `count` of them: `(T, C, H, W)` in [0, 1].

    Raises:
        ZooError: if a value is NaN or out of range.
    """
    steps = frames.read("0", 0, min(span(count, stride), frames.steps))[::stride]
    return torch.from_numpy(steps) / 255 if steps.dtype == np.uint8 else torch.from_numpy(steps)


def _split(count: int, splits: Splits, clips: bool) -> Iterator[tuple[str, list[range]]]:
    yield from split_range(count, splits, "clips" if clips else "steps in time").items()


def _checked_axes(file: ArrayFile, axes: str) -> str:
    rank = len(file.shape)
    shape = "×".join(map(str, file.shape))
    if not axes and rank not in _AXES:
        raise ZooError(
            f"{file.path} has an array of {rank} ax{'i' if rank == 1 else 'e'}s ({shape}), but 3 to 5 of the "
            "axes N, T, C, H, W are needed"
        )
    axes = axes.upper() or _AXES[rank]
    if len(set(axes)) != len(axes) or not set("THW") <= set(axes) <= set("NTCHW"):
        raise ZooError(f"data.axes = {axes!r} must have T, H and W, and may also have N and C, each only once")
    if len(axes) != rank:
        raise ZooError(
            f"data.axes = {axes!r} names {len(axes)} axes, but the array in {file.path} has {rank} ({shape})"
        )
    if 0 in file.shape:
        raise ZooError(f"{file.path} has an array without values ({shape}); name another file")
    return axes


def _checked_range(file: ArrayFile, value_range: Sequence[float]) -> tuple[float, float]:
    if value_range:
        low, high = float(value_range[0]), float(value_range[-1])
        if len(value_range) != 2 or not (np.isfinite([low, high]).all() and low < high):
            raise ZooError(f"data.range = {list(value_range)} must be two numbers, the lower one first")
        return low, high
    if legal := default_range(file.dtype):
        return legal
    raise ZooError(f"{file.path} holds {file.dtype}; set data.range to the values of black and white")


def default_range(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """The values of black and white of an array that is given without a range; None if its dtype does not tell."""
    if dtype == np.uint8:
        return 0.0, 255.0
    return (0.0, 1.0) if dtype.kind in "fb" else None


def _check_values(values: NDArray[Any], legal: tuple[float, float], where: str) -> None:
    """Raise a ZooError if a value is NaN, infinite or out of range."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values).all((1, 2, 3))))
        raise ZooError(
            f"{where}: step {bad} of these, counted from 0, has a NaN or infinite value; replace the value, or leave "
            "out this clip"
        )
    low, high = float(values.min()), float(values.max())
    if low < legal[0] or high > legal[1]:
        raise ZooError(
            f"{where}: values from {low:g} to {high:g} are outside the range from {legal[0]:g} to {legal[1]:g}; set "
            "data.range to the true range"
        )
