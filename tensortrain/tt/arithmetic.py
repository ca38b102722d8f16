"""Arithmetic of trains, as functions of their cores. Boundary axes R_0 and R_m are treated like other axes."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tensortrain.derivatives import qr
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.transforms import samples
from tensortrain.tt.checks import PRECISIONS
from tensortrain.tt.exponents import unscaled
from tensortrain.tt.interfaces import mirrored, scaled_bonds
from tensortrain.tt.scaling import contract, peak, range_of, shifted, unit
from tensortrain.tt.svd import compressed


def add(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    """Return the cores of the sum. They are block-diagonal, so the inner ranks are added."""
    if len(a) == 1:
        return [a[0] + b[0]]
    first = torch.cat([a[0], b[0]], 2)
    last = torch.cat([a[-1], b[-1]], 0)
    return [first, *(_blocks(x, y) for x, y in zip(a[1:-1], b[1:-1], strict=True)), last]


def _blocks(a: Tensor, b: Tensor) -> Tensor:
    """Return the block-diagonal core of two cores."""
    upper = torch.cat([a, a.new_zeros(a.shape[0], a.shape[1], b.shape[2])], 2)
    lower = torch.cat([b.new_zeros(b.shape[0], b.shape[1], a.shape[2]), b], 2)
    return torch.cat([upper, lower], 0)


def constant(cores: Sequence[Tensor], value: complex | Tensor) -> list[Tensor]:
    """Return cores of rank 1 of a constant tensor with the same shape and boundary ranks."""
    dtype = torch.result_type(cores[0], value)
    ranks = [cores[0].shape[0], *(1 for _ in cores[1:]), cores[-1].shape[2]]
    triples = zip(ranks[:-1], cores, ranks[1:], strict=True)
    first, *others = [torch.ones(a, core.shape[1], b, dtype=dtype, device=core.device) for a, core, b in triples]
    return [first * value, *others]


def power(cores: Sequence[Tensor], exponent: int) -> Sequence[Tensor]:
    """Return the cores of an elementwise power by repeated squaring; `exponent` is at least 1."""
    result = cores
    for bit in f"{exponent:b}"[1:]:
        result = hadamard(result, result)
        if bit == "1":
            result = hadamard(result, cores)
    return result


def hadamard(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    """Return the cores of the elementwise product: Kronecker products of the slices, so the inner ranks multiply."""
    cores = []
    for l, (x, y) in enumerate(zip(a, b, strict=True), start=1):
        # the bonds of a are p and s, those of b are q and t; at a boundary both trains share one axis
        q, pq = ("p", "p") if l == 1 else ("q", "pq")
        t, st = ("s", "s") if l == len(a) else ("t", "st")
        product = torch.einsum(f"pis,{q}i{t}->{pq}i{st}", x, y)
        cores.append(product.flatten(0, len(pq) - 1).flatten(2))
    return cores


@precise
def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return `Σ conj(A) B` over all entries, computed bond by bond."""
    value, channels = _start(a), []
    for x, y in zip(a, b, strict=True):
        value = torch.tensordot(x.conj(), torch.tensordot(value, y, 1), ([0, 1], [0, 1]))
        channels.append(value.detach().abs().amax(1))
    value = value.diagonal().sum()
    if value.is_meta or (0 < peak(value) < math.inf and not _vanishing(channels, a)):
        return value
    if a[0].dtype not in PRECISIONS:
        return value if 0 < peak(value) < math.inf else shifted(*_inner_scaled(a, b))
    if peak(value) < math.inf:  # perhaps only an intermediate result underflowed
        return _inner_prepared(a, b, scaled_bonds)
    if not all(math.isfinite(peak(core)) for core in (*a, *b)):
        return value
    # an intermediate result overflowed, perhaps only in directions that later cores ignore
    return _inner_prepared(a, b, compressed)


def _vanishing(channels: Sequence[Tensor], cores: Sequence[Tensor]) -> bool:
    """Return whether some channel of a bond came so near the smallest numbers that it may have lost digits.

    A channel that is exactly zero counts as well, unless all entries of the cores that lead to it are zero.

    Args:
        channels: the largest absolute value in each channel, `(R_l,)` for each bond, beginning after the first core.
        cores: the cores that the channels belong to.
    """
    sizes = torch.cat([samples(channel).flatten() for channel in channels])
    smallest = 2.0 ** -range_of(sizes.dtype)
    if not bool((sizes < smallest).any()):
        return False
    if bool(((sizes > 0) & (sizes < smallest)).any()):
        return True
    leads = torch.ones(cores[0].shape[0], dtype=torch.bool, device=sizes.device)
    for core, channel in zip(cores, channels, strict=True):
        entries = core.detach() != 0
        leads = (entries & leads[:, None, None]).flatten(0, 1).any(0)
        if bool(samples(leads & (channel == 0)).any()):
            return True
    return False


def _start(cores: Sequence[Tensor]) -> Tensor:
    """Return the identity matrix on the first boundary axis."""
    return torch.eye(cores[0].shape[0], dtype=cores[0].dtype, device=cores[0].device)


def _inner_prepared(
    a: Sequence[Tensor], b: Sequence[Tensor], prepare: Callable[[Sequence[Tensor]], tuple[list[Tensor], int]]
) -> Tensor:
    """Return `Σ conj(A) B` from the trains that `prepare` returns, each with the power of two that it lacks."""

    def compute(cores: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return `(v, k)` such that the inner product of both trains is `v · 2**k`."""
        (x, left), (y, right) = prepare(cores[: len(a)]), prepare(cores[len(a) :])
        value, k = _inner_scaled(x, y)
        return value, left + right + k

    return unscaled(compute, [*a, *b], 1)


def _inner_scaled(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Return `(v, k)` with `Σ conj(A) B = v · 2**k`, where every intermediate result is scaled by a power of two."""
    value, k = _start(a), 0
    ordinary = min(20, range_of(a[0].dtype) - 7)  # half precision has no room for larger numbers
    for x, y in zip(a, b, strict=True):
        (x, left), (y, right) = unit(x, ordinary), unit(y, ordinary)
        value, power = unit(torch.tensordot(x.conj(), torch.tensordot(value, y, 1), ([0, 1], [0, 1])), ordinary)
        k += left + right + power
    return value.diagonal().sum(), k


@precise
def orthogonalize(cores: Sequence[Tensor], center: int) -> list[Tensor]:
    """Return the same tensor with left-orthogonal cores before `center` and right-orthogonal cores after it.

    Raises:
        TensorTrainError: the norm of the train does not fit the dtype, so that no single core can hold it.
    """
    done, k = _orthogonalize(cores, center)
    if k != 0:  # the numbers out of range may belong to directions that the tensor does not have
        cores, before = compressed(cores)
        done, after = _orthogonalize(cores, center)
        k = before + after
    held = shifted(done[center], k)
    if k != 0 and (not math.isfinite(peak(held)) or (peak(held) == 0) > (peak(done[center]) == 0)):
        raise TensorTrainError(
            f"the norm of the train, about 2**{k}, does not fit {held.dtype}, and the core at"
            f" center = {center} would have to hold it; use round(), which spreads it over all cores"
        )
    return [*done[:center], held, *done[center + 1 :]]


def _orthogonalize(cores: Sequence[Tensor], center: int) -> tuple[list[Tensor], int]:
    """Return the cores and a number k: the core at `center` must be multiplied by `2**k`."""
    halfway, left = _left_orthogonal(cores, center, 1, 1)
    mirror, right = _left_orthogonal(mirrored(halfway), len(cores) - 1 - center, len(cores) - 1, -1)
    return [core.contiguous() for core in mirrored(mirror)], left + right


def _left_orthogonal(cores: Sequence[Tensor], steps: int, bond: int, direction: int) -> tuple[list[Tensor], int]:
    """Return cores of which the first `steps` are left-orthogonal, and k: the result must be multiplied by `2**k`."""
    done = list(cores)
    k = 0
    for l in range(steps):
        q, r = qr(done[l].flatten(0, 1), bond + direction * l)
        done[l] = q.reshape(*done[l].shape[:2], -1)
        done[l + 1], power = contract(r, done[l + 1])
        k += power
    return done, k
