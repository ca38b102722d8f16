"""Random indices whose probability is an entry of a train, or the square of one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt.interfaces import right_interfaces
from tensortrain.tt.scaling import unit


class Samples(NamedTuple):
    """Independent draws of an index.

    Attributes:
        indices: `(N, m)`, int64; `train[samples.indices.unbind(1)]` are their entries.
        log_probabilities: `(N,)`, natural logarithms of the probabilities with which they were drawn.
    """

    indices: Tensor
    log_probabilities: Tensor


def draw(
    cores: Sequence[Tensor], weights: Sequence[Tensor], square: bool, generator: torch.Generator, n: int
) -> Samples:
    """Draw one axis after the other from its distribution under those before it.

    Args:
        cores: of the train, boundary ranks 1.
        weights: for each core what lies to the right of it, `(R_l, k)`.
        square: whether the weight of an index is the squared norm of its row, of k entries, else its one entry.
        generator: of the random numbers, on the CPU.
        n: number of draws, N.
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
    """For each row of probabilities one of its places, none of probability 0."""
    uniform = torch.rand(len(shares), 1, generator=generator, dtype=torch.float64).to(shares.device)
    sums = shares.double().cumsum(1)
    return (sums <= uniform * sums[:, -1:]).sum(1).clamp(max=shares.shape[1] - 1)


def _nonnegative(masses: Tensor) -> Tensor:
    """Masses without what rounding made negative.

    Raises:
        TensorTrainError: one that is negative beyond rounding.
    """
    allowed = 1e3 * torch.finfo(masses.dtype).eps * masses.abs().sum(1, keepdim=True)
    if bool((masses < -allowed).any()):
        raise TensorTrainError(
            "the train is no density: the sum of its entries is negative where some indices are fixed; draw with"
            " density='square', or from a train without negative entries"
        )
    return masses.clamp(min=0)


def square_weights(cores: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Scaled cores, and for each of them the factor of the squared norm of what lies to its right.

    Raises:
        TensorTrainError: the zero tensor.
    """
    right = right_interfaces(cores)
    if not bool(right.factors[0].any()):
        raise TensorTrainError("the train is zero, and so no density")
    return right.cores, [*right.factors[1:], cores[0].new_ones(1, 1)]


def value_weights(cores: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Scaled cores, and for each of them the sum of what lies to its right.

    Raises:
        TensorTrainError: a sum of all entries that is not positive.
    """
    scaled: list[Tensor] = []
    sums = [cores[0].new_ones(1, 1)]
    for core in reversed(cores):
        core = unit(core)[0]
        scaled.append(core)
        sums.append(unit(core.sum(1) @ sums[-1])[0])
    if not float(sums[-1]) > 0:
        raise TensorTrainError(f"the entries of the train sum to {float(sums[-1]):.3g}, so that it is no density")
    return scaled[::-1], sums[-2::-1]
