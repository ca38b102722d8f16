"""TT-SVD, TT rounding, and the choice of ranks under several limits at once.

Both algorithms truncate by orthogonal projections only. The squared error of a train is therefore the sum of the
squared errors of its truncations, and at most m - 1 times that of the best train of the same ranks.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.checks import Limits
from tensortrain.derivatives import bond_name
from tensortrain.errors import TensorTrainError
from tensortrain.linalg import Product, frobenius_norm, singular_values, truncate
from tensortrain.precision import precise
from tensortrain.transforms import batched
from tensortrain.tt.checks import count, supported_ranks
from tensortrain.tt.interfaces import Interfaces, mirrored, normalized_columns, on_row_space, right_interfaces
from tensortrain.tt.scaling import exponent, ordinary, peak, range_of, shifted, shifted_along, unit

_ROUNDINGS = 64  # rounding error of a product, in units of eps times the norms of its factors


class Sweep(NamedTuple):
    """The result of a sweep: the cores, and the squared norm of everything that was discarded."""

    cores: list[Tensor]
    discarded: float


def tt_svd(tensor: Tensor, caps: Sequence[int], allowed: float | None) -> Sweep:
    """Run TT-SVD (Oseledets 2011, algorithm 1) from both ends; the next cut is the one with the shorter side.

    In this way every unfolding is wide, and only its short side needs a basis. The core where both sweeps meet contains
    the norm. The cores before it are left-orthogonal, and those after it are right-orthogonal.

    Args:
        tensor: the tensor, `(I_1, …, I_m)`.
        caps: the largest rank of each bond.
        allowed: squared norm that all cuts together may discard. Each cut may use an equal share of the remainder, so
            that later cuts can use what earlier ones left. With None the ranks are `caps`.
    """
    shape = tensor.shape
    first, last = 0, len(shape) - 1
    left_rank = right_rank = 1
    heads: list[Tensor] = []
    tails: list[Tensor] = []
    rest, spent = tensor, 0.0
    while first < last:
        share = None if allowed is None else max(allowed - spent, 0.0) / (last - first)
        rows, columns = left_rank * shape[first], shape[last] * right_rank
        if rows <= columns:
            flat = rest.reshape(rows, -1)
            basis, discarded = truncate(flat, caps[first], share, bond=first + 1)
            rest = basis.mH @ flat
            heads.append(basis.reshape(left_rank, shape[first], -1))
            first, left_rank = first + 1, basis.shape[1]
        else:
            flat = rest.reshape(-1, columns)
            basis, discarded = truncate(flat.mT, caps[last - 1], share, bond=last)
            rest = flat @ basis.conj()
            tails.append(basis.mT.reshape(-1, shape[last], right_rank))
            last, right_rank = last - 1, basis.shape[1]
        spent += discarded
    middle = rest.reshape(left_rank, shape[first], right_rank)
    return Sweep([core.contiguous() for core in (*heads, middle, *reversed(tails))], spent)


def normalized(tensor: Tensor) -> tuple[Tensor, float | None, int]:
    """Return `(t, n, k)` with `tensor = t · 2**k` and `n = ‖t‖`, where squares of t neither overflow nor underflow.

    k is 0 except for tensors with very large or very small entries. n is None under `torch.vmap`.
    """
    limit = range_of(tensor.dtype)
    if batched(tensor):
        k = exponent(peak(tensor), limit)
        return shifted(tensor, -k), None, k
    norm = frobenius_norm(tensor)
    if norm == 0 or 2.0**-limit < norm < 2.0**limit:
        return tensor, norm, 0
    k = exponent(peak(tensor))
    scaled = shifted(tensor, -k)
    return scaled, frobenius_norm(scaled), k


def tt_round(right: Interfaces, caps: Sequence[int], allowed: float | None) -> Sweep:
    """Lower the ranks of a train (Oseledets 2011, algorithm 2), from its first core to its last.

    The cores to the right of a cut are never made orthogonal; the cut is weighted by their triangular factor.

    Args:
        right: interfaces of the train; the train of `right.cores` is rounded.
        caps: the largest rank of each bond.
        allowed: squared norm that all cuts together may discard, as in `tt_svd`.
    """
    cores = right.cores
    rounded: list[Tensor] = []
    rest, spent, carried = cores[0], 0.0, 0
    for bond in range(1, len(cores)):
        share = None if allowed is None else math.ldexp(max(allowed - spent, 0.0) / (len(cores) - bond), -2 * carried)
        flat = rest.flatten(0, 1)
        # in this memory layout the long side can be factorised without a copy
        weighted = (right.factors[bond].mT @ (flat.detach() if right.grams else flat).mT).mT
        origin = Product(flat, right.grams[bond] if right.grams else None)
        basis, discarded = truncate(weighted, caps[bond - 1], share, origin=origin, bond=bond)
        rounded.append(basis.reshape(*rest.shape[:2], -1))
        spent += math.ldexp(discarded, 2 * carried)
        carry = basis.mH @ flat
        if not ordinary(carry):
            carry, k = _reduced(carry, right, bond)
            carried += k
        rest = (carry @ cores[bond].flatten(1)).reshape(-1, *cores[bond].shape[1:])
    return Sweep([core.contiguous() for core in (*rounded, shifted(rest, carried))], spent)


def _reduced(carry: Tensor, right: Interfaces, bond: int) -> tuple[Tensor, int]:
    """Return `(c, k)` with `carry M = c M · 2**k` for the interface M at `bond`, where c is not needlessly large.

    In directions that no later core reads, a carry could grow until rounding error destroys the other directions.
    Derivatives read these directions as well, so a carry must not change if derivatives are needed.

    Raises:
        TensorTrainError: a derivative is needed, and the carry leaves the range of its dtype.
    """
    if right.grams is None:
        factor = right.factors[bond]
        directions, scale = normalized_columns(factor.mT)  # so that small interfaces count as well
        reduced = on_row_space(directions, (carry * scale).mT).mT / scale
        # projected interfaces are valid only for carries made of what the earlier cores read
        is_possible = not any(right.projected[bond:]) and _reads_the_same(reduced, carry, right, bond)
        return unit(reduced if is_possible else carry)
    if not peak(carry) < 2.0 ** (1.5 * range_of(carry.dtype)):
        raise TensorTrainError(
            f"{bond_name(bond)}: the product of the cores before it grows beyond the range of {carry.dtype} in"
            " directions that the later cores do not read, so the derivatives would overflow; first round() the train"
            " without derivatives"
        )
    return carry, 0


def _reads_the_same(reduced: Tensor, carry: Tensor, right: Interfaces, bond: int) -> bool:
    """Return whether the cores behind a bond read the same from both carries, up to rounding error.

    They do not if the factor of the bond has only the directions that earlier cores read (see `Interfaces.projected`),
    and these directions are nearly the same as others that later cores read much more strongly.
    """
    interface = right.cores[bond].flatten(1)
    if bond + 1 < len(right.cores):
        interface = (right.cores[bond] @ right.factors[bond + 1]).flatten(1)
    eps = torch.finfo(carry.dtype).eps
    difference = float(((reduced - carry) @ interface).norm())
    # channels that no earlier core reads may be large behind the bond, and those that no later core reads before it
    noise = _ROUNDINGS * eps * float((carry.norm(dim=0) * interface.norm(dim=1)).norm())
    return not difference > noise + _ROUNDINGS * eps * float((carry @ right.factors[bond]).norm())


@precise
def compressed(cores: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Return `(c, k)` such that the train of `cores` is `2**k` times that of c, without unread directions."""
    right = right_interfaces(cores)
    return tt_round(right, [core.shape[2] for core in cores[:-1]], None).cores, right.exponent


@precise
def within_limits(
    limits: Limits,
    shape: Sequence[int],
    ends: tuple[int, int],
    norm: float | None,
    eps: float,
    sweep: Callable[[Sequence[int], float | None], Sweep],
    spectra: Callable[[], list[list[float]]],
) -> tuple[list[Tensor], float | None]:
    """Return the cores that `sweep` gives within `limits`, and their relative error.

    With a tolerance, a sweep first uses up the tolerance. If it misses the tolerance or exceeds the limit on the
    parameters, or if there is such a limit but no tolerance, the ranks are chosen from the singular values of all bonds
    together.

    Args:
        limits: the limits that `check_limits` returned.
        shape: the shape I_1 … I_m.
        ends: the boundary ranks R_0 and R_m.
        norm: Frobenius norm of the tensor; None under `torch.vmap`, where no error is computed.
        eps: rounding error of the dtype; tolerances below `16 eps` are raised to `16 eps`.
        sweep: the function `tt_svd` or `tt_round`, as a function of the largest ranks and the allowed squared error.
        spectra: a function that returns the singular values at each bond, largest first.

    Raises:
        TensorTrainError: the tolerance cannot be reached (the message states the error that was reached), or there are
            limits other than ranks under `torch.vmap`.
    """
    caps = limits.ranks
    assert caps is not None
    if norm is None:
        if limits.rtol is not None or limits.parameters is not None:
            raise TensorTrainError(
                "rtol, max_parameters and budget choose ranks from the entries, so samples under torch.vmap"
                " would get different ranks; give ranks instead"
            )
        return sweep(caps, None).cores, None
    floor = 16 * eps

    def error(attempt: Sweep) -> float:
        """Return the relative error of a sweep."""
        return math.sqrt(attempt.discarded) / norm if norm > 0 else 0.0

    def size(attempt: Sweep) -> int:
        """Return the number of parameters of a sweep."""
        return sum(core.numel() for core in attempt.cores)

    def reached(attempt: Sweep) -> bool:
        """Return whether a sweep satisfies the tolerance."""
        return limits.rtol is None or error(attempt) <= limits.rtol + floor

    allowed = None if limits.rtol is None else (max(limits.rtol, floor) * norm) ** 2
    if allowed is not None or limits.parameters is None:
        attempt = sweep(caps, allowed)
        if reached(attempt) and (limits.parameters is None or size(attempt) <= limits.parameters):
            return attempt.cores, error(attempt)
    ranks = allocate(spectra(), shape, ends, caps, limits.parameters, allowed or (floor * norm) ** 2)
    attempt = sweep(ranks, None)
    if not reached(attempt):
        raise TensorTrainError(
            f"rtol = {limits.rtol} is not reached under these limits: ranks {ranks} with {size(attempt)} parameters"
            f" reach a relative error of {error(attempt):.4g}; raise ranks, max_parameters, budget or rtol"
        )
    return attempt.cores, error(attempt)


def allocate(
    spectra: Sequence[Sequence[float]],
    shape: Sequence[int],
    ends: tuple[int, int],
    caps: Sequence[int],
    parameters: int | None,
    allowed: float,
) -> tuple[int, ...]:
    """Choose ranks within limits so that the bound `Σ_l Σ_{i > R_l} σ_{l,i}²` of the squared error is small.

    Starting from ranks of 1, the rank of the bond with the largest discarded singular value is raised by one. This is
    repeated until the bound is at most `allowed` or no rank can be raised within the limits. Then one rank is lowered
    and its parameters are used for other bonds, as long as that lowers the bound. For small tensors, compared with all
    feasible ranks, the root of the bound was on average 0.05 % above the optimum.

    >>> allocate([[1.0, 0.1], [1.0, 0.5, 0.4, 0.3]], (2, 4, 4), (1, 1), (2, 4), 30, 0.0)
    (1, 3)
    """
    energies = [[s * s for s in values] for values in spectra]
    # summed from the smallest term up, so that a tail is as accurate as its largest term
    tails = [list(itertools.accumulate(reversed(values), initial=0.0))[::-1] for values in energies]
    bonds = range(len(caps))

    def bound(ranks: Sequence[int]) -> float:
        """Return the bound of the squared error for some ranks."""
        return sum(tail[rank] for tail, rank in zip(tails, ranks, strict=True))

    def gain(ranks: Sequence[int], bond: int) -> float:
        """Return the energy of the next singular value of a bond, or 0 if its rank cannot be raised."""
        rank, sides = ranks[bond], (ends[0], *ranks, ends[1])
        rows, columns = sides[bond] * shape[bond], shape[bond + 1] * sides[bond + 2]
        fits = parameters is None or count(shape, sides) + rows + columns <= parameters
        # beside an axis of length 1, the rank of the left bond is raised first and that of the right bond follows
        useful = rank < rows and (rank < columns or shape[bond + 1] == 1)
        return energies[bond][rank] if fits and useful and rank < min(caps[bond], len(energies[bond])) else 0.0

    def fill(ranks: list[int], locked: int | None = None) -> list[int]:
        """Raise the ranks of bonds other than `locked` as long as one can be raised and `allowed` is not reached."""
        while bound(ranks) > allowed:
            gains = [0.0 if bond == locked else gain(ranks, bond) for bond in bonds]
            if max(gains) == 0.0:
                break
            ranks[gains.index(max(gains))] += 1
        return ranks

    def exchanged(ranks: list[int], bond: int) -> list[int]:
        """Return the ranks after lowering one rank and using its parameters elsewhere."""
        lowered = [rank - (b == bond) for b, rank in enumerate(ranks)]
        lowered = [min(pair) for pair in zip(lowered, supported_ranks(shape, ends, lowered), strict=True)]
        return fill(fill(lowered, locked=bond))

    ranks = fill([1] * len(caps))
    while bound(ranks) > allowed:
        candidates = [exchanged(ranks, bond) for bond in bonds if ranks[bond] > 1]
        best = min(candidates, key=bound, default=ranks)
        if bound(best) >= bound(ranks):
            break
        ranks = best
    return tuple(ranks)


def dense_spectra(tensor: Tensor) -> list[list[float]]:
    """Return the singular values of every unfolding of `tensor`."""
    heads = [math.prod(tensor.shape[:l]) for l in range(1, tensor.dim())]
    return [singular_values(tensor.reshape(rows, -1)).tolist() for rows in heads]


def train_spectra(right: Interfaces) -> list[list[float]]:
    """Return the singular values at every bond of the train of `right.cores`."""
    left = right_interfaces(mirrored(right.cores))
    spectra = []
    for f, powers, g in zip(left.factors[:0:-1], left.exponents[:0:-1], right.factors[1:], strict=True):
        k = max(powers)
        product = shifted_along(f.mT, [power - k for power in powers], 1) @ g
        spectra.append([math.ldexp(s, k) for s in singular_values(product).tolist()])
    return spectra
