"""The interface of all data sets of clips, and the check of indices."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import ZooError


class IndexOutOfRange(ZooError, IndexError):
    """No clip has this index. An IndexError too, so that `for clip in dataset` ends."""


class ClipDataset(Protocol):
    """Clips by index. The cheap part (`fetch`) runs in any process, the costly part (`render`) on the device.

    The steps of a clip are frames `(C, H, W)`, float32 in [0, 1]; those of a `SeriesDataset` are values `(d,)`.

    A data set defines `length`, `comparable_with`, `__len__`, `fetch`, `render`, `describe` and `digest`, and inherits
    the rest.
    In a `DataLoader`, pass `collate_fn=lambda batch: batch`: `fetch` returns whole batches.
    """

    length: int
    """T, the steps of a clip."""
    comparable_with: str
    """Scores on data sets with equal values are comparable; published ones have values such as "moving-mnist-2"."""

    def __len__(self) -> int:
        """The number of clips; of an endless data set, the number in an epoch."""
        ...

    def fetch(self, indices: Sequence[int]) -> Any:
        """What `render` needs for the clips: a NamedTuple of small CPU tensors whose first axis is the batch."""
        ...

    def render(self, batch: Any) -> Tensor:
        """The clips `(B, T, …)` on the device of the tensors from `fetch`."""
        ...

    def describe(self) -> str:
        """One line: which data, and which digits."""
        ...

    def digest(self) -> str:
        """SHA-256, in 64 hexadecimal digits, of what the clips are made from and of how they are made from it.

        It depends on the content of the data, not on where they are or how their files are packed, nor on the settings
        of this data set, such as its seed and size. Data sets with equal settings and digests hold the same clips.

        Raises:
            ZooError: the data have been damaged since they were prepared.
        """
        ...

    def left_out(self) -> list[str]:
        """The files that the clips could have been made of and are not, and why, a line each."""
        return []

    def clips(self, indices: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The clips `(B, T, …)`, rendered on `device`."""
        batch = self.fetch(indices)
        return self.render(type(batch)(*(part.to(device) for part in batch)))

    def __getitem__(self, index: int) -> Tensor:
        """One clip `(T, …)`."""
        return self.clips([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """`fetch`, under the name by which a `DataLoader` asks for a batch."""
        return self.fetch(indices)


class SeriesDataset(ClipDataset):
    """Clips of series: T steps of d values each, `(B, T, d)` float32, every column scaled to [0, 1]."""

    columns: tuple[str, ...]
    """The names of the d columns."""
    interval: float
    """The time from a step to the next."""
    unit: str
    """Of that time, such as "s"."""
    mean: Tensor
    """Of each column `(d,)`: the best prediction for times so far ahead that nothing is known of them."""


def check_indices(indices: Sequence[int], stop: int) -> NDArray[np.int64]:
    """The indices as an array `(B,)`.

    Args:
        indices: a list, range, array or tensor of integers.
        stop: one more than the largest legal index.

    Raises:
        ZooError: not a list of integers.
        IndexOutOfRange: an index below 0 or not below `stop`.

    >>> check_indices(range(2, 4), stop=10)
    array([2, 3])
    """
    array = np.asarray(indices)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ZooError(f"indices = {indices!r} must be a list of whole numbers from 0 to {stop - 1}")
    outside = array[(array < 0) | (array >= stop)]
    if outside.size:
        raise IndexOutOfRange(f"index {outside[0]} is outside 0 … {stop - 1}")
    return array.astype(np.int64)
