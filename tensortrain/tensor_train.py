"""`TensorTrain`: a tensor as a train of cores (TTD, eq. 1 of the Conv-TT-LSTM paper).

| paper | here |
|---|---|
| order m | `train.order` |
| T(l), l = 1 … m | `train.cores[l - 1]`, stored as `(R_{l-1}, I_l, R_l)` |
| I_1 … I_m | `train.shape` |
| R_0 … R_m | `train.ranks`, both ends included |
| eq. (1), T from its cores | `train.reconstruct()` |
| eq. (2), v from T | `train.evaluate_dense([u1, …, um])` |
| eq. (3), v from the cores | `train.evaluate([u1, …, um])`, `tensortrain.tt_functional.tt_evaluate` |
"""

import cmath
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import opt_einsum
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain import checks, storage, tt_arithmetic, tt_functional, tt_svd
from tensortrain.errors import TensorTrainError
from tensortrain.tt_arithmetic import Index

_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TensorTrain:
    """An immutable train of cores with `T[i_1, …, i_m] = T(1)[:, i_1, :] T(2)[:, i_2, :] ⋯ T(m)[:, i_m, :]`.

    `cores[l - 1]` is T(l), `(R_{l-1}, I_l, R_l)`. Boundary ranks R_0 and R_m above 1 make every entry a
    matrix: the dense tensor is then `(R_0, I_1, …, I_m, R_m)`. It is a pytree whose leaves are the cores.

    Args:
        cores: the cores, finite, of one dtype and on one device.
        error: what to report as `error`.

    Attributes:
        error: relative Frobenius error against what was decomposed or rounded; None if built from cores.

    Raises:
        TensorTrainError: cores that are no train.

    >>> train = TensorTrain([torch.ones(1, 4, 2), torch.ones(2, 5, 3), torch.ones(3, 6, 1)])
    >>> train.shape, train.ranks, train.n_parameters, train.reconstruct().shape
    ((4, 5, 6), (1, 2, 3, 1), 56, torch.Size([4, 5, 6]))
    """

    cores: tuple[Tensor, ...]
    error: float | None

    def __init__(self, cores: Iterable[Tensor], *, error: float | None = None) -> None:
        object.__setattr__(self, "cores", _check_cores(cores))
        object.__setattr__(self, "error", error)

    @property
    def order(self) -> int:
        """Number of cores m."""
        return len(self.cores)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(I_1, …, I_m)`."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """`(R_0, …, R_m)`."""
        return (*(core.shape[0] for core in self.cores), self.cores[-1].shape[2])

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the cores."""
        return self.cores[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the cores."""
        return self.cores[0].device

    @property
    def n_parameters(self) -> int:
        """Stored entries, `Σ_l R_{l-1} I_l R_l`."""
        return tt_svd.count(self.shape, self.ranks)

    @property
    def dense_parameters(self) -> int:
        """Entries of the dense tensor, `R_0 I_1 ⋯ I_m R_m`."""
        return self.ranks[0] * math.prod(self.shape) * self.ranks[-1]

    @classmethod
    def decompose(
        cls,
        tensor: Tensor,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        seed: int = 0,
    ) -> "TensorTrain":
        """Decompose any tensor by TT-SVD (Oseledets 2011, algorithm 1), swept from both ends.

        Without a tolerance the caps are used up, as far as that lowers the error; with one, the ranks that
        the tolerance needs are used and `‖T − T̂‖ ≤ (rtol + c ε) ‖T‖` holds with ε of the dtype. The error is at
        most `√(m − 1)` times that of the best train of the same ranks. Gradients flow from the cores to
        `tensor`; what depends on the train alone, such as `reconstruct()`, has the exact gradient wherever
        each bond has a gap between kept and discarded singular values, and a finite one everywhere.

        Args:
            tensor: `(I_1, …, I_m)`, single or double precision, real or complex.
            ranks: cap on the interior ranks. One int is clipped at each bond to what is useful there; of
                m - 1 entries none may be larger than useful.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: cap on stored entries.
            budget: the same as a fraction of the dense parameters.
            seed: accepted as by every `decompose`; TT-SVD draws no random numbers.

        Raises:
            TensorTrainError: an argument out of range, ranks above the largest useful one, caps below
                ranks of 1, or a tolerance that the caps do not allow (the message tells what was achieved).

        Cost: at most `min(p, q)² max(p, q)` for the p × q matrix at each bond, with what comes before
        already truncated.

        >>> i = torch.arange(1.0, 9.0, dtype=torch.float64)
        >>> hilbert = 1 / (i[:, None, None] + i[:, None] + i)
        >>> train = TensorTrain.decompose(hilbert, rtol=1e-3)
        >>> train.ranks, train.error < 1e-3
        ((1, 3, 3, 1), True)
        """
        checks.integer("seed", seed, minimum=0)
        tensor = checks.tensor("tensor", tensor)
        if tensor.dtype not in _DTYPES:
            raise TensorTrainError(f"tensor has dtype {tensor.dtype}; single or double precision is needed: .float()")
        limits = tt_svd.check_limits(tensor.shape, ranks=ranks, rtol=rtol, max_parameters=max_parameters, budget=budget)
        cores, error = tt_svd.within_limits(
            limits,
            tensor.shape,
            (1, 1),
            _norm(tensor),
            torch.finfo(tensor.dtype).eps,
            sweep=lambda caps, allowed: tt_svd.tt_svd(tensor, caps, allowed),
            spectra=lambda: tt_svd.dense_spectra(tensor),
        )
        return _trusted(cores, error)

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "TensorTrain":
        """Cores of normal numbers, scaled so that the entries of the tensor have variance 1.

        Args:
            shape: I_1 … I_m.
            ranks: one int or the interior ranks, taken as they are, useful or not.
            seed: equal seeds give equal trains.
            dtype: by default torch's default dtype.
            device: by default the CPU; the numbers do not depend on it.

        >>> TensorTrain.random((4, 5, 6), 2).ranks
        (1, 2, 2, 1)
        """
        shape, ranks = _check_shape(shape, ranks)
        generator = torch.Generator().manual_seed(checks.integer("seed", seed, minimum=0))
        cores = []
        for left, size, right in zip(ranks[:-1], shape, ranks[1:], strict=True):
            core = torch.randn(left, size, right, generator=generator, dtype=dtype) / math.sqrt(right)
            cores.append(core.to(device))
        return _trusted(cores, None)

    @classmethod
    def zeros(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int] = 1,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "TensorTrain":
        """The zero tensor; arguments as of `random`.

        >>> TensorTrain.zeros((4, 5, 6)).n_parameters
        15
        """
        shape, ranks = _check_shape(shape, ranks)
        triples = zip(ranks[:-1], shape, ranks[1:], strict=True)
        return _trusted([torch.zeros(triple, dtype=dtype, device=device) for triple in triples], None)

    def reconstruct(self) -> Tensor:
        """The dense tensor of eq. (1), `(I_1, …, I_m)`; `(R_0, I_1, …, I_m, R_m)` unless both ends are 1.

        Cost: at least `R_l I_1 ⋯ I_m` multiplications with R_l the smallest of the ranks near the middle.
        """
        return tt_functional.tt_reconstruct(self.cores)

    def evaluate(self, inputs: Sequence[Tensor]) -> Tensor:
        """Eq. (3): contract every axis with a vector, core by core; see `tensortrain.tt_functional.tt_evaluate`.

        Args:
            inputs: u(1) … u(m), each `(B, I_l)`, or `(I_l,)` for one that all of the batch share.

        Returns:
            `(B,)`, or `(B, R_0, R_m)` unless both ends are 1; without B if no input has it.

        Raises:
            TensorTrainError: inputs that do not fit.

        >>> TensorTrain.random((4, 5), 2).evaluate([torch.ones(3, 4), torch.ones(5)]).shape
        torch.Size([3])
        """
        return tt_functional.tt_evaluate(self.cores, inputs)

    def evaluate_dense(self, inputs: Sequence[Tensor]) -> Tensor:
        """Eq. (2): the same from the reconstructed tensor, one axis after another, for comparison.

        Raises:
            TensorTrainError: inputs that do not fit.
        """
        batched = tt_functional.check_inputs(self.cores, inputs)
        batch, left, right, *axes = map(opt_einsum.get_symbol, range(3 + self.order))
        ends = ("", "") if self.ranks[0] == self.ranks[-1] == 1 else (left, right)
        terms = [ends[0] + "".join(axes) + ends[1]]
        terms += [batch * (u.dim() - 1) + axis for u, axis in zip(inputs, axes, strict=True)]
        result = batch * batched + "".join(ends)
        path = [(0, self.order)] + [(l, l + 1) for l in range(self.order - 2, -1, -1)]  # the last axis first
        dense: Tensor = opt_einsum.contract(f"{','.join(terms)}->{result}", self.reconstruct(), *inputs, optimize=path)
        return dense

    def macs(self) -> int:
        """Multiplications of `evaluate` for one sample, `Σ_l R_{l-1} I_l R_l + R_0 Σ_{l ≥ 2} R_{l-1} R_l`."""
        return tt_functional.evaluate_macs(self.shape, self.ranks)

    def dense_macs(self) -> int:
        """Multiplications of `evaluate_dense` for one sample, without the reconstruction, `R_0 R_m Σ_l I_1 ⋯ I_l`."""
        return tt_functional.dense_evaluate_macs(self.shape, self.ranks)

    def round(
        self,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
    ) -> "TensorTrain":
        """Lower the ranks (Oseledets 2011, algorithm 2); limits, guarantee and gradients as of `decompose`.

        The `error` of the result is relative to this train.

        Raises:
            TensorTrainError: as `decompose`.

        Cost: `Σ_l I_l R³`.

        >>> train = TensorTrain.random((4, 5, 6), 2, dtype=torch.float64)
        >>> (train + train).round(rtol=1e-10).ranks
        (1, 2, 2, 1)
        """
        _check_precision(self)
        ends = self.ranks[0], self.ranks[-1]
        limits = tt_svd.check_limits(
            self.shape, ends, ranks=ranks, rtol=rtol, max_parameters=max_parameters, budget=budget
        )
        factors = tt_svd.right_factors(self.cores)
        cores, error = tt_svd.within_limits(
            limits,
            self.shape,
            ends,
            _norm(factors[0]),
            torch.finfo(self.dtype).eps,
            sweep=lambda caps, allowed: tt_svd.tt_round(self.cores, factors, caps, allowed),
            spectra=lambda: tt_svd.train_spectra(self.cores, factors),
        )
        return _trusted(cores, error)

    def orthogonalize(self, center: int) -> "TensorTrain":
        """The same tensor, its cores before `center` left-orthogonal, those after it right-orthogonal.

        Ranks above what the shape can use are lowered to that.

        Args:
            center: 0 … m - 1.

        Raises:
            TensorTrainError: a center outside that.
        """
        _check_precision(self)
        if checks.integer("center", center, minimum=0) >= self.order:
            raise TensorTrainError(f"center = {center} is no core of {self.order}; legal: 0 … {self.order - 1}")
        return _trusted(tt_arithmetic.orthogonalize(self.cores, center), self.error)

    def inner(self, other: "TensorTrain") -> Tensor:
        """`Σ conj(self) · other` over all entries, a 0-d tensor.

        Raises:
            TensorTrainError: trains of different shape, boundary ranks, dtype or device.

        >>> ones = TensorTrain([torch.ones(1, 2, 1), torch.ones(1, 3, 1)])
        >>> ones.inner(ones)
        tensor(6.)
        """
        return tt_arithmetic.inner(self.cores, self._matching(other).cores)

    def norm(self) -> Tensor:
        """Frobenius norm, a real 0-d tensor, from orthogonal factors: accurate after cancellation, too."""
        _check_precision(self)
        return torch.linalg.vector_norm(tt_svd.right_factors(self.cores)[0])

    def __add__(self, other: "TensorTrain") -> "TensorTrain":
        if not isinstance(other, TensorTrain):
            return NotImplemented
        return _trusted(tt_arithmetic.add(self.cores, self._matching(other).cores), None)

    def __sub__(self, other: "TensorTrain") -> "TensorTrain":
        return self + -other if isinstance(other, TensorTrain) else NotImplemented

    def __neg__(self) -> "TensorTrain":
        return self * -1

    def __mul__(self, other: "TensorTrain | complex | Tensor") -> "TensorTrain":
        """With a number or 0-d tensor the scalar product, with a train the elementwise (Hadamard) product."""
        if isinstance(other, TensorTrain):
            return _trusted(tt_arithmetic.hadamard(self.cores, self._matching(other).cores), None)
        if isinstance(other, Tensor) and other.dim() > 0 or not isinstance(other, Tensor | numbers.Complex):
            return NotImplemented
        if not cmath.isfinite(complex(other)):
            raise TensorTrainError(f"the factor {other} is not finite")
        first = self.cores[0] * other
        return _trusted([first, *(core.to(first.dtype) for core in self.cores[1:])], None)

    __rmul__ = __mul__

    def __getitem__(self, index: Index | tuple[Index, ...]) -> "TensorTrain | Tensor":
        """`train[i, j, …]`: integers contract their axis, slices and an ellipsis keep it.

        Returns:
            A train of the axes that are left, or the entry, a 0-d tensor, if none is; the entry is
            `(R_0, R_m)` unless both ends are 1.

        Raises:
            TensorTrainError: an index outside its axis, or too many.

        >>> train = TensorTrain.random((4, 5, 6), 2)
        >>> train[1, ..., ::2].shape, train[1, 2, 3].shape
        ((5, 3), torch.Size([]))
        """
        selected = tt_arithmetic.select(self.cores, index if isinstance(index, tuple) else (index,))
        if isinstance(selected, Tensor):
            return selected.reshape(()) if selected.numel() == 1 else selected
        return _trusted(selected, None)

    def to(self, *args: Any, **kwargs: Any) -> "TensorTrain":
        """The train on another device or in another dtype, as `Tensor.to`; the error stays."""
        return _trusted([core.to(*args, **kwargs) for core in self.cores], self.error)

    def to_tensorly(self) -> Any:
        """A `tensorly.tt_tensor.TTTensor` of the same cores; TensorLy needs its PyTorch backend to work on it.

        Raises:
            TensorTrainError: boundary ranks above 1, which TensorLy does not have.
        """
        if self.ranks[0] * self.ranks[-1] != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: TensorLy needs boundary ranks of 1")
        import tensorly
        from tensorly.tt_tensor import TTTensor

        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return TTTensor(list(self.cores))

    @classmethod
    def from_tensorly(cls, factors: Iterable[Any]) -> "TensorTrain":
        """A train from a `TTTensor`, or from any sequence of its factors as tensors or NumPy arrays."""
        return cls([torch.as_tensor(factor) for factor in factors])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the cores and the error to a safetensors file, aside first and then renamed."""
        save_cores(path, "train", self.cores, self.error)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "TensorTrain":
        """Read a train that `save` wrote, on the CPU.

        Raises:
            TensorTrainError: a file that cannot be read or holds something else.
        """
        cores, error = load_cores(path, "train")
        return cls(cores, error=error)

    def __repr__(self) -> str:
        share = self.n_parameters / self.dense_parameters
        lines = [
            f"TensorTrain of shape {'×'.join(map(str, self.shape))}, {str(self.dtype).removeprefix('torch.')}",
            f"  ranks       {self.ranks}",
            f"  parameters  {self.n_parameters:,} of {self.dense_parameters:,} ({share:.2%}, {1 / share:.1f}× fewer)",
            f"  MACs        {self.macs():,} sequential, {self.dense_macs():,} dense, for each evaluation",
        ]
        if self.error is not None:
            lines.append(f"  error       {self.error:.4g} relative (Frobenius)")
        return "\n".join(lines)

    def _matching(self, other: "TensorTrain") -> "TensorTrain":
        """`other`, if it can be combined with this train."""
        if not isinstance(other, TensorTrain):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrain is needed")
        mine = self.shape, self.ranks[0], self.ranks[-1], self.dtype, self.device
        theirs = other.shape, other.ranks[0], other.ranks[-1], other.dtype, other.device
        for name, a, b in zip(("shape", "R_0", "R_m", "dtype", "device"), mine, theirs, strict=True):
            if a != b:
                raise TensorTrainError(f"the trains differ in {name}: {a} and {b}; it must be the same")
        return other


def _trusted(cores: Iterable[Tensor], error: float | None) -> TensorTrain:
    """A train of cores that are known to fit: they are not looked at again."""
    train = TensorTrain.__new__(TensorTrain)
    object.__setattr__(train, "cores", tuple(cores))
    object.__setattr__(train, "error", error)
    return train


def _check_cores(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
    checked = tuple(checks.tensor(f"cores[{l}]", core, min_dim=3) for l, core in enumerate(cores))
    if not checked:
        raise TensorTrainError("cores is empty; at least one core is needed")
    for l, core in enumerate(checked):
        if core.dim() != 3:
            raise TensorTrainError(f"cores[{l}] has shape {tuple(core.shape)}; (R_{l}, I_{l + 1}, R_{l + 1}) is needed")
        if core.dtype != checked[0].dtype or core.device != checked[0].device:
            raise TensorTrainError(
                f"cores[{l}] is {core.dtype} on {core.device}, cores[0] {checked[0].dtype} on {checked[0].device};"
                " all must agree: use .to()"
            )
        if l and core.shape[0] != checked[l - 1].shape[2]:
            raise TensorTrainError(
                f"cores[{l}] begins with rank {core.shape[0]}, cores[{l - 1}] ends with {checked[l - 1].shape[2]};"
                " neighbours must share their rank"
            )
    return checked


def _check_shape(shape: Sequence[int], ranks: int | Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and all ranks, boundary ranks of 1 included."""
    sizes = checks.per_axis("shape", shape, len(shape))
    if not sizes:
        raise TensorTrainError("shape is empty; at least one axis is needed")
    return sizes, (1, *checks.per_axis("ranks", ranks, len(sizes) - 1), 1)


def _check_precision(train: TensorTrain) -> None:
    if train.dtype not in _DTYPES:
        raise TensorTrainError(
            f"the train has dtype {train.dtype}; single or double precision is needed: .to(torch.float32)"
        )


def _norm(tensor: Tensor) -> float:
    wide = torch.float64 if tensor.dtype in (torch.float32, torch.float64) else torch.complex128
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=wide).real)


def save_cores(path: str | PathLike[str], kind: str, cores: Sequence[Tensor], error: float | None) -> None:
    """Write cores to a safetensors file; complex ones as pairs of real numbers, since it has no complex128."""
    is_complex = cores[0].is_complex()
    stored = [torch.view_as_real(core.detach().resolve_conj()) if is_complex else core for core in cores]
    header = {"kind": kind, "complex": is_complex, "error": error}
    storage.write(path, {f"cores.{l}": core for l, core in enumerate(stored)}, header)


def load_cores(path: str | PathLike[str], kind: str) -> tuple[list[Tensor], float | None]:
    """The cores and the error that `save_cores` wrote.

    Raises:
        TensorTrainError: a file that cannot be read or holds something else.
    """
    tensors, header = storage.read(path)
    header = storage.expect(path, header, kind)
    try:
        cores = [tensors[f"cores.{l}"] for l in range(len(tensors))]
        return [torch.view_as_complex(core) if header["complex"] else core for core in cores], header["error"]
    except KeyError as error:
        raise TensorTrainError(f"{path} has no {error.args[0]!r}; the file is damaged") from None


pytree.register_pytree_node(
    TensorTrain,
    lambda train: (list(train.cores), None),
    lambda cores, _: _trusted(cores, None),
)
