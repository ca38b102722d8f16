"""Draw random indices whose probability is proportional to an entry of a train or to its square."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt.interfaces import right_interfaces, scaled_bonds
from tensortrain.tt.scaling import unit


class Samples(NamedTuple):
    """Independent draws of an index.

    Attributes:
        indices: `(N, m)`, int64; `train[samples.indices.unbind(1)]` returns the entries at these indices.
        log_probabilities: `(N,)`, natural logarithms of the probabilities of the drawn indices.
    """

    indices: Tensor
    log_probabilities: Tensor


def draw(
    cores: Sequence[Tensor], weights: Sequence[Tensor], square: bool, generator: torch.Generator, n: int
) -> Samples:
    """Draw one axis after the other from its distribution conditional on the axes before it.

    Args:
        cores: cores of the train, with boundary ranks 1.
        weights: for each core the weights of everything to its right, `(R_l, k)`.
        square: whether the weight of an index is the squared norm of its row of k entries. Otherwise k is 1, and the
            weight is that entry.
        generator: the random generator, on the CPU.
        n: number of draws N.
    """
    rows = cores[0].new_ones(n, 1)
    places, logs = [], rows.new_zeros(n, dtype=rows.real.dtype)
    for core, weight in zip(cores, weights, strict=True):
        slices = torch.einsum("nr,ris->nis", rows, core)
        mass = slices @ weight
        masses = mass.abs().square().sum(2) if square else _nonnegative(mass[..., 0])
        shares = masses / masses.sum(1, keepdim=True)
        place = _pick(shares, generator)
        places.append(place)
        logs = logs + shares.gather(1, place[:, None])[:, 0].log()
        rows = slices[torch.arange(n, device=place.device), place]
        rows = rows / rows.abs().amax(1, keepdim=True)
    return Samples(torch.stack(places, 1), logs)


def _pick(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each row of probabilities a random position whose probability is not 0."""
    uniform = torch.rand(len(shares), 1, generator=generator, dtype=torch.float64, device="cpu").to(shares.device)
    sums = shares.double().cumsum(1)
    return (sums <= uniform * sums[:, -1:]).sum(1).clamp(max=shares.shape[1] - 1)


def _nonnegative(masses: Tensor) -> Tensor:
    """Return masses in which negative rounding errors are replaced by 0.

    Raises:
        TensorTrainError: a mass is negative beyond rounding error.
    """
    allowed = 1e3 * torch.finfo(masses.dtype).eps * masses.abs().sum(1, keepdim=True)
    if bool((masses < -allowed).any()):
        raise TensorTrainError(
            "the train is not a density: the sum of its entries is negative for some fixed indices; use"
            " density='square', or a train without negative entries"
        )
    return masses.clamp(min=0)


def square_weights(cores: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return scaled cores, and for each core a factor of the squared norm of everything to its right.

    Raises:
        TensorTrainError: the train is zero.
    """
    right = right_interfaces(cores)
    if not bool(right.factors[0].any()):
        raise TensorTrainError("the train is zero and cannot be a density")
    return right.cores, [*right.factors[1:], cores[0].new_ones(1, 1)]


def value_weights(cores: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return scaled cores, and for each core the sum of everything to its right.

    Raises:
        TensorTrainError: the sum of all entries is not positive.
    """
    scaled, _ = scaled_bonds(cores)  # so that no channel of a bond vanishes beside a larger one
    sums = [cores[0].new_ones(1, 1)]
    for core in reversed(scaled):
        sums.append(unit(core.sum(1) @ sums[-1])[0])
    if not float(sums[-1]) > 0:
        raise TensorTrainError(f"the entries of the train sum to {float(sums[-1]):.3g}; a density needs a positive sum")
    return scaled, sums[-2::-1]
