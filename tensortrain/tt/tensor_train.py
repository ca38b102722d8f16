"""`TensorTrain` represents a tensor by a train of cores (TTD, eq. 1 of the Conv-TT-LSTM paper).

| paper | here |
|---|---|
| order m | `train.order` |
| T(l), l = 1 … m | `train.cores[l - 1]`, stored as `(R_{l-1}, I_l, R_l)` |
| I_1 … I_m | `train.shape` |
| R_0 … R_m | `train.ranks`, both ends included |
| eq. (1), T from its cores | `train.reconstruct()` |
| eq. (2), v from T | `train.evaluate_dense([u1, …, um])` |
| eq. (3), v from the cores | `train.evaluate([u1, …, um])`, `tensortrain.tt.functional.tt_evaluate` |
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain import checks, plots
from tensortrain.derivatives import WIDE
from tensortrain.errors import TensorTrainError
from tensortrain.tt import arithmetic as tt_arithmetic
from tensortrain.tt import checks as tt_checks
from tensortrain.tt import completion, interfaces, scaling
from tensortrain.tt import functional as tt_functional
from tensortrain.tt import svd as tt_svd
from tensortrain.tt.builders import Builders
from tensortrain.tt.container import describe
from tensortrain.tt.exchange import Exchange
from tensortrain.tt.queries import Queries

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TensorTrain(Queries, Builders, Exchange):
    """An immutable train of cores with `T[i_1, …, i_m] = T(1)[:, i_1, :] T(2)[:, i_2, :] ⋯ T(m)[:, i_m, :]`.

    `cores[l - 1]` is T(l), `(R_{l-1}, I_l, R_l)`. If a boundary rank R_0 or R_m is above 1, every entry is a matrix,
    and the dense tensor is `(R_0, I_1, …, I_m, R_m)`. A `TensorTrain` is a pytree whose leaves are the cores.

    Args:
        cores: the cores. All entries must be finite, and all cores must have the same dtype and device.
        error: the value of the attribute `error`.

    Attributes:
        error: relative Frobenius error of the decomposition or rounding that computed the cores. None if the train was
            built from cores or under `torch.vmap`.

    Raises:
        TensorTrainError: the cores do not form a train.

    >>> train = TensorTrain([torch.ones(1, 4, 2), torch.ones(2, 5, 3), torch.ones(3, 6, 1)])
    >>> train.shape, train.ranks, train.n_parameters, train.reconstruct().shape
    ((4, 5, 6), (1, 2, 3, 1), 56, torch.Size([4, 5, 6]))
    """

    kind: ClassVar[str] = "train"

    @staticmethod
    def _checked(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return the cores as a tuple if they form a train."""
        return tt_checks.check_cores(cores)

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
        """Decompose any tensor by TT-SVD (Oseledets 2011, algorithm 1), sweeping from both ends.

        `ranks`, `max_parameters` and `budget` are upper limits. With `rtol`, each bond gets the smallest rank that its
        share of the tolerance allows, and `‖T − T̂‖ ≤ (rtol + c ε) ‖T‖` holds, where ε is the rounding error of the
        dtype. Without `rtol`, the ranks are made as large as the limits allow, as long as that lowers the error. The
        error is at most `√(m − 1)` times the error of the best train with the same ranks.

        Gradients flow from the cores to `tensor`. A result that depends only on the tensor that the train represents,
        such as `reconstruct()`, has the exact gradient wherever each bond has a gap between the kept and the discarded
        singular values, and a finite gradient everywhere. Second and forward-mode derivatives (`torch.func.hessian`,
        `jvp`) are exact where there is a gap and raise an error elsewhere. `torch.vmap` needs fixed ranks, and `error`
        is then None.

        Args:
            tensor: the tensor, `(I_1, …, I_m)`, in single or double precision, real or complex.
            ranks: upper limits of the inner ranks. One int applies to every bond, which lowers it to its largest useful
                rank. A sequence has m - 1 entries, none larger than useful, or m + 1 entries with R_0 and R_m.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: upper limit on the number of stored entries.
            budget: the same limit as a fraction of the dense parameters.
            seed: ignored, because TT-SVD draws no random numbers; every `decompose` accepts it.

        Raises:
            TensorTrainError: an argument is out of range, an entry of `ranks` exceeds the largest useful rank, ranks of
                1 exceed a limit, or the limits prevent the tolerance (the message states the error that was reached).
                Also raised for a second or forward-mode derivative where a kept and a discarded singular value are
                equal, and for limits other than ranks under `torch.vmap`.

        Complexity: at most `min(p, q)² max(p, q)` for the p × q matrix at each bond, after the bonds before it have
        been truncated.

        The ranks that reach a tolerance:

        >>> i = torch.arange(1.0, 9.0, dtype=torch.float64)
        >>> hilbert = 1 / (i[:, None, None] + i[:, None] + i)   # 8 × 8 × 8
        >>> train = TensorTrain.decompose(hilbert, rtol=1e-3)
        >>> train.ranks, train.error < 1e-3
        ((1, 3, 3, 1), True)

        An error close to the smallest one for fixed ranks, one rank for all bonds or one for each:

        >>> TensorTrain.decompose(hilbert, ranks=2).ranks, TensorTrain.decompose(hilbert, ranks=(2, 4)).ranks
        ((1, 2, 2, 1), (1, 2, 4, 1))

        A small error with at most a fifth of the 512 entries; each bond has its own rank:

        >>> train = TensorTrain.decompose(hilbert, budget=0.2)
        >>> train.ranks, train.n_parameters
        ((1, 3, 2, 1), 88)

        Limits can be combined. It is an error if the other limits prevent the tolerance:

        >>> TensorTrain.decompose(hilbert, rtol=1e-3, max_parameters=50)
        Traceback (most recent call last):
        tensortrain.errors.TensorTrainError: rtol = 0.001 is not reached under these limits: ...
        """
        checks.seed(seed)
        tensor = checks.entries("tensor", tensor)
        tt_checks.check_numbers("tensor", tensor)
        caps: dict[str, Any] = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget}
        limits = tt_checks.check_limits(tensor.shape, **caps)
        if tensor.dim() == 1:
            tensor = tensor.clone()  # which becomes the only core, and must not change with the caller's tensor
        scaled, norm, k = tt_svd.normalized(tensor)
        cores, error = tt_svd.within_limits(
            limits,
            tensor.shape,
            (1, 1),
            norm,
            torch.finfo(tensor.dtype).eps,
            sweep=lambda ranks, allowed: tt_svd.tt_svd(scaled, ranks, allowed),
            spectra=lambda: tt_svd.dense_spectra(scaled),
        )
        return TensorTrain._of(scaling.rescaled(cores, k), error)

    @classmethod
    def quantize(
        cls,
        x: "Tensor | TensorTrain",
        base: int = 2,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
    ) -> "TensorTrain":
        """Return a train over the digits of the indices (QTT; Oseledets 2010, Khoromskij 2011), all axes `base` long.

        An axis of length `base**k` becomes k axes, the most significant digit first. In this form exponentials, sines,
        polynomials and other smooth functions on grids have small ranks, and the number of parameters grows with the
        logarithm of the grid size. `reshape(x.shape)` restores the original axes.

        Args:
            x: a dense tensor or a train; the length of each axis must be a power of `base`.
            base: base of the digits, at least 2.
            ranks, rtol, max_parameters, budget: limits as in `decompose`. Without any limit the train is exact up to
                rounding error.

        Raises:
            TensorTrainError: the length of an axis is not a power of `base` (x can be padded with zeros), or
                `decompose` or `round` fails.

        >>> x = torch.linspace(0, 1, 2**12, dtype=torch.float64)
        >>> train = TensorTrain.quantize((20 * x).sin() * (-x).exp())
        >>> train.order, max(train.ranks), train.n_parameters
        (12, 2, 88)
        >>> back = train.reshape(2**12).reconstruct()
        >>> torch.allclose(back, (20 * x).sin() * (-x).exp())
        True
        """
        shape = x.shape if isinstance(x, TensorTrain) else checks.entries("x", x).shape
        digits = [
            base for size in shape for _ in range(tt_checks.digits("x", size, checks.integer("base", base, minimum=2)))
        ]
        if not digits:
            raise TensorTrainError(f"x has shape {tuple(shape)} and one entry, which has no digits")
        limits: dict[str, Any] = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget}
        if all(limit is None for limit in limits.values()):
            limits["rtol"] = 0.0
        if isinstance(x, TensorTrain):
            return x.reshape(*digits).round(**limits)
        return cls.decompose(x.reshape(digits), **limits)

    @classmethod
    def fit(
        cls,
        indices: Tensor,
        values: Tensor,
        ranks: int | Sequence[int],
        *,
        shape: Sequence[int] | None = None,
        rtol: float = 1e-10,
        sweeps: int = 100,
        seed: int = 0,
    ) -> "TensorTrain":
        """Fit a train to some entries of a tensor, `T[indices[n]] ≈ values[n]`, by alternating least squares.

        The method is that of Grasedyck, Kluge and Krämer (2015) with the damping of Grasedyck and Krämer (2019): one
        core after the other minimises `‖T[indices] − values‖² + λ ‖T‖²`, where λ goes to zero with the residual. It is
        a local search. A small `error` proves a good fit to the observed entries but says nothing about the others, so
        hold some entries out to test the result. An entry that is listed twice counts twice. Slices without any
        observed entry become zero. Random trains of order 3 to 5 are mostly recovered from 5 times as many entries as
        they have parameters.

        Args:
            indices: the indices of the observed entries, `(N, m)`, integers counted from 0.
            values: the observed entries, `(N,)`, in single or double precision, real or complex.
            ranks: the ranks of the result, as in `decompose`; they are not lowered.
            shape: I_1 … I_m; by default the smallest shape that contains all indices.
            rtol: relative residual at which the fit stops.
            sweeps: largest number of sweeps; each goes through all cores and back.
            seed: seed of the random initial train.

        Returns:
            A train without a gradient. Its `error` is `‖T[indices] − values‖ / ‖values‖`, or 0 if all values are zero.

        Raises:
            TensorTrainError: the indices and values do not fit each other or the shape, or an argument is out of range.

        Complexity: `Σ_l (N (R_{l-1} R_l)² + I_l (R_{l-1} R_l)³)` for each sweep, in double precision.

        >>> truth = TensorTrain.random((6, 6, 6), 2, dtype=torch.float64)
        >>> indices = torch.randint(0, 6, (180, 3), generator=torch.Generator().manual_seed(0))
        >>> train = TensorTrain.fit(indices, truth[indices.unbind(1)], ranks=2)
        >>> train.error < 1e-9, ((train - truth).norm() < 1e-8 * truth.norm()).item()
        (True, True)
        """
        shape = None if shape is None else tt_checks.check_sizes("shape", shape)
        indices, values = completion.check_observations(indices, values, shape)
        tt_checks.check_numbers("values", values)
        sizes = tuple(int(size) for size in indices.amax(0) + 1) if shape is None else shape
        limits = tt_checks.check_limits(sizes, ranks=ranks, rtol=rtol, max_parameters=None, budget=None)
        rtol, sweeps = checks.fraction("rtol", rtol), checks.integer("sweeps", sweeps)
        assert limits.ranks is not None
        wide, k = scaling.unit(values.to(WIDE.get(values.dtype, values.dtype)))
        start = cls.random(sizes, limits.ranks, seed, wide.dtype, wide.device)
        if not bool(wide.any()):
            return TensorTrain([torch.zeros_like(core, dtype=values.dtype) for core in start.cores], error=0.0)
        cores, error = completion.alternate(start.cores, indices, wide, rtol, sweeps)
        train = TensorTrain(scaling.rescaled(cores, k), error=error)
        if values.dtype == wide.dtype:
            return train
        rounded = train.to(values.dtype)  # the error is measured after rounding to the dtype of the values
        return cls._of(rounded.cores, completion.residual(rounded.to(wide.dtype).cores, indices, wide, -k))

    def reconstruct(self) -> Tensor:
        """Return the dense tensor of eq. (1), `(I_1, …, I_m)`, or `(R_0, I_1, …, I_m, R_m)` unless both ends are 1.

        Complexity: `R_0 R_l R_m I_1 ⋯ I_m` multiplications for the last product, which joins two halves at the bond l
        where the sum of all products is smallest.

        Raises:
            TensorTrainError: the dense tensor is larger than the memory of the machine.

        >>> TensorTrain.ones((2, 3)).reconstruct().shape
        torch.Size([2, 3])
        """
        return tt_functional.tt_reconstruct(self.cores)

    def evaluate(self, inputs: Sequence[Tensor]) -> Tensor:
        """Contract every axis with a vector, core by core (eq. 3); see `tensortrain.tt.functional.tt_evaluate`.

        Args:
            inputs: the vectors u(1) … u(m), each `(B, I_l)`, or `(I_l,)` for a vector that all samples of the batch
                share.

        Returns:
            A tensor `(B,)`, or `(B, R_0, R_m)` unless both boundary ranks are 1; without B if no input has a batch
            axis.

        Raises:
            TensorTrainError: the inputs do not fit the cores.

        >>> TensorTrain.random((4, 5), 2).evaluate([torch.ones(3, 4), torch.ones(5)]).shape
        torch.Size([3])
        """
        return tt_functional.tt_evaluate(self.cores, inputs)

    def evaluate_dense(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute the result of `evaluate` from the reconstructed tensor (eq. 2), for comparison.

        Args:
            inputs: the vectors u(1) … u(m), as in `evaluate`.

        Raises:
            TensorTrainError: the inputs do not fit the cores, or the dense tensor is larger than the memory of the
                machine.

        >>> TensorTrain.ones((4, 5)).evaluate_dense([torch.ones(4), torch.ones(5)])
        tensor(20.)
        """
        return tt_functional.tt_evaluate_dense(self.cores, inputs)

    def macs(self) -> int:
        """Return the multiplications of `evaluate` per sample, `Σ_l R_{l-1} I_l R_l + R_0 Σ_{l ≥ 2} R_{l-1} R_l`.

        >>> train = TensorTrain.ones((4, 5, 6))
        >>> train.macs(), train.dense_macs()
        (17, 144)
        """
        return tt_functional.evaluate_macs(self.shape, self.ranks)

    def dense_macs(self) -> int:
        """Return the multiplications of `evaluate_dense` for one sample, `R_0 R_m Σ_l I_1 ⋯ I_l`.

        The reconstruction of the dense tensor is not counted.
        """
        return tt_functional.dense_evaluate_macs(self.shape, self.ranks)

    def round(
        self,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
    ) -> "TensorTrain":
        """Return a train with lower ranks (Oseledets 2011, algorithm 2); limits and gradients are those of `decompose`.

        The `error` of the result is relative to this train, and `rtol` guarantees the same bound as in `decompose`.

        Args:
            ranks, rtol, max_parameters, budget: limits as in `decompose`.

        Raises:
            TensorTrainError: in the same cases as `decompose`.

        Complexity: `Σ_l I_l R³`, where R is the largest rank of this train.

        >>> train = TensorTrain.random((4, 5, 6), 2, dtype=torch.float64)
        >>> (train + train).round(rtol=1e-10).ranks
        (1, 2, 2, 1)
        """
        tt_checks.check_numbers("the train", self.cores[0])
        ends = self.ranks[0], self.ranks[-1]
        caps: dict[str, Any] = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget}
        limits = tt_checks.check_limits(self.shape, ends, **caps)
        right = interfaces.right_interfaces(self.cores)
        cores, error = tt_svd.within_limits(
            limits,
            self.shape,
            ends,
            right.norm,
            torch.finfo(self.dtype).eps,
            sweep=lambda ranks, allowed: tt_svd.tt_round(right, ranks, allowed),
            spectra=lambda: tt_svd.train_spectra(right),
        )
        return TensorTrain._of(scaling.rescaled(cores, right.exponent), error)

    def orthogonalize(self, center: int) -> "TensorTrain":
        """Return the same tensor with left-orthogonal cores before `center` and right-orthogonal cores after it.

        Ranks that are larger than useful are lowered.

        Args:
            center: number of the core that is not orthogonal, 0 … m - 1.

        Raises:
            TensorTrainError: `center` is out of range, or the norm is too large or too small for the dtype.

        >>> core = TensorTrain.random((4, 5, 6), 2).orthogonalize(2).cores[0].flatten(0, 1)
        >>> torch.allclose(core.T @ core, torch.eye(2), atol=1e-6)
        True
        """
        tt_checks.check_numbers("the train", self.cores[0])
        if checks.integer("center", center, minimum=0) >= self.order:
            raise TensorTrainError(f"center = {center} is not one of {self.order} cores; legal: 0 … {self.order - 1}")
        return TensorTrain._of(tt_arithmetic.orthogonalize(self.cores, center), self.error)

    def plot(self) -> "Figure":
        """Draw the cores with their ranks, and the singular values at each bond, which show how far rounding could go.

        Raises:
            TensorTrainError: Matplotlib is not installed, or the dtype is neither single nor double precision.

        >>> len(TensorTrain.decompose(torch.randn(4, 5, 6), rtol=0.1).plot().axes)
        2
        """
        tt_checks.check_numbers("the train", self.cores[0])
        tt_checks.check_single("a figure", *self.cores)
        spectra = tt_svd.train_spectra(interfaces.right_interfaces([core.detach() for core in self.cores]))
        return plots.plot_train(self.shape, self.ranks, spectra)

    def __repr__(self) -> str:
        return describe(f"TensorTrain of shape {'×'.join(map(str, self.shape))}", self)


pytree.register_pytree_node(
    TensorTrain,
    lambda train: (list(train.cores), None),
    lambda cores, _: TensorTrain._of(cores),
    serialized_type_name="tensortrain.TensorTrain",
    flatten_with_keys_fn=lambda train: ([(pytree.SequenceKey(l), core) for l, core in enumerate(train.cores)], None),
)
