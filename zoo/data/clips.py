"""The interface of all data sets of clips, checks of numbers and indices, and the words for a number of things."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import ZooError


class IndexOutOfRange(ZooError, IndexError):
    """No clip has this index. It is an IndexError too, so that `for clip in dataset` ends."""


class ClipDataset(Protocol):
    """The interface of a data set: clips by index.

    `fetch` is cheap and runs in any process. `render` is costly and runs on the device. The steps of a clip are frames
    `(C, H, W)`, float32 in [0, 1]. In a `SeriesDataset` they are values `(d,)`.

    A data set defines `length`, `comparable_with`, `__len__`, `fetch`, `render`, `describe` and `digest`. It inherits
    the other methods. A `DataLoader` yields its clips in batches `(B, T, …)`.
    """

    length: int
    """T, the number of steps in a clip."""
    comparable_with: str
    """Scores are comparable if this is equal for their data sets: the clips are the same, or drawn by the same rule.
    For published data it is a short name such as "moving-mnist-2"."""

    def __len__(self) -> int:
        """The number of clips; in an endless data set, the number of clips in an epoch."""
        ...

    def fetch(self, indices: Sequence[int]) -> Any:
        """Return what `render` needs: a NamedTuple of small CPU tensors whose first axis is the batch."""
        ...

    def render(self, batch: Any) -> Tensor:
        """Return the clips `(B, T, …)`, on the device of the tensors from `fetch`."""
        ...

    def describe(self) -> str:
        """Describe the data in one line, including the source of digits."""
        ...

    def digest(self) -> str:
        """SHA-256, as 64 hexadecimal digits, of the content of the data and the rule by which clips are made from it.

        It does not depend on the place of the data or the packing of their files, nor on settings such as the seed. The
        digest of stored videos, images and arrays also depends on the size of their frames. Data sets with equal
        settings and equal digests hold the same clips.

        Raises:
            ZooError: if the data were damaged after they were prepared.
        """
        ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def left_out(self) -> list[str]:
        """The files that should have provided clips but cannot be used, each with the reason, one line each."""
        return []

    def clips(self, indices: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Return the clips `(B, T, …)`, rendered on `device`."""
        batch = self.fetch(indices)
        return self.render(type(batch)(*(part.to(device) for part in batch)))

    def __getitem__(self, index: int) -> Tensor:
        """Return one clip `(T, …)`."""
        return self.clips([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Return several clips. A `DataLoader` uses this name to ask for a batch."""
        return list(self.clips(indices))


class SeriesDataset(ClipDataset):
    """The interface of a data set of series: clips `(B, T, d)`, float32, with every column scaled to [0, 1]."""

    columns: tuple[str, ...]
    """The names of the d columns."""
    interval: float
    """The time between two steps."""
    unit: str
    """The unit of that time, such as "s"."""
    mean: Tensor
    """The mean of each column, `(d,)`: the best prediction if nothing is known about the state of the series."""


def counted(count: int, noun: str) -> str:
    """A number of things in words.

    >>> counted(1, "clip"), counted(5_000, "clip"), counted(0, "folder of images")
    ('1 clip', '5,000 clips', '0 folders of images')
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun, whose first word takes the s.

    >>> plural("folder of images")
    'folders of images'
    """
    first, gap, others = noun.partition(" ")
    return f"{first}s{gap}{others}"


def whole(name: str, value: object) -> int:
    """The value of an argument as an int, if it is a whole number of at least 1.

    Raises:
        ZooError: if the value is anything else.

    >>> whole("count", np.int64(3))
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ZooError(f"{name} = {value!r} must be a whole number, at least 1")
    if value < 1:
        raise ZooError(f"{name} = {value} must be at least 1")
    return int(value)


def check_indices(indices: Sequence[int], stop: int) -> NDArray[np.int64]:
    """Check indices, and return them as an array `(B,)`.

    Args:
        indices: a list, range, array or tensor of integers.
        stop: the largest legal index plus one.

    Raises:
        ZooError: if `indices` is not a list of integers.
        IndexOutOfRange: if an index is below 0, or not below `stop`.

    >>> check_indices(range(2, 4), stop=10)
    array([2, 3])
    """
    array = np.asarray(indices)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ZooError(f"indices = {indices!r} must be a list of whole numbers from 0 to {stop - 1}")
    outside = array[(array < 0) | (array >= stop)]
    if outside.size:
        raise IndexOutOfRange(f"index {outside[0]} is out of range; legal are 0 to {stop - 1}")
    return array.astype(np.int64)
