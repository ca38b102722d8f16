"""Moving-MNIST: digits that move over a black canvas and are reflected at its edges (Srivastava et al., ICML 2015)."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from zoo.counter_rng import uniforms
from zoo.data.arrays import BadArray, open_array
from zoo.data.clips import ClipDataset, check_indices, counted
from zoo.data.digits import SIZE, Source, Split, check_split, has_mnist, load_digits
from zoo.data.download import download_mnist
from zoo.data.regular import open_regular
from zoo.data.root import data_root
from zoo.errors import ZooError
from zoo.files import path_of

COUNTS = {"train": 10_000, "val": 3_000, "test": 5_000}
PUBLISHED_LENGTH = 20  # frames in a published clip
PUBLISHED_SIZE = (64, 64)  # height and width of a published frame, in pixels
SPEED = 0.1  # distance in each frame, as a fraction of the free range (canvas minus digit)
_RULE = 1  # a change that makes other clips of the same digits and settings must increase it
_ALIKE = 0.85  # see `_smoother_axis`
_STREAMS = {"train": 0x4D4D0001, "val": 0x4D4D0002, "test": 0x4D4D0003}


class MovingDigits(NamedTuple):
    """What `render` needs to draw a batch of clips.

    Args:
        images: the digits, `(B, N, 28, 28)` uint8.
        corners: row and column of the top left corner of each digit in each frame, `(B, T, N, 2)` int64.
    """

    images: Tensor
    corners: Tensor


class MovingMNIST(ClipDataset, Dataset[Tensor]):
    """Clips of moving digits, generated on request. Each is a function of (seed, split, index).

    A digit starts at a uniformly random position, in a direction uniform in [0, 2π). The free range of its corner is
    the canvas minus the digit, 36 pixels on a canvas of 64. In each frame the digit moves by 0.1 of the free range,
    here 3.6 pixels. Positions are truncated to whole pixels. At an edge the position is clamped, and that component of
    the velocity changes its sign. Where digits overlap, the brighter pixel is shown. The first frames of a clip do not
    depend on its length.

    Args:
        split: "train", "val" or "test". No digit is in two splits.
        root: the data root; see `zoo.data.data_root`.
        digits: N, the number of moving digits in a clip, at least 1.
        size: height and width of a frame in pixels, as one number or (height, width); at least 28. The free range is
            computed for each axis.
        length: T, the number of frames in a clip.
        count: the number of clips; by default 10,000 in "train", 3,000 in "val" and 5,000 in "test".
        endless: whether to accept every index below 2⁶³, and not only those below `count`.
        source: "mnist", "embedded" for the digits of scikit-learn, or "auto" for MNIST if it is in the data root and
            the embedded digits (with a warning) otherwise.
        seed: random seed of the clips, 0 ≤ seed < 2⁶⁴.
        download: whether to download MNIST first if it is not in the data root.

    Raises:
        ZooError: if an argument is out of range, or digits are missing or damaged.

    >>> test = MovingMNIST("test", source="embedded", length=5)
    >>> test.clips([3, 4]).shape, test[3].shape
    (torch.Size([2, 5, 1, 64, 64]), torch.Size([5, 1, 64, 64]))
    """

    def __init__(
        self,
        split: Split = "train",
        *,
        root: str | Path | None = None,
        digits: int = 2,
        size: int | tuple[int, int] = 64,
        length: int = 20,
        count: int | None = None,
        endless: bool = False,
        source: Source = "auto",
        seed: int = 0,
        download: bool = False,
    ) -> None:
        check_split(split)
        count = COUNTS[split] if count is None else count
        for name, value in (("digits", digits), ("length", length), ("count", count)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ZooError(f"{name} = {value!r} must be a whole number, at least 1")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
            raise ZooError(f"seed = {seed!r} must be a whole number, at least 0 and below 2^64")
        sides = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side >= SIZE for side in sides):
            raise ZooError(
                f"size = {size!r} must be a side or (height, width) of at least {SIZE} pixels, the size of a digit"
            )
        if download and source != "embedded" and not has_mnist(data_root(root)):
            download_mnist(root)
        self.split, self.digits, self.length, self.count = split, digits, length, count
        self.size, self.seed, self.endless = (sides[0], sides[1]), int(seed), endless
        handwritten = load_digits(split, root, source)
        self._images, self._source = handwritten.images, handwritten.name
        self.comparable_with = f"moving-mnist-{digits}"
        if self.size != (64, 64) or not handwritten.published:  # there are no published results for such clips
            self.comparable_with += f", {self.size[0]}×{self.size[1]}, {self._source}"

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: Sequence[int]) -> MovingDigits:
        """Choose the digits and trajectories of the clips.

        Raises:
            ZooError: if an index is out of range.
        """
        clips = check_indices(indices, 2**63 if self.endless else self.count)
        draws = uniforms(self.seed, _STREAMS[self.split], clips, 4 * self.digits).reshape(-1, self.digits, 4)
        which = torch.from_numpy((draws[..., 0] * len(self._images)).astype(np.int64))
        track = trajectories(draws[..., 1:3], 2 * np.pi * draws[..., 3], self.length)
        free = np.subtract(self.size, SIZE)
        return MovingDigits(self._images[which], torch.from_numpy((track * free).astype(np.int64)))

    def render(self, batch: MovingDigits) -> Tensor:
        """Draw the frames `(B, T, 1, H, W)`, float32 in [0, 1], on the device of the batch."""
        return self.layers(batch).amax(2)[:, :, None].to(torch.float32) / 255

    def layers(self, batch: MovingDigits) -> Tensor:
        """Draw each digit into its own frames, `(B, T, N, H, W)` uint8."""
        (height, width), (clips, count) = self.size, batch.images.shape[:2]
        down, right = height - SIZE, width - SIZE
        # each position of a digit is a window into the digit with a black border; the windows are a view, of which
        # indexing copies one for each frame
        padded = F.pad(batch.images, (right, right, down, down))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, N, down + 1, right + 1, H, W)
        clip = torch.arange(clips, device=padded.device)[:, None, None]
        digit = torch.arange(count, device=padded.device)
        row, column = batch.corners.unbind(-1)
        return windows[clip, digit, down - row, right - column]

    def describe(self) -> str:
        """Describe the data in one line: split, sizes, and source of the digits."""
        clips = "endless clips" if self.endless else counted(self.count, "clip")
        return (
            f"Moving-MNIST {self.split}: {clips} of {counted(self.length, 'frame')} {self.size[0]}×{self.size[1]}, "
            f"{self.digits} moving digit{'s' * (self.digits > 1)} each, from {self._source}"
        )

    def digest(self) -> str:
        """A hash of the split's digits and of the rule by which they move; see `ClipDataset.digest`."""
        content = hashlib.sha256(f"moving digits, rule {_RULE}".encode())
        content.update(self._images.numpy().data)
        return content.hexdigest()


def trajectories(start: NDArray[np.float64], angle: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Positions in the unit square of points that move by `SPEED` in each frame and are reflected at its edges.

    Args:
        start: rows and columns in the first frame, `(B, N, 2)`, in [0, 1].
        angle: directions in radians from the column axis, `(B, N)`.
        length: T, the number of frames.

    Returns:
        The positions `(B, T, N, 2)`.
    """
    position = np.empty((length, *start.shape))
    position[0] = start
    velocity = SPEED * np.stack([np.sin(angle), np.cos(angle)], -1)
    for t in range(1, length):
        moved = position[t - 1] + velocity
        velocity = np.where((moved <= 0) | (moved >= 1), -velocity, velocity)
        position[t] = moved.clip(0, 1)
    return position.swapaxes(0, 1)


def _smoother_axis(array: NDArray[np.uint8]) -> set[int]:
    """The axis, 0 or 1, along which neighbouring images are clearly more alike; empty if there is no such axis.

    With two moving digits, neighbouring frames differ by 0.53 to 0.77 of the difference between neighbouring clips.
    """
    sample = array[:16, :16]
    if min(sample.shape[:2]) < 2:
        return set()
    along = [_difference(sample), _difference(sample.swapaxes(0, 1))]
    return {axis for axis in (0, 1) if along[axis] < _ALIKE * along[1 - axis]}


def _difference(images: NDArray[np.uint8]) -> float:
    """The mean absolute difference of neighbours along the first axis."""
    pairs = pairwise(images)
    return float(np.mean([np.abs(np.subtract(after, before, dtype=np.int16)).mean() for before, after in pairs]))


class GreyFrames(NamedTuple):
    """Frames `(B, T, H, W)`, uint8."""

    frames: Tensor


class PublishedMovingMNIST(ClipDataset, Dataset[Tensor]):
    """The 10,000 published test clips, from the file `mnist_test_seq.npy`: `(20, 10000, 64, 64)` uint8, frames first.

    Files with fewer clips can be read too, and files with the clips first. Clips of another length or size are refused,
    because their scores could not be compared with published ones.

    Two tests tell which of the first two axes counts frames. First, clips have 20 frames, if only one of the axes has
    this length. Second, neighbouring frames of a clip are more alike than the same frame of neighbouring clips. If
    neither test decides, or they disagree, the file is refused.

    The file is memory-mapped, so that only the requested clips are read.

    Args:
        path: the file, `(20, clips, 64, 64)` or `(clips, 20, 64, 64)`, uint8.

    Raises:
        ZooError: if the file does not exist, does not hold such an array, or its order of axes is unclear.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/clips.npy", np.zeros((20, 3, 64, 64), np.uint8))
    ...     PublishedMovingMNIST(f"{folder}/clips.npy")[2].shape
    torch.Size([20, 1, 64, 64])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path_of("path", path)
        array = self._open()
        self._frame_axis = self._find_frame_axis(array)
        self.comparable_with = "moving-mnist-2"
        self.length, self.count = int(array.shape[self._frame_axis]), int(array.shape[1 - self._frame_axis])

    def _open(self) -> NDArray[np.uint8]:
        """Map the file. It is mapped for each access, so that workers receive only the path."""
        try:
            array: NDArray[np.uint8] = open_array(self.path)
        except BadArray as error:
            raise ZooError(f"{self.path} {error}; fetch mnist_test_seq.npy") from error
        if array.ndim != 4 or array.dtype != np.uint8 or not array.size:
            raise ZooError(
                f"{self.path} does not hold (frames, clips, height, width) in uint8; fetch mnist_test_seq.npy"
            )
        if PUBLISHED_LENGTH not in array.shape[:2] or array.shape[2:] != PUBLISHED_SIZE:
            height, width = PUBLISHED_SIZE
            raise ZooError(
                f"{self.path} does not hold published clips, which have {PUBLISHED_LENGTH} frames of {height}×{width} "
                f"pixels, but an array {array.shape}; fetch mnist_test_seq.npy, whose shape is (20, 10000, 64, 64)"
            )
        return array

    def _find_frame_axis(self, array: NDArray[np.uint8]) -> int:
        lengths = array.shape[:2]
        by_length = {lengths.index(PUBLISHED_LENGTH)} if lengths.count(PUBLISHED_LENGTH) == 1 else set()
        axes: set[int] = by_length | _smoother_axis(array)
        if len(axes) != 1:
            raise ZooError(
                f"{self.path} holds an array {array.shape}, and it is unclear whether axis 0 or axis 1 counts frames; "
                f"save it as (frames, clips, height, width), with clips of {PUBLISHED_LENGTH} frames that move"
            )
        return axes.pop()

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: Sequence[int]) -> GreyFrames:
        """Read the clips.

        Raises:
            ZooError: if an index is out of range.
        """
        which = check_indices(indices, self.count)
        array = self._open()
        clips = array[which] if self._frame_axis else array[:, which].swapaxes(0, 1)  # (B, T, H, W)
        return GreyFrames(torch.from_numpy(np.ascontiguousarray(clips)))

    def render(self, batch: GreyFrames) -> Tensor:
        """Return the frames `(B, T, 1, H, W)`, float32 in [0, 1]."""
        return batch.frames[:, :, None] / 255

    def describe(self) -> str:
        """Describe the data in one line: the file and its size."""
        return (
            f"published Moving-MNIST test: {counted(self.count, 'clip')} of {counted(self.length, 'frame')}, MNIST "
            f"digits, from {self.path}"
        )

    def digest(self) -> str:
        """SHA-256 of the whole file; see `ClipDataset.digest`.

        Raises:
            ZooError: if the file cannot be read.
        """
        try:
            with open_regular(self.path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ZooError(f"{self.path} cannot be read ({error.strerror}); fetch mnist_test_seq.npy") from None
