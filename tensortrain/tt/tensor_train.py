"""`TensorTrain`: a tensor as a train of cores (TTD, eq. 1 of the Conv-TT-LSTM paper).

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

    `cores[l - 1]` is T(l), `(R_{l-1}, I_l, R_l)`. Boundary ranks R_0 and R_m above 1 make every entry a
    matrix: the dense tensor is then `(R_0, I_1, …, I_m, R_m)`. It is a pytree whose leaves are the cores.

    Args:
        cores: the cores, finite, of one dtype and on one device.
        error: what to report as `error`.

    Attributes:
        error: relative Frobenius error against what was decomposed or rounded; None if built from cores or under
            `torch.vmap`.

    Raises:
        TensorTrainError: cores that are no train.

    >>> train = TensorTrain([torch.ones(1, 4, 2), torch.ones(2, 5, 3), torch.ones(3, 6, 1)])
    >>> train.shape, train.ranks, train.n_parameters, train.reconstruct().shape
    ((4, 5, 6), (1, 2, 3, 1), 56, torch.Size([4, 5, 6]))
    """

    kind: ClassVar[str] = "train"

    @staticmethod
    def _checked(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
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
        """Decompose any tensor by TT-SVD (Oseledets 2011, algorithm 1), swept from both ends.

        Without a tolerance the caps are used up, as far as that lowers the error; with one, the ranks that
        the tolerance needs are used and `‖T − T̂‖ ≤ (rtol + c ε) ‖T‖` holds with ε of the dtype. The error is at
        most `√(m − 1)` times that of the best train of the same ranks. Gradients flow from the cores to
        `tensor`; what depends on the train alone, such as `reconstruct()`, has the exact gradient wherever
        each bond has a gap between kept and discarded singular values, and a finite one everywhere. Second
        and forward-mode derivatives (`torch.func.hessian`, `jvp`) are exact where there is a gap, and an error
        elsewhere. `torch.vmap` needs fixed ranks, and leaves `error` None.

        Args:
            tensor: `(I_1, …, I_m)`, single or double precision, real or complex.
            ranks: cap on the interior ranks. One int is clipped at each bond to what is useful there; of
                m - 1 entries none may be larger than useful. R_0 and R_m may be included.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: cap on stored entries.
            budget: the same as a fraction of the dense parameters.
            seed: accepted as by every `decompose`; TT-SVD draws no random numbers.

        Raises:
            TensorTrainError: an argument out of range, an entry of `ranks` above the largest useful one, caps
                below ranks of 1, or a tolerance that the caps do not allow (the message tells what was achieved).
                A second or forward-mode derivative at equal kept and discarded singular values; limits other than
                ranks under `torch.vmap`.

        Cost: at most `min(p, q)² max(p, q)` for the p × q matrix at each bond, with what comes before
        already truncated.

        The ranks that a tolerance needs:

        >>> i = torch.arange(1.0, 9.0, dtype=torch.float64)
        >>> hilbert = 1 / (i[:, None, None] + i[:, None] + i)   # 8 × 8 × 8
        >>> train = TensorTrain.decompose(hilbert, rtol=1e-3)
        >>> train.ranks, train.error < 1e-3
        ((1, 3, 3, 1), True)

        The best accuracy at given ranks, one for all bonds or one for each:

        >>> TensorTrain.decompose(hilbert, ranks=2).ranks, TensorTrain.decompose(hilbert, ranks=(2, 4)).ranks
        ((1, 2, 2, 1), (1, 2, 4, 1))

        Good accuracy at a fifth of the 512 entries, each bond with a rank of its own:

        >>> train = TensorTrain.decompose(hilbert, budget=0.2)
        >>> train.ranks, train.n_parameters
        ((1, 3, 2, 1), 88)

        Limits combine: the smallest train that reaches the tolerance, or an error if the caps forbid that.

        >>> TensorTrain.decompose(hilbert, rtol=1e-3, max_parameters=50)
        Traceback (most recent call last):
        tensortrain.errors.TensorTrainError: rtol = 0.001 is not reached under these caps: ...
        """
        checks.seed(seed)
        tensor = checks.entries("tensor", tensor)
        tt_checks.check_numbers("tensor", tensor)
        caps: dict[str, Any] = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget}
        limits = tt_checks.check_limits(tensor.shape, **caps)
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
        """A train over the digits of the indices, all its axes `base` long (Oseledets 2010; Khoromskij 2011).

        An axis of `base**k` becomes k axes, the first digit being the one that counts most. Smooth functions on grids,
        exponentials, sines and polynomials have small ranks so, and storage grows with the logarithm of the grid.
        `reshape(x.shape)` is the way back.

        Args:
            x: a dense tensor or a train, the length of each axis a power of `base`.
            base: at least 2.
            ranks, rtol, max_parameters, budget: as of `decompose`; without any of them nothing but rounding errors is
                left out.

        Raises:
            TensorTrainError: an axis of another length, for which zeros may fill x up; else as `decompose` or `round`.

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
        """A train through some of its entries, `T[indices[n]] ≈ values[n]`, by alternating least squares.

        Grasedyck, Kluge and Krämer 2015, with the damping of Grasedyck and Krämer 2019: one core after the other
        minimises `‖T[indices] − values‖² + λ ‖T‖²`, where λ vanishes with the residual. It is a local search: a small
        `error` proves a good fit to the entries that are there, and none to the others, for which some should be kept
        aside. Entries that are there twice count twice; slices of which no entry is there become zero. Random trains of
        order 3 to 5 are mostly recovered from 5 times as many entries as they have parameters.

        Args:
            indices: `(N, m)`, integers from 0.
            values: `(N,)`, single or double precision, real or complex.
            ranks: as of `decompose`; not lowered.
            shape: I_1 … I_m; by default the smallest that holds all indices.
            rtol: residual at which to stop.
            sweeps: at most so many; each goes through the cores and back.
            seed: of the random train to start with.

        Returns:
            A train without a gradient, whose `error` is `‖T[indices] − values‖ / ‖values‖`.

        Raises:
            TensorTrainError: indices and values that do not fit each other or the shape.

        Cost: `Σ_l N (R_{l-1} R_l)²` for each sweep, in double precision.

        >>> truth = TensorTrain.random((6, 6, 6), 2, dtype=torch.float64)
        >>> indices = torch.randint(0, 6, (180, 3), generator=torch.Generator().manual_seed(0))
        >>> train = TensorTrain.fit(indices, truth[indices.unbind(1)], ranks=2)
        >>> train.error < 1e-9, ((train - truth).norm() < 1e-8 * truth.norm()).item()
        (True, True)
        """
        indices, values = completion.check_observations(indices, values, shape)
        tt_checks.check_numbers("values", values)
        sizes = tuple(int(size) for size in indices.amax(0) + 1) if shape is None else tuple(shape)
        limits = tt_checks.check_limits(sizes, ranks=ranks, rtol=rtol, max_parameters=None, budget=None)
        rtol, sweeps = checks.fraction("rtol", rtol), checks.integer("sweeps", sweeps)
        assert limits.ranks is not None
        wide, k = scaling.unit(values.to(WIDE.get(values.dtype, values.dtype)))
        start = cls.random(sizes, limits.ranks, seed, wide.dtype).to(wide.device)
        if not bool(wide.any()):
            return cls.zeros(sizes, dtype=values.dtype, device=values.device)
        cores, error = completion.alternate(start.cores, indices, wide, rtol, sweeps)
        return TensorTrain([core.to(values.dtype) for core in scaling.rescaled(cores, k)], error=error)

    def reconstruct(self) -> Tensor:
        """The dense tensor of eq. (1), `(I_1, …, I_m)`; `(R_0, I_1, …, I_m, R_m)` unless both ends are 1.

        Cost: at least `R_l I_1 ⋯ I_m` multiplications with R_l the smallest of the ranks near the middle.
        """
        return tt_functional.tt_reconstruct(self.cores)

    def evaluate(self, inputs: Sequence[Tensor]) -> Tensor:
        """Eq. (3): contract every axis with a vector, core by core; see `tensortrain.tt.functional.tt_evaluate`.

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
        return tt_functional.tt_evaluate_dense(self.cores, inputs)

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
        """The same tensor, its cores before `center` left-orthogonal, those after it right-orthogonal.

        Ranks above what the shape can use are lowered to that.

        Args:
            center: 0 … m - 1.

        Raises:
            TensorTrainError: a center outside that, or a norm too large for the dtype.
        """
        tt_checks.check_numbers("the train", self.cores[0])
        if checks.integer("center", center, minimum=0) >= self.order:
            raise TensorTrainError(f"center = {center} is no core of {self.order}; legal: 0 … {self.order - 1}")
        return TensorTrain._of(tt_arithmetic.orthogonalize(self.cores, center), self.error)

    def plot(self) -> "Figure":
        """Draw the cores with their ranks, and the singular values at each bond: what rounding could leave out.

        Raises:
            TensorTrainError: Matplotlib is not installed.

        >>> len(TensorTrain.decompose(torch.randn(4, 5, 6), rtol=0.1).plot().axes)
        2
        """
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
