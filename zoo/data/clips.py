"""What every data set of clips offers, and how an index is checked."""

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

    A data set gives `fetch`, `render`, `describe`, a kind and its lengths, and inherits the rest. A `DataLoader` needs
    `collate_fn=lambda plan: plan`, because `fetch` makes whole batches.
    """

    length: int
    """T, the frames of a clip."""
    kind: str
    """Which published results it is comparable with, such as "moving-mnist-2"."""

    def __len__(self) -> int:
        """How many clips there are; in an endless set, in an epoch."""
        ...

    def fetch(self, indices: Sequence[int]) -> Any:
        """What `render` needs for the clips: a NamedTuple of small CPU tensors, the batch first in each."""
        ...

    def render(self, batch: Any) -> Tensor:
        """The clips `(B, T, C, H, W)`, float32 in [0, 1], on the device of the tensors from `fetch`."""
        ...

    def describe(self) -> str:
        """One line: which data, and which digits."""
        ...

    def clips(self, indices: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The clips `(B, T, C, H, W)`, float32 in [0, 1], made on `device`."""
        batch = self.fetch(indices)
        return self.render(type(batch)(*(part.to(device) for part in batch)))

    def __getitem__(self, index: int) -> Tensor:
        """One clip `(T, C, H, W)`."""
        return self.clips([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """`fetch`, under the name by which a `DataLoader` asks for a batch."""
        return self.fetch(indices)


def check_indices(indices: Sequence[int], stop: int) -> NDArray[np.int64]:
    """The indices as an array.

    Raises:
        ZooError: not a list of integers, or one outside 0 … stop - 1.
    """
    found = np.asarray(indices)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ZooError(f"indices = {indices!r} must be a list of whole numbers from 0 to {stop - 1}")
    outside = found[(found < 0) | (found >= stop)]
    if outside.size:
        raise IndexOutOfRange(f"index {outside[0]} is outside 0 … {stop - 1}")
    return found.astype(np.int64)
