"""The tensors of somebody else's checkpoint: each is used, or left out for a reason, or named in an error."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError

Weights = dict[str, Tensor]
_MOST_NAMES = 5  # in an error; the rest is counted


class Foreign(NamedTuple):
    """What a foreign checkpoint amounts to.

    Args:
        model: the name of ours.
        options: to make it with.
        weights: its `state_dict`.
        remarks: what was done besides, in words.
    """

    model: str
    options: dict[str, Any]
    weights: Weights
    remarks: list[str]


class Ledger:
    """Tensors by name, and which of them have been used.

    Args:
        tensors: what the file holds.
        where: the file, for error messages.
        kind: what it is taken for, such as "PredRNN of OpenSTL".
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str, kind: str) -> None:
        self.where, self.kind, self.remarks = where, kind, list[str]()
        self._tensors, self._left = tensors, set(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @property
    def names(self) -> list[str]:
        """All of them."""
        return list(self._tensors)

    def look(self, name: str, *dimensions: int) -> Tensor:
        """A tensor, which is not used by this alone.

        Raises:
            ZooError: it is missing, has another number of dimensions, or holds other than finite numbers.
        """
        if name not in self._tensors:
            raise ZooError(f"{self.where} lacks {name}, which a {self.kind} has; give a whole checkpoint of one")
        tensor = self._tensors[name]
        if tensor.dim() not in dimensions or 0 in tensor.shape:
            legal = " or ".join(map(str, dimensions))
            raise ZooError(
                f"{self.where}: {name} has shape {tuple(tensor.shape)}; a {self.kind} has {legal} dimensions"
            )
        if not tensor.dtype.is_floating_point or not bool(tensor.isfinite().all()):
            raise ZooError(f"{self.where}: {name} holds other than finite numbers; give a checkpoint from before that")
        return tensor

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of this shape, which is used by this.

        Raises:
            ZooError: it is missing, or has another shape.
        """
        tensor = self.look(name, len(shape))
        if tuple(tensor.shape) != shape:
            raise ZooError(f"{self.where}: {name} has shape {tuple(tensor.shape)}; a {self.kind} has {shape} here")
        self._left.discard(name)
        return tensor

    def leave(self, names: Sequence[str], reason: str) -> None:
        """Leave out those tensors of these names that are there."""
        present = [name for name in names if name in self._left]
        self._left.difference_update(present)
        if present:
            self.remarks.append(f"left out: {_listed(present)}: {reason}")

    def finish(self) -> None:
        """Raise a ZooError if a tensor was neither used nor left out for a reason."""
        if self._left:
            raise ZooError(f"{self.where} holds {_listed(sorted(self._left))}, which no {self.kind} has; it is another")


def check_odd(ledger: Ledger, kernel: int) -> None:
    """Raise a ZooError for kernels with which their networks would change the size of frames."""
    if kernel % 2 == 0:
        raise ZooError(f"{ledger.where}: kernels of side {kernel}; a {ledger.kind} has odd ones")


def reorder(tensor: Tensor, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    """Parts of equal size along the first axis, brought from one order into another.

    >>> reorder(torch.arange(6), "igf", "ifg")
    tensor([0, 1, 4, 5, 2, 3])
    """
    parts = dict(zip(theirs, tensor.chunk(len(theirs)), strict=True))
    return torch.cat([parts[name] for name in ours])


def unfolded(pixels: int, channels: int, where: str) -> tuple[int, list[int]]:
    """The side of the blocks of pixels that were folded into channels, and where each folded channel of ours is there.

    Those code bases fold a frame so that its colours come last, this package so that they come first.

    Raises:
        ZooError: frames of so many channels cannot have been folded into `pixels`.

    >>> unfolded(8, channels=2, where="x.pt")
    (2, [0, 2, 4, 6, 1, 3, 5, 7])
    """
    side = math.isqrt(pixels // channels)
    if side**2 * channels != pixels:
        raise ZooError(
            f"{where} reads {pixels} folded channels, which are no square times --channels {channels}; give the "
            "channels of its frames"
        )
    return side, [position * channels + c for c in range(channels) for position in range(side**2)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
