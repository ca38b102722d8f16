"""What is claimed of a chain beside the weight that it was made from, and how a certificate states it.

| claim | says | assumes |
|---|---|---|
| (A) `error` | the kernel of the stored cores is at this relative Frobenius distance from the stored weight | nothing |
| (B) `lower_bound` | no chain with cores of these sizes and ranks is closer to the weight | P8 of proofs/README.md |
| (C) `evaluation.error` | the stored output is at this relative distance from eq. (5) of the stored input | nothing |
| (D) `evaluation.gamma` | whatever is computed for an input of that shape is within `gamma` times eq. (5) on absolute \
values | P10, no underflow, and convolutions that sum plain products, for which the probe is evidence |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.certify.evaluations import Evaluation
from tensortrain.conv.certify.intervals import Interval, error_interval
from tensortrain.conv.certify.lower_bounds import LowerBound, best_lower_bound
from tensortrain.errors import TensorTrainError

NONE = "not certified"
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # that the checker reads
PER_ENTRY, PER_MULTIPLICATION = 2.5e-6, 2e-8  # seconds of the checker, on one core of 2020 or later

T = TypeVar("T")


@dataclass(frozen=True)
class Claims:
    """What is certified of a chain and the weight that it was made from.

    Attributes:
        error: an interval for the relative Frobenius distance of the chain's kernel from the weight.
        lower_bound: what no chain of these sizes and ranks can go below, or None.
        groups: of the weight, then of the cores.
        transposed: whether they are weights of transposed convolutions.
        axes: number of spatial axes; a linear layer has none.
        seconds: how long the checker needs, about.
    """

    error: Interval
    lower_bound: LowerBound | None
    groups: tuple[int, ...]
    transposed: bool
    axes: int
    seconds: float

    @classmethod
    def of(cls, weight: object, cores: Sequence[Tensor], groups: Sequence[int], transposed: bool) -> "Claims":
        """Claims about a chain and a weight, as they are stored.

        Args:
            weight: of a convolution with as many groups as all cores share, or fewer; or a matrix.
            cores: of the chain; matrices, if the weight is one.
            groups: of the cores.
            transposed: whether they are weights of transposed convolutions.

        Raises:
            TensorTrainError: a weight that has not the shape of the chain's kernel, is zero, or has a dtype that the
                checker does not read.
        """
        weight = checks.entries("weight", weight, min_dim=2)
        for name, tensor in (("weight", weight), ("the chain", cores[0])):
            if tensor.dtype not in DTYPES:
                raise TensorTrainError(f"{name} is {tensor.dtype}, for which there are no certificates; use .float()")
        axes = cores[0].dim() - 2
        if axes == weight.dim() - 2 == 0:  # a convolution of one pixel
            weight, cores = weight[..., None], [core[..., None] for core in cores]
        chain, counts = in_order(cores, transposed), in_order(groups, transposed)
        sizes, shared = [tuple(core.shape[2:]) for core in chain], math.gcd(*groups)
        ranks = [core.shape[0] for core in chain] + [chain[-1].shape[1] * counts[-1]]
        own = ranks[-1] // max(1, weight.shape[1])
        shape = (ranks[0], ranks[-1] // (own if own and shared % own == 0 else shared), *whole_size(sizes))
        if tuple(weight.shape) != shape:
            raise TensorTrainError(f"weight has shape {tuple(weight.shape)}; {shape} is that of the chain's kernel")
        error = error_interval(weight, own, chain, counts)
        lower = best_lower_bound(weight, own, sizes, ranks)
        seconds = PER_ENTRY * weight.numel() * own + PER_MULTIPLICATION * _multiplications(ranks, sizes)
        if lower is not None:
            seconds += PER_MULTIPLICATION * lower.cut.multiplications((ranks[0], ranks[-1], *weight.shape[2:]))
        return cls(error, lower, (own, *counts), transposed, axes, seconds)

    def entry(self, weight: str, cores: Sequence[str], evaluation: Evaluation | None = None) -> dict[str, Any]:
        """The claims as a certificate states them, of tensors by their names in the files."""
        return {
            "weight": weight,
            "cores": list(in_order(cores, self.transposed)),
            "groups": list(self.groups),
            "error": [end.hex() for end in self.error],
            "bound": NONE if self.lower_bound is None else _bound(self.lower_bound, self.axes),
            "evaluation": NONE if evaluation is None else self._evaluation(evaluation),
        }

    def _evaluation(self, evaluation: Evaluation) -> dict[str, Any]:
        return {
            "tensors": ["input", "output"],
            "transposed": self.transposed,
            "error": [end.hex() for end in evaluation.error],
            "probe": evaluation.probe,
        }


def _bound(lower: LowerBound, axes: int) -> dict[str, Any]:
    return {
        "at_least": lower.value.hex(),
        "bond": lower.cut.bond,
        "axes": list(lower.cut.axes[:axes]),
        "vectors": lower.bases,
    }


def in_order(parts: Sequence[T], transposed: bool) -> tuple[T, ...]:
    """Parts of a chain in the order in which the matrices of its cores, as they are stored, multiply."""
    return tuple(reversed(parts)) if transposed else tuple(parts)


def _multiplications(ranks: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> int:
    """How many the checker needs to compose the cores, from the first one on."""
    products = 0
    for l in range(1, len(sizes)):
        positions = math.prod(whole_size(sizes[:l])) * math.prod(sizes[l])
        products += ranks[0] * ranks[l] * ranks[l + 1] * positions
    return products
