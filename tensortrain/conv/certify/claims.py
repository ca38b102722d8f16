"""The claims about a chain and the weight that was decomposed, and their form in a certificate.

| claim | statement | assumptions |
|---|---|---|
| (A) `error` | the kernel of the stored cores has this relative Frobenius distance from the stored weight | none |
| (B) `lower_bound` | no chain with cores of these sizes and ranks is closer to the weight | P8 of proofs/README.md |
| (C) `evaluation.error` | the stored output has this relative distance from eq. (5) of the stored input | none |
| (D) `evaluation.gamma` | a result computed for an input of that shape differs from eq. (5) by at most `gamma` times \
eq. (5) with absolute values | P10, no underflow, and convolutions that sum plain products (the probe tests this) |
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
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # dtypes that the checker reads
PER_ENTRY, PER_MULTIPLICATION = 2.5e-6, 2e-8  # seconds of the checker, on one core of 2020 or later

T = TypeVar("T")


@dataclass(frozen=True)
class Claims:
    """Certified statements about a chain and the weight that was decomposed.

    Attributes:
        error: an interval that contains the relative Frobenius distance of the chain's kernel from the weight.
        lower_bound: a distance that no chain with these sizes and ranks can fall below, or None.
        groups: the groups of the weight, then those of the cores.
        transposed: whether the tensors are weights of transposed convolutions.
        axes: number of spatial axes; a linear layer has none.
        seconds: approximate time that the checker needs.
    """

    error: Interval
    lower_bound: LowerBound | None
    groups: tuple[int, ...]
    transposed: bool
    axes: int
    seconds: float

    @classmethod
    def of(cls, weight: object, cores: Sequence[Tensor], groups: Sequence[int], transposed: bool) -> "Claims":
        """Return the claims about a chain and a weight, as they are stored.

        Args:
            weight: weight of a convolution with as many groups as all cores share, or fewer; or a matrix.
            cores: cores of the chain; they are matrices if the weight is a matrix.
            groups: groups of the cores.
            transposed: whether the tensors are weights of transposed convolutions.

        Raises:
            TensorTrainError: the weight differs in shape from the chain's kernel, is zero, or has a dtype that the
                checker does not read; or an entry is not finite.
        """
        # the same memory layout for all weights, so that the claims agree bit for bit
        weight = checks.entries("weight", weight, min_dim=2).detach().resolve_neg().contiguous()
        cores = [checks.entries(f"cores[{l}]", core).detach() for l, core in enumerate(cores)]
        for name, tensor in (("weight", weight), ("the chain", cores[0])):
            if tensor.dtype not in DTYPES:
                raise TensorTrainError(f"{name} is {tensor.dtype}, which cannot be certified; use .float()")
        axes = cores[0].dim() - 2
        if axes == weight.dim() - 2 == 0:  # a linear layer is a convolution of one pixel
            weight, cores = weight[..., None], [core[..., None] for core in cores]
        chain, counts = in_order(cores, transposed), in_order(groups, transposed)
        sizes, shared = [tuple(core.shape[2:]) for core in chain], math.gcd(*groups)
        ranks = [core.shape[0] for core in chain] + [chain[-1].shape[1] * counts[-1]]
        own = ranks[-1] // max(1, weight.shape[1])
        shape = (ranks[0], ranks[-1] // (own if own and shared % own == 0 else shared), *whole_size(sizes))
        if tuple(weight.shape) != shape:
            raise TensorTrainError(f"weight has shape {tuple(weight.shape)}, but the chain's kernel has {shape}")
        error = error_interval(weight, own, chain, counts)
        lower = best_lower_bound(weight, own, sizes, ranks)
        seconds = PER_ENTRY * weight.numel() * own + PER_MULTIPLICATION * _multiplications(ranks, sizes)
        if lower is not None:
            seconds += PER_MULTIPLICATION * lower.cut.multiplications((ranks[0], ranks[-1], *weight.shape[2:]))
        return cls(error, lower, (own, *counts), transposed, axes, seconds)

    def entry(self, weight: str, cores: Sequence[str], evaluation: Evaluation | None = None) -> dict[str, Any]:
        """Return the claims in the form of a certificate, about tensors with these names in the files."""
        return {
            "weight": weight,
            "cores": list(in_order(cores, self.transposed)),
            "groups": list(self.groups),
            "error": [end.hex() for end in self.error],
            "bound": NONE if self.lower_bound is None else _bound(self.lower_bound, self.axes),
            "evaluation": NONE if evaluation is None else self._evaluation(evaluation),
        }

    def _evaluation(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the claims about an evaluation in the form of a certificate."""
        return {
            "tensors": ["input", "output"],
            "transposed": self.transposed,
            "error": [end.hex() for end in evaluation.error],
            "probe": evaluation.probe,
        }


def _bound(lower: LowerBound, axes: int) -> dict[str, Any]:
    """Return a lower bound and its proof in the form of a certificate."""
    return {
        "at_least": lower.value.hex(),
        "bond": lower.cut.bond,
        "axes": list(lower.cut.axes[:axes]),
        "vectors": lower.bases,
    }


def in_order(parts: Sequence[T], transposed: bool) -> tuple[T, ...]:
    """Return parts of a chain in the order in which the matrices of its stored cores are multiplied."""
    return tuple(reversed(parts)) if transposed else tuple(parts)


def _multiplications(ranks: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> int:
    """Return how many multiplications the checker needs to compose the cores, from the first one on."""
    products = 0
    for l in range(1, len(sizes)):
        positions = math.prod(whole_size(sizes[:l])) * math.prod(sizes[l])
        products += ranks[0] * ranks[l] * ranks[l + 1] * positions
    return products
