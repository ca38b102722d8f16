"""An account of the tensors of a foreign checkpoint: each must be used, or be ignored for a reason, or is an error."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError

Weights = dict[str, Tensor]
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_NAMES = 5  # largest number of names in an error; the others are counted


class Foreign(NamedTuple):
    """The content of a foreign checkpoint, converted.

    Args:
        model: the name of the model of this package.
        options: the options to make it with.
        weights: its `state_dict`.
        remarks: what else was done, in sentences.
    """

    model: str
    options: dict[str, Any]
    weights: Weights
    remarks: list[str]


class Ledger:
    """The tensors of a checkpoint by name, and which of them have been used.

    Args:
        tensors: the tensors in the file.
        where: the file, for error messages.
        kind: the assumed content of the file, such as "PredRNN of OpenSTL".
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str, kind: str) -> None:
        self.where, self.kind, self.remarks = where, kind, list[str]()
        self._tensors, self._left = tensors, set(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self._tensors)

    def look(self, name: str, *dimensions: int) -> Tensor:
        """Return a tensor without marking it as used.

        Raises:
            ZooError: if it is missing, has another number of dimensions, is not a dense tensor of floating-point
                numbers, or has values that are not finite in single precision.
        """
        if name not in self._tensors:
            raise ZooError(f"{self.where} lacks {name}, which a {self.kind} has; use a complete checkpoint of one")
        tensor = self._tensors[name]
        if tensor.dim() not in dimensions or 0 in tensor.shape:
            legal = " or ".join(map(str, dimensions))
            raise ZooError(
                f"{self.where}: {name} has shape {tuple(tensor.shape)}, but a {self.kind} has {legal} dimensions here"
            )
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            kind = (
                f"{'values on meta' if tensor.is_meta else tensor.dtype}, {str(tensor.layout).removeprefix('torch.')}"
            )
            raise ZooError(
                f"{self.where}: {name} holds {kind}, but must hold dense floating-point numbers of 16, 32 or 64 bits; "
                "convert it, or use another checkpoint"
            )
        if not bool(tensor.float().isfinite().all()):  # as the models here hold them
            raise ZooError(f"{self.where}: {name} has values that are not finite; use an earlier checkpoint")
        return tensor

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a tensor of this shape, and mark it as used.

        Raises:
            ZooError: if it is missing, or has another shape.
        """
        tensor = self.look(name, len(shape))
        if tuple(tensor.shape) != shape:
            raise ZooError(f"{self.where}: {name} has shape {tuple(tensor.shape)}, but a {self.kind} has {shape} here")
        self._left.discard(name)
        return tensor

    def leave(self, names: Sequence[str], reason: str) -> None:
        """Ignore those tensors of these names that exist."""
        present = [name for name in names if name in self._left]
        self._left.difference_update(present)
        if present:
            self.remarks.append(f"ignored: {_listed(present)}: {reason}")

    def finish(self) -> None:
        """Raise a ZooError if a tensor was neither used nor ignored for a reason."""
        if self._left:
            raise ZooError(
                f"{self.where} holds {_listed(sorted(self._left))}, which no {self.kind} has; it is of another network"
            )


def check_odd(ledger: Ledger, kernel: int) -> None:
    """Raise a ZooError for even kernels, with which their networks would change the size of frames."""
    if kernel % 2 == 0:
        raise ZooError(f"{ledger.where} has kernels of side {kernel}, but a {ledger.kind} has odd ones")


def reorder(tensor: Tensor, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    """Reorder parts of equal size along the first axis.

    >>> reorder(torch.arange(6), "igf", "ifg")
    tensor([0, 1, 4, 5, 2, 3])
    """
    parts = dict(zip(theirs, tensor.chunk(len(theirs)), strict=True))
    return torch.cat([parts[name] for name in ours])


def unfolded(pixels: int, channels: int, where: str) -> tuple[int, list[int]]:
    """The side of the pixel blocks that became channels, and the position of each of our channels in theirs.

    Those code bases put the colours of a block last, and this package puts them first.

    Raises:
        ZooError: if frames of so many channels cannot have been folded into `pixels` channels.

    >>> unfolded(8, channels=2, where="x.pt")
    (2, [0, 2, 4, 6, 1, 3, 5, 7])
    """
    side = math.isqrt(pixels // channels)
    if side**2 * channels != pixels:
        raise ZooError(
            f"{where} reads {pixels} folded channels, which are not a square times --channels {channels}; set "
            "--channels to the number of channels of its frames"
        )
    return side, [position * channels + c for c in range(channels) for position in range(side**2)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
