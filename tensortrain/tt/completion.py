"""Fit trains to some of their entries, by alternating least squares."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.tt.arithmetic import orthogonalize
from tensortrain.tt.checks import check_single, check_sizes, signed
from tensortrain.tt.pieces import grouped
from tensortrain.tt.scaling import rescaled


def check_observations(indices: object, values: object, shape: Any) -> tuple[Tensor, Tensor]:
    """Return indices `(N, m)` as int64 and values `(N,)` that are finite and in single or double precision."""
    values = checks.entries("values", values)
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.is_complex():
        kind = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
        raise TensorTrainError(f"indices is a {kind}; a tensor of integers, (entries, axes), is needed")
    checks.ordinary("indices", indices)
    if indices.dim() != 2 or indices.shape[1] == 0 or values.shape != indices.shape[:1]:
        raise TensorTrainError(
            f"indices has shape {tuple(indices.shape)} and values {tuple(values.shape)}; (entries, axes) and (entries,)"
            " are needed"
        )
    if indices.is_meta:
        raise TensorTrainError("indices is on the meta device and holds no indices; load it first")
    check_single("fit", indices, values)
    indices = signed("indices", indices)
    if int(indices.min()) < 0:
        raise TensorTrainError(f"indices holds {int(indices.min())}; indices are counted from 0")
    if shape is not None:
        sizes, largest = check_sizes("shape", shape), indices.amax(0).tolist()
        if len(sizes) != len(largest) or any(n >= size for n, size in zip(largest, sizes, strict=True)):
            raise TensorTrainError(f"shape = {sizes} does not hold the indices, which go up to {tuple(largest)}")
    return indices.to(values.device), values.detach()


def alternate(
    cores: Sequence[Tensor], indices: Tensor, values: Tensor, rtol: float, sweeps: int
) -> tuple[list[Tensor], float]:
    """Improve one core after the other, from the first to the last and back, and return the cores and the residual.

    Each step minimises `‖T[indices] − values‖² + λ ‖T‖²` over one core, while all others are orthogonal. λ is the
    fraction of the entries that are observed, times the square of the relative residual. The damping keeps the other
    entries bounded if few are observed (Grasedyck and Krämer 2019, "Stable ALS approximation in the TT-format for
    rank-adaptive tensor completion"). If a train fits the observed entries, λ goes to zero with the residual.

    Args:
        cores: the cores of the initial train, in double precision, with boundary ranks 1.
        indices: the indices of the observed entries, `(N, m)`.
        values: the observed entries, `(N,)`, not all of them zero.
        rtol: relative residual at which the fit stops.
        sweeps: largest number of sweeps; each goes from the first core to the last and back.

    Returns:
        The cores, and the relative residual.

    Complexity: `Σ_l (N (R_{l-1} R_l)² + I_l (R_{l-1} R_l)³)` for each sweep.
    """
    norm = float(torch.linalg.vector_norm(values))
    # the root of the fraction of observed entries, because the fraction itself would underflow for a long train
    share = math.exp((math.log(len(values)) - sum(math.log(core.shape[1]) for core in cores)) / 2)
    places = [grouped(column, core.shape[1]) for column, core in zip(indices.T, cores, strict=True)]
    cores = orthogonalize(cores, 0)
    residual = 1.0
    for _ in range(sweeps):
        before, damping = residual, share * max(residual, math.sqrt(torch.finfo(values.dtype).eps))
        for direction in (1, -1):
            residual = _half_sweep(cores, indices, values, places, damping, direction) / norm
        if residual <= rtol or abs(before - residual) <= 1e-7 * residual:
            break
    return cores, residual


def residual(cores: Sequence[Tensor], indices: Tensor, values: Tensor, k: int) -> float:
    """Return the relative residual of the train times `2**k` at the observed entries."""
    products = values.new_ones(len(values), 1)
    for core, column in zip(rescaled(cores, k), indices.T, strict=True):
        products = _next(products, core[:, column], 1)
    return float(torch.linalg.vector_norm(products[:, 0] - values) / torch.linalg.vector_norm(values))


def _half_sweep(
    cores: list[Tensor],
    indices: Tensor,
    values: Tensor,
    places: Sequence[Sequence[Tensor]],
    damping: float,
    direction: int,
) -> float:
    """Solve for every core once, in place, from one end to the other, and return the norm of the residual."""
    order = len(cores)
    path = range(order) if direction == 1 else range(order - 1, -1, -1)
    ahead = _ahead(cores, indices, direction)
    behind = values.new_ones(len(values), 1)
    residual = math.inf
    for l in path:
        left, right = (behind, ahead[l]) if direction == 1 else (ahead[l], behind)
        cores[l], residual = _solve(left, right, values, places[l], damping)
        following = l + direction
        if 0 <= following < order:
            _move(cores, l, direction)
            behind = _next(behind, cores[l][:, indices[:, l]], direction)
    return residual


def _ahead(cores: Sequence[Tensor], indices: Tensor, direction: int) -> list[Tensor]:
    """Return for each core the products of all cores ahead of it at the observed entries, `(N, R)`."""
    order = len(cores)
    products = [cores[0].new_ones(len(indices), 1)] * order
    for l in range(order - 2, -1, -1) if direction == 1 else range(1, order):
        beyond = l + direction
        products[l] = _next(products[beyond], cores[beyond][:, indices[:, beyond]], -direction)
    return products


def _next(product: Tensor, slices: Tensor, direction: int) -> Tensor:
    """Return products times the slices `(R, N, R')` of a core: `(N, R')` from `(N, R)`; in direction -1 vice versa."""
    return torch.einsum("nr,rns->ns" if direction == 1 else "ns,rns->nr", product, slices)


def _solve(
    left: Tensor, right: Tensor, values: Tensor, places: Sequence[Tensor], damping: float
) -> tuple[Tensor, float]:
    """Return the core C that minimises `residual² + ‖damping C‖²`, and the residual.

    With few entries and a tiny damping, several cores minimise it up to rounding error; the smallest is returned.
    """
    shape = left.shape[1], right.shape[1]
    largest = (left.abs().amax(1) * right.abs().amax(1)).amax()
    noise = torch.finfo(largest.dtype).eps * math.sqrt(len(values) * math.prod(shape)) * largest
    slices, squares = [], 0.0
    for entries in places:
        design = (left[entries, :, None] * right[entries, None, :]).flatten(1)
        u, sizes, v = torch.linalg.svd(design, full_matrices=False)
        inverse = torch.where(sizes > noise, 1 / (sizes + damping * (damping / sizes)), 0)
        solution = v.mH @ (inverse * (u.mH @ values[entries]))
        slices.append(solution.reshape(shape))
        squares += float(torch.linalg.vector_norm(design @ solution - values[entries])) ** 2
    return torch.stack(slices, 1), math.sqrt(squares)


def _move(cores: list[Tensor], l: int, direction: int) -> None:
    """Make core l orthogonal and multiply the other factor into its neighbour in the direction of the sweep."""
    core, following = cores[l], cores[l + direction]
    if direction == 1:
        q, r = torch.linalg.qr(core.flatten(0, 1))
        cores[l] = q.reshape(*core.shape[:2], -1)
        cores[l + 1] = torch.tensordot(r, following, 1)
    else:
        q, r = torch.linalg.qr(core.flatten(1).mT)
        cores[l] = q.mT.reshape(-1, *core.shape[1:])
        cores[l - 1] = torch.tensordot(following, r.mT, 1)
