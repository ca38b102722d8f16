"""Cross interpolation: the cores of a train from entries of a tensor that is never formed.

The pivots of bond l are index sets I_l, `(R_l, l)`, of the axes before it and J_l, `(R_l, m - l)`, of those after
it. A sweep visits the bonds in order. At each it eliminates the matrix of the entries at rows `I_{l-1} × {1 … I_l}` and
some columns `{1 … I_{l+1}} × J_{l+1}` with complete pivoting, which settles the rank and both new sets of pivots at
once. The core is then `T P⁻¹` with T the entries at all rows and the chosen columns, and P those at the pivots.

This is the tensor cross interpolation of Núñez Fernández et al. 2025 (TCI2, algorithm 3), with alternating rows and
columns (rook pivoting) in place of the whole matrix. It was preferred to DMRG-cross with maxvol (Savostyanov and
Oseledets 2011) because the last pivot is an error in the norm that matters here, that of the largest entry; because
ranks follow from it without a singular value decomposition; and because a pivot found anywhere, by a search over the
whole tensor or by the caller, joins as one more column.
"""

import contextlib
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

Function = Callable[[Tensor], Tensor]

_STARTS = 200  # random points among which the first pivot is looked for, and each search starts
_BEST = 5  # of them, whose neighbours a search looks at
_SWEEPS = 60  # more of them have never helped where these did not


class Exhausted(Exception):
    """The next entries would exceed the number of evaluations allowed."""


class Entries:
    """Entries of a tensor by their indices; the function is called with new ones only, all of a batch at once.

    Args:
        function: from `(B, m)` indices to `(B,)` values.
        shape: I_1 … I_m.
        limit: how many indices it may be called with.
        device: where it gets its indices.

    Attributes:
        evaluations: number of indices that it was called with.
        largest: largest absolute value among them.
        dtype: of the values; None before the first.
        device: of the values; that of the indices before the first.
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
        """The double precision dtype of what is calculated with the values."""
        assert self.dtype is not None
        return WIDE.get(self.dtype, self.dtype)

    @property
    def eps(self) -> float:
        """Rounding error of the values."""
        assert self.dtype is not None
        return torch.finfo(self.dtype).eps

    def __call__(self, indices: Tensor) -> Tensor:
        """The entries at `indices`, `(B, m)`, in double precision and on the CPU.

        Raises:
            Exhausted: more new indices than are allowed; the function is not called then.
            TensorTrainError: values that are no numbers, not finite, or not one for each index.
        """
        rows = np.ascontiguousarray(indices.numpy().astype(self._key))
        packed: Any = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
        keys: list[bytes] = packed.ravel().tolist()
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            values = self._evaluate(indices[list(new.values())])
            self._known.update(zip(new, values.tolist(), strict=True))
        return torch.tensor([self._known[key] for key in keys], dtype=self.wide)

    def _evaluate(self, indices: Tensor) -> Tensor:
        if self.evaluations + len(indices) > self.limit:
            raise Exhausted
        self.evaluations += len(indices)
        values = self._function(indices.to(self._indices_on, copy=True))
        self._check(values, indices)
        values = values.detach().cpu()
        self.largest = max(self.largest, float(values.abs().max()))
        return values

    def _check(self, values: object, indices: Tensor) -> None:
        if not isinstance(values, Tensor):
            raise TensorTrainError(f"the function returns a {type(values).__name__}; a torch.Tensor is needed")
        checks.ordinary("what the function returns", values)
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
            raise TensorTrainError(f"the function returns {values.dtype} now and returned {self.dtype} before")
        self.dtype, self.device = values.dtype, values.device
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            at = tuple(indices[int(bad[0])].tolist())
            raise TensorTrainError(
                f"the function is {values[int(bad[0])].item()} at index {at}; every entry must be finite"
            )


def eliminate(matrix: Tensor, allowed: float) -> tuple[list[int], list[int]]:
    """Rows and columns of the pivots of Gaussian elimination with complete pivoting, the largest first.

    It ends where all that is left is at most `allowed`, but never without a pivot.

    >>> eliminate(torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.0, 3.0]]), 1e-6)
    ([1, 2], [1, 0])
    """
    rest = matrix.clone()
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
    """`M M[rows]⁻¹` for a tall M whose `rows` are independent, from a basis of its columns, so that no digits are lost.

    >>> interpolant(torch.tensor([[2.0], [4.0], [3.0]]), [1]).round(decimals=4)
    tensor([[0.5000],
            [1.0000],
            [0.7500]])
    """
    basis = torch.linalg.qr(matrix)[0]
    core: Tensor = torch.linalg.solve(basis[rows], basis, left=False)
    return core


def gathered(cores: Sequence[Tensor], indices: Tensor) -> Tensor:
    """The entries of a train with boundary ranks of 1 at `indices`, `(B, m)`.

    >>> gathered([torch.ones(1, 2, 3), torch.ones(3, 4, 1)], torch.tensor([[0, 3], [1, 1]]))
    tensor([3., 3.])
    """
    entries = select(cores, indices.unbind(1))
    assert isinstance(entries, Tensor)
    return entries.flatten()


def crossed(left: Tensor, right: Tensor) -> Tensor:
    """All rows of `left` joined with all rows of `right`, those of `right` fastest.

    >>> crossed(torch.tensor([[7], [8]]), torch.tensor([[0], [1]])).tolist()
    [[7, 0], [7, 1], [8, 0], [8, 1]]
    """
    return torch.cat([left.repeat_interleave(len(right), 0), right.repeat(len(left), 1)], 1)


def _distinct(*indices: Tensor) -> Tensor:
    rows: Any = torch.cat(indices)
    unique: Tensor = rows.unique(dim=0)
    return unique


def _axis(size: int) -> Tensor:
    return torch.arange(size)[:, None]


class Attempt(NamedTuple):
    """What `cross` returns.

    Attributes:
        cores: of the train, on the device and in the dtype of the values.
        converged: whether the ranks have settled and a search found no entry that is off.
    """

    cores: list[Tensor]
    converged: bool


def cross(entries: Entries, rtol: float, pivots: Tensor, generator: torch.Generator) -> Attempt:
    """A train that interpolates `entries`, to about `rtol` times the largest of them.

    Args:
        entries: the tensor.
        rtol: pivots below a tenth of this, relative to the largest entry, are noise.
        pivots: `(P, m)`, indices to start from beside random ones; P may be 0.
        generator: of the random numbers.

    Raises:
        TensorTrainError: fewer evaluations allowed than the first sweep needs.
    """
    latest: Attempt | None = None
    with contextlib.suppress(Exhausted):
        for attempt in _attempts(entries, rtol, pivots, generator):
            latest = attempt
    if latest is None:
        raise TensorTrainError(
            f"max_evaluations: {entries.evaluations} evaluations are done, and the first sweep needs more; raise it"
        )
    return Attempt([core.to(entries.device, entries.dtype) for core in latest.cores], latest.converged)


def _attempts(entries: Entries, rtol: float, pivots: Tensor, generator: torch.Generator) -> Iterator[Attempt]:
    """The cores after each sweep, first to last and last to first in turn."""
    shape = entries.shape
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
    """The cores where there is nothing to choose: of a vector, and of a tensor that was zero wherever it was read."""
    if len(entries.shape) == 1:
        return [entries(_axis(entries.shape[0])).reshape(1, -1, 1)]
    return [torch.zeros(1, size, 1, dtype=entries.wide) for size in entries.shape]


def _missed(entries: Entries, cores: Sequence[Tensor], rtol: float, generator: torch.Generator) -> Tensor:
    """Indices that a search has found the train to miss by more than the tolerance; none as a rule."""

    def off(indices: Tensor) -> Tensor:
        return entries(indices) - gathered(cores, indices)

    points = search(entries.shape, off, generator)
    return points[off(points).abs() > max(rtol, 16 * entries.eps) * entries.largest]


class Pivots(NamedTuple):
    """I_l and J_l of every bond, l = 1 … m - 1."""

    left: list[Tensor]
    right: list[Tensor]

    def mirrored(self) -> "Pivots":
        """Those of the tensor with its axes in reverse order."""
        return Pivots([r.flip(1) for r in self.right[::-1]], [l.flip(1) for l in self.left[::-1]])

    def joined(self, points: Tensor) -> "Pivots":
        """With `points`, `(P, m)`, as further pivots of every bond."""
        return Pivots(
            [_distinct(known, points[:, :l]) for l, known in enumerate(self.left, start=1)],
            [_distinct(known, points[:, l:]) for l, known in enumerate(self.right, start=1)],
        )


def _sweep(
    entries: Entries, bonds: Pivots, rtol: float, generator: torch.Generator, backwards: bool
) -> tuple[Pivots, list[Tensor]]:
    """One sweep from the first bond to the last, of the mirrored tensor if `backwards`."""
    shape = entries.shape[::-1] if backwards else entries.shape
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    left = [nothing]
    right: list[Tensor] = []
    cores: list[Tensor] = []

    def block(rows: Tensor, columns: Tensor) -> Tensor:
        indices = crossed(rows, columns)
        return entries(indices.flip(1) if backwards else indices).reshape(len(rows), len(columns))

    for bond, known in enumerate(bonds.right, start=1):
        rows = crossed(left[-1], _axis(shape[bond - 1]))
        beyond = bonds.right[bond] if bond < len(bonds.right) else nothing
        columns = _distinct(known, crossed(_axis(shape[bond]), beyond))
        extra = torch.randperm(len(columns), generator=generator)[: len(known) // 2 + 2]
        some = _distinct(known, columns[extra])
        pivots = eliminate(block(rows, some), _noise(entries, rtol))[0]
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
    return max(0.1 * rtol, 8 * entries.eps) * entries.largest


def search(shape: Sequence[int], values: Function, generator: torch.Generator) -> Tensor:
    """Indices of large entries, `(P, m)`: the best of some random ones, improved in one axis after the other."""
    points = random_indices(shape, _STARTS, generator)
    best = points[values(points).abs().topk(_BEST).indices]
    for axis, size in enumerate(shape):
        trials = best.repeat_interleave(size, 0)
        trials[:, axis] = torch.arange(size).repeat(len(best))
        at = values(trials).abs().reshape(-1, size).argmax(1)
        best = best.clone()
        best[:, axis] = at
    return _distinct(best)


def random_indices(shape: Sequence[int], points: int, generator: torch.Generator) -> Tensor:
    """`(points, m)` indices, each entry of the tensor as likely as any other."""
    return torch.stack([torch.randint(size, (points,), generator=generator) for size in shape], 1)
