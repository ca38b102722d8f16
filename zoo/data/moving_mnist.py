"""Moving-MNIST: digits that drift over a black canvas and bounce off its edges (Srivastava et al., ICML 2015)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from zoo.counter_rng import uniforms
from zoo.data.clips import ClipDataset, check_indices
from zoo.data.digits import SIZE, Source, Split, check_split, has_mnist, load_digits
from zoo.data.download import download_mnist
from zoo.data.root import data_root
from zoo.errors import ZooError

COUNTS = {"train": 10_000, "val": 3_000, "test": 5_000}
SPEED = 0.1  # of the free side, in each frame
_RULE = 1  # to be raised by whatever makes other clips of the same digits and settings
_STREAMS = {"train": 0x4D4D0001, "val": 0x4D4D0002, "test": 0x4D4D0003}


class MovingDigits(NamedTuple):
    """What a batch of clips is rendered from.

    `images` `(B, N, 28, 28)` uint8 are the digits; `corners` `(B, T, N, 2)` int64 are the row and column of the top
    left corner of each digit in each frame.
    """

    images: Tensor
    corners: Tensor


class MovingMNIST(ClipDataset, Dataset[Tensor]):
    """Clips of moving digits, each a pure function of (seed, split, index): nothing is stored.

    A digit starts uniformly in the free square (canvas minus digit), in a direction uniform in [0, 2π), and moves by
    0.1 of the free side in each frame. Positions are truncated to whole pixels. At a wall the position is clamped and
    that component of the velocity flips. Where digits overlap, the brighter pixel is seen. A clip begins with the
    same frames, however long it is.

    Args:
        split: "train", "val" or "test"; their digits are disjoint.
        root: the data root, see `zoo.data.data_root`.
        digits: N, moving digits in a clip, at least 1.
        size: side of a frame in pixels, or (height, width); at least 28. The free side is that of each axis.
        length: T, frames of a clip.
        count: clips; by default 10,000, 3,000 and 5,000 in the three splits.
        endless: accept every index below 2⁶³, not only those below `count`.
        source: "mnist", "embedded" (scikit-learn's digits), or "auto": MNIST if the root has it.
        seed: of the clips, 0 ≤ seed < 2⁶⁴.
        download: fetch MNIST first if the root lacks it.

    Raises:
        ZooError: an argument outside its range, or digits that are missing or damaged.

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
        self._images, self._source = load_digits(split, root, source)
        self.comparable_with = f"moving-mnist-{digits}"
        if self.size != (64, 64) or "MNIST" not in self._source:  # nobody has published results on these
            self.comparable_with += f", {self.size[0]}×{self.size[1]}, {self._source}"

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: Sequence[int]) -> MovingDigits:
        """Draw the digits and trajectories of the clips.

        Raises:
            ZooError: an index outside the data set.
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
        """Draw each digit into frames of its own: `(B, T, N, H, W)` uint8."""
        (height, width), (clips, count) = self.size, batch.images.shape[:2]
        down, right = height - SIZE, width - SIZE
        # every place of a digit is a window on the digit with black around it: a view, of which indexing copies one
        # for each frame
        padded = F.pad(batch.images, (right, right, down, down))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, N, down + 1, right + 1, H, W)
        clip = torch.arange(clips, device=padded.device)[:, None, None]
        digit = torch.arange(count, device=padded.device)
        row, column = batch.corners.unbind(-1)
        return windows[clip, digit, down - row, right - column]

    def describe(self) -> str:
        """One line: split, sizes, and which digits."""
        clips = "endless clips" if self.endless else f"{self.count:,} clips"
        return (
            f"Moving-MNIST {self.split}: {clips} of {self.length} frames {self.size[0]}×{self.size[1]}, "
            f"{self.digits} moving digit{'s' * (self.digits > 1)} each, from {self._source}"
        )

    def digest(self) -> str:
        """See `ClipDataset`: of the split's digits, and of the rule by which they move."""
        content = hashlib.sha256(f"moving digits, rule {_RULE}".encode())
        content.update(self._images.numpy().data)
        return content.hexdigest()


def trajectories(start: NDArray[np.float64], angle: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Positions in the unit square of points that move by `SPEED` in each frame and bounce off its edges.

    Args:
        start: rows and columns `(B, N, 2)` in the first frame, in [0, 1].
        angle: directions `(B, N)`, from the column axis, in radians.
        length: T.

    Returns:
        `(B, T, N, 2)`.
    """
    position = np.empty((length, *start.shape))
    position[0] = start
    velocity = SPEED * np.stack([np.sin(angle), np.cos(angle)], -1)
    for t in range(1, length):
        moved = position[t - 1] + velocity
        velocity = np.where((moved <= 0) | (moved >= 1), -velocity, velocity)
        position[t] = moved.clip(0, 1)
    return position.swapaxes(0, 1)


class GreyFrames(NamedTuple):
    """Frames `(B, T, H, W)`, uint8."""

    frames: Tensor


class PublishedMovingMNIST(ClipDataset, Dataset[Tensor]):
    """The published 10,000 test clips, `mnist_test_seq.npy`: `(20, 10000, 64, 64)` uint8.

    The file is memory-mapped, so that only the clips asked for are read.

    Args:
        path: the file, `(frames, clips, height, width)` uint8; other numbers and sizes are accepted too.

    Raises:
        ZooError: no such file, or it does not hold such an array.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        frames, clips, *_ = self._open().shape
        self.comparable_with = "moving-mnist-2"
        self.length, self.count = int(frames), int(clips)

    def _open(self) -> NDArray[np.uint8]:
        """Map the file anew: what is pickled for a worker is the path alone."""
        try:
            array: NDArray[np.uint8] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ZooError(f"{self.path} cannot be read as an array ({error}); fetch mnist_test_seq.npy") from error
        if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype != np.uint8 or not array.size:
            raise ZooError(
                f"{self.path} does not hold (frames, clips, height, width) in uint8; fetch mnist_test_seq.npy"
            )
        return array

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: Sequence[int]) -> GreyFrames:
        """Read the clips.

        Raises:
            ZooError: an index outside the file.
        """
        clips = self._open()[:, check_indices(indices, self.count)]  # (T, B, H, W)
        return GreyFrames(torch.from_numpy(np.ascontiguousarray(clips.swapaxes(0, 1))))

    def render(self, batch: GreyFrames) -> Tensor:
        """The frames `(B, T, 1, H, W)`, float32 in [0, 1]."""
        return batch.frames[:, :, None] / 255

    def describe(self) -> str:
        """One line: the file and its size."""
        return (
            f"published Moving-MNIST test: {self.count:,} clips of {self.length} frames, MNIST digits, from {self.path}"
        )

    def digest(self) -> str:
        """See `ClipDataset`: of the bytes of the file, which are all read.

        Raises:
            ZooError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ZooError(f"{self.path} cannot be read ({error.strerror}); fetch mnist_test_seq.npy") from None
