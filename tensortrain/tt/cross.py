"""Cross interpolation: compute the cores of a train from some entries of a tensor that is never formed.

The pivots of bond l are index sets I_l, `(R_l, l)`, of the axes before the bond and J_l, `(R_l, m - l)`, of the axes
after it. A sweep visits the bonds in order. At each bond it takes the matrix of the entries at rows
`I_{l-1} × {1 … I_l}` and some columns `{1 … I_{l+1}} × J_{l+1}`, and eliminates it with complete pivoting. This gives
the rank and both new sets of pivots at once. The core is then `T P⁻¹`, where T holds the entries at all rows and the
chosen columns, and P those at the pivots.

The algorithm is the tensor cross interpolation of Núñez Fernández et al. 2025 (TCI2, algorithm 3). It searches rows and
columns alternately (rook pivoting) instead of the whole matrix. It has three advantages over DMRG-cross with maxvol
(Savostyanov and Oseledets 2011). The last pivot estimates the error in the maximum norm, which matters here. The ranks
follow from the pivots without a singular value decomposition. And a pivot that comes from elsewhere, from a search over
the whole tensor or from the caller, is simply added as one more column.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.derivatives import WIDE
from tensortrain.errors import TensorTrainError
from tensortrain.tt.checks import PRECISIONS
from tensortrain.tt.interfaces import mirrored
from tensortrain.tt.pieces import select
from tensortrain.tt.scaling import unit

Function = Callable[[Tensor], Tensor]

_STARTS = 200  # number of random points from which the first pivot and each search start
_BEST = 5  # number of the largest points whose neighbours a search evaluates
_SWEEPS = 60  # in experiments, more sweeps never helped where these did not suffice


class Exhausted(Exception):
    """Raised when the next entries would exceed the allowed number of evaluations."""


class Entries:
    """Entries of a tensor by their indices. The function is called with new indices only, all of a batch at once.

    Args:
        function: a function from indices `(B, m)` to values `(B,)`.
        shape: the shape I_1 … I_m.
        limit: largest number of indices with which the function may be called.
        device: the device of the indices that the function receives.

    Attributes:
        evaluations: number of indices with which the function was called.
        largest: largest absolute value among the entries so far.
        dtype: dtype of the values; None before the first call.
        device: device of the values; before the first call, that of the indices.
    """

    def __init__(self, function: Function, shape: Sequence[int], limit: int, device: torch.device) -> None:
        self.shape = tuple(shape)
        self.limit = limit
        self.evaluations = 0
        self.largest = 0.0
        self.dtype: torch.dtype | None = None
        self.device = device
        self._function, self._indices_on = function, device
        self._known: dict[bytes, complex] = {}
        self._key = np.min_scalar_type(max(self.shape))

    @property
    def wide(self) -> torch.dtype:
        """Return the double precision dtype in which the values are processed."""
        assert self.dtype is not None
        return WIDE.get(self.dtype, self.dtype)

    @property
    def eps(self) -> float:
        """Return the rounding error of the values' dtype."""
        assert self.dtype is not None
        return torch.finfo(self.dtype).eps

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the entries at `indices`, `(B, m)`, in double precision and on the CPU.

        Raises:
            Exhausted: there are more new indices than allowed; the function is not called then.
            TensorTrainError: the function does not return one finite number for each index.
        """
        rows = np.ascontiguousarray(indices.numpy().astype(self._key))
        packed: Any = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
        keys: list[bytes] = packed.ravel().tolist()
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            values = self._evaluate(indices[list(new.values())])
            self._known.update(zip(new, values.tolist(), strict=True))
        return torch.tensor([self._known[key] for key in keys], dtype=self.wide, device="cpu")

    def _evaluate(self, indices: Tensor) -> Tensor:
        """Call the function with new indices and return its checked values on the CPU."""
        if self.evaluations + len(indices) > self.limit:
            raise Exhausted
        self.evaluations += len(indices)
        values = self._function(indices.to(self._indices_on, copy=True))
        self._check(values, indices)
        values = values.detach().cpu()
        self.largest = max(self.largest, float(values.to(self.wide).abs().max()))
        return values

    def _check(self, values: object, indices: Tensor) -> None:
        """Refuse values that are not one finite number for each index."""
        if not isinstance(values, Tensor):
            raise TensorTrainError(f"the function returns a {type(values).__name__}; a torch.Tensor is needed")
        checks.ordinary("the result of the function", values)
        if values.shape != (len(indices),):
            raise TensorTrainError(
                f"the function returns shape {tuple(values.shape)} for indices of shape {tuple(indices.shape)};"
                f" ({len(indices)},), one value for each row, is needed"
            )
        if values.dtype not in PRECISIONS or values.is_meta:
            raise TensorTrainError(
                f"the function returns {values.dtype} on {values.device}; numbers in single or double precision are"
                " needed: .double()"
            )
        if self.dtype not in (None, values.dtype):
            raise TensorTrainError(f"the function returned {self.dtype} before and {values.dtype} now; use one dtype")
        self.dtype, self.device = values.dtype, values.device
        bad = (~values.to(self.wide).abs().isfinite()).nonzero()
        if len(bad):
            at = tuple(indices[int(bad[0])].tolist())
            raise TensorTrainError(
                f"the function is {values[int(bad[0])].item()} at index {at}; every entry and its absolute value must"
                " be finite"
            )


def eliminate(matrix: Tensor, allowed: float) -> tuple[list[int], list[int]]:
    """Return the rows and columns of the pivots of Gaussian elimination with complete pivoting, the largest first.

    The elimination ends when all remaining entries are at most `allowed`, but finds at least one pivot.

    >>> eliminate(torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.0, 3.0]]), 1e-6)
    ([1, 2], [1, 0])
    """
    rest, k = unit(matrix)  # so that differences of very large entries do not overflow
    allowed = math.ldexp(allowed, -k)
    rows: list[int] = []
    columns: list[int] = []
    for _ in range(min(rest.shape)):
        row, column = divmod(int(rest.abs().argmax()), rest.shape[1])
        pivot = rest[row, column].clone()
        if rows and float(pivot.abs()) <= allowed:
            break
        rows.append(row)
        columns.append(column)
        if float(pivot.abs()) == 0:
            break
        rest = rest - torch.outer(rest[:, column] / pivot, rest[row])
        rest[row] = 0
        rest[:, column] = 0
    return rows, columns


def interpolant(matrix: Tensor, rows: Sequence[int]) -> Tensor:
    """Return `M M[rows]⁻¹` for a tall matrix M whose `rows` are independent.

    It is computed from an orthonormal basis of the columns of M, so that no digits are lost.

    >>> interpolant(torch.tensor([[2.0], [4.0], [3.0]]), [1]).round(decimals=4)
    tensor([[0.5000],
            [1.0000],
            [0.7500]])
    """
    basis = torch.linalg.qr(unit(matrix)[0])[0]
    core: Tensor = torch.linalg.solve(basis[rows], basis, left=False)
    return core


def gathered(cores: Sequence[Tensor], indices: Tensor) -> Tensor:
    """Return the entries at `indices`, `(B, m)`, of a train with boundary ranks of 1.

    >>> gathered([torch.ones(1, 2, 3), torch.ones(3, 4, 1)], torch.tensor([[0, 3], [1, 1]]))
    tensor([3., 3.])
    """
    entries = select(cores, indices.unbind(1))
    assert isinstance(entries, Tensor)
    return entries.flatten()


def crossed(left: Tensor, right: Tensor) -> Tensor:
    """Return all rows of `left` joined with all rows of `right`; the rows of `right` change fastest.

    >>> crossed(torch.tensor([[7], [8]]), torch.tensor([[0], [1]])).tolist()
    [[7, 0], [7, 1], [8, 0], [8, 1]]
    """
    return torch.cat([left.repeat_interleave(len(right), 0), right.repeat(len(left), 1)], 1)


def _distinct(*indices: Tensor) -> Tensor:
    """Return the distinct rows of several index tensors."""
    rows: Any = torch.cat(indices)
    unique: Tensor = rows.unique(dim=0)
    return unique


def _axis(size: int) -> Tensor:
    """Return all indices of an axis as a column."""
    return torch.arange(size, device="cpu")[:, None]


class Attempt(NamedTuple):
    """The result of `cross`.

    Attributes:
        cores: cores of the train, on the device and in the dtype of the values.
        converged: whether the ranks no longer changed and a search found no entry with an error above the tolerance.
    """

    cores: list[Tensor]
    converged: bool


def cross(entries: Entries, rtol: float, pivots: Tensor, generator: torch.Generator) -> Attempt:
    """Return a train that interpolates `entries`, with errors of about `rtol` times the largest entry.

    Args:
        entries: the entries of the tensor.
        rtol: relative tolerance. Pivots below a tenth of it, relative to the largest entry, are treated as noise.
        pivots: `(P, m)`, indices to start from in addition to random ones; P may be 0.
        generator: the random generator.

    Raises:
        TensorTrainError: the first sweep needs more evaluations than are allowed.
    """
    latest: Attempt | None = None
    with contextlib.suppress(Exhausted):
        for attempt in _attempts(entries, rtol, pivots, generator):
            latest = attempt
    if latest is None:
        raise TensorTrainError(
            f"max_evaluations is too small: the first sweep needs more than {entries.limit} evaluations; raise it"
        )
    return Attempt([core.to(entries.device, entries.dtype) for core in latest.cores], latest.converged)


def _attempts(entries: Entries, rtol: float, pivots: Tensor, generator: torch.Generator) -> Iterator[Attempt]:
    """Yield the cores after each sweep; the sweeps alternate between both directions."""
    shape = entries.shape
    if max(shape) > entries.limit:  # every index of an axis is needed, and their list might not even fit in memory
        raise Exhausted
    points = torch.cat([pivots, search(shape, entries, generator)])
    entries(points)
    if entries.largest == 0 or len(shape) == 1:
        yield Attempt(_without_bonds(entries), True)
        return
    bonds = Pivots([points[:, :l] for l in range(1, len(shape))], [points[:, l:] for l in range(1, len(shape))])
    ranks: list[int] = []
    for sweep in range(_SWEEPS):
        backwards = sweep % 2 == 1
        bonds, cores = _sweep(entries, bonds.mirrored() if backwards else bonds, rtol, generator, backwards)
        if backwards:
            bonds, cores = bonds.mirrored(), mirrored(cores)
        yield Attempt(cores, False)
        before, ranks = ranks, [len(left) for left in bonds.left]
        if ranks == before:
            points = _missed(entries, cores, rtol, generator)
            if len(points) == 0:
                yield Attempt(cores, True)
                return
            bonds = bonds.joined(points)


def _without_bonds(entries: Entries) -> list[Tensor]:
    """Return the cores of a vector, or of a tensor whose evaluated entries are all zero."""
    if len(entries.shape) == 1:
        return [entries(_axis(entries.shape[0])).reshape(1, -1, 1)]
    return [torch.zeros(1, size, 1, dtype=entries.wide, device="cpu") for size in entries.shape]


def _missed(entries: Entries, cores: Sequence[Tensor], rtol: float, generator: torch.Generator) -> Tensor:
    """Return the indices, usually none, at which a search found an error of the train above the tolerance."""

    def errors_at(indices: Tensor) -> Tensor:
        """Return the errors of the train at `indices`."""
        return entries(indices) - gathered(cores, indices)

    points = search(entries.shape, errors_at, generator)
    return points[errors_at(points).abs() > max(rtol, 16 * entries.eps) * entries.largest]


class Pivots(NamedTuple):
    """The pivots I_l and J_l of every bond, l = 1 … m - 1."""

    left: list[Tensor]
    right: list[Tensor]

    def mirrored(self) -> "Pivots":
        """Return the pivots of the tensor with its axes in reverse order."""
        return Pivots([r.flip(1) for r in self.right[::-1]], [l.flip(1) for l in self.left[::-1]])

    def joined(self, points: Tensor) -> "Pivots":
        """Return the pivots with `points`, `(P, m)`, as further pivots of every bond."""
        return Pivots(
            [_distinct(known, points[:, :l]) for l, known in enumerate(self.left, start=1)],
            [_distinct(known, points[:, l:]) for l, known in enumerate(self.right, start=1)],
        )


def _sweep(
    entries: Entries, bonds: Pivots, rtol: float, generator: torch.Generator, backwards: bool
) -> tuple[Pivots, list[Tensor]]:
    """Return the pivots and cores after one sweep over all bonds, of the mirrored tensor if `backwards`."""
    shape = entries.shape[::-1] if backwards else entries.shape
    nothing = torch.zeros(1, 0, dtype=torch.int64, device="cpu")
    left = [nothing]
    right: list[Tensor] = []
    cores: list[Tensor] = []

    def block(rows: Tensor, columns: Tensor) -> Tensor:
        """Return the matrix of the entries at all pairs of `rows` and `columns`."""
        indices = crossed(rows, columns)
        return entries(indices.flip(1) if backwards else indices).reshape(len(rows), len(columns))

    for bond, known in enumerate(bonds.right, start=1):
        rows = crossed(left[-1], _axis(shape[bond - 1]))
        beyond = bonds.right[bond] if bond < len(bonds.right) else nothing
        columns = _distinct(known, crossed(_axis(shape[bond]), beyond))
        extra = torch.randperm(len(columns), generator=generator, device="cpu")[: len(known) // 2 + 2]
        first_columns = _distinct(known, columns[extra])
        pivots = eliminate(block(rows, first_columns), _noise(entries, rtol))[0]
        columns = columns[eliminate(block(rows[pivots], columns), _noise(entries, rtol))[1]]
        table = block(rows, columns)
        pivots, kept = eliminate(table, _noise(entries, rtol))
        left.append(rows[pivots])
        right.append(columns[kept])
        core = interpolant(table[:, kept], pivots)
        cores.append(core.reshape(len(left[-2]), shape[bond - 1], -1))
    cores.append(block(left[-1], _axis(shape[-1]))[..., None])
    return Pivots(left[1:], right), cores


def _noise(entries: Entries, rtol: float) -> float:
    """Return the largest size of a pivot that is treated as noise."""
    return max(0.1 * rtol, 8 * entries.eps) * entries.largest


def search(shape: Sequence[int], values: Function, generator: torch.Generator) -> Tensor:
    """Return indices of large entries, `(P, m)`: the best of some random ones, improved along one axis at a time."""
    points = random_indices(shape, _STARTS, generator)
    best = points[values(points).abs().topk(_BEST).indices]
    for axis, size in enumerate(shape):
        trials = best.repeat_interleave(size, 0)
        trials[:, axis] = torch.arange(size, device="cpu").repeat(len(best))
        at = values(trials).abs().reshape(-1, size).argmax(1)
        best = best.clone()
        best[:, axis] = at
    return _distinct(best)


def random_indices(shape: Sequence[int], points: int, generator: torch.Generator) -> Tensor:
    """Return `(points, m)` random indices, uniformly distributed over the entries of the tensor."""
    return torch.stack([torch.randint(size, (points,), generator=generator, device="cpu") for size in shape], 1)
