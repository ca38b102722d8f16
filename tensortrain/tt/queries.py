"""Answer questions about trains without the dense tensor: random indices, and the largest and smallest entry."""

import math
from dataclasses import dataclass

import torch

from tensortrain import checks, counts
from tensortrain.errors import TensorTrainError
from tensortrain.tt import checks as tt_checks
from tensortrain.tt import extremes, sampling
from tensortrain.tt.extremes import Extreme
from tensortrain.tt.interfaces import scaled_bonds
from tensortrain.tt.modes import Modes
from tensortrain.tt.pieces import select
from tensortrain.tt.sampling import Samples
from tensortrain.tt.scaling import shifted


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Queries(Modes):
    """A tensor as cores `(R_{l-1}, I_l, R_l)` that can be searched and sampled."""

    def sample(self, n: int, *, density: str = "square", seed: int = 0) -> Samples:
        """Draw n indices independently, with probability `|T[i]|² / ‖T‖²` or `T[i] / Σ T`.

        The distribution is exact: each axis is drawn from its distribution conditional on the axes before it (Ferris
        and Vidal 2012; Dolgov et al. 2020). There is no Markov chain and no rejection.

        Args:
            n: number of draws.
            density: `"square"`, as for the amplitudes of a quantum state, or `"value"`, for real trains without
                negative entries.
            seed: seed of the random generator; equal seeds give equal draws.

        Returns:
            A named tuple of `indices`, `(n, m)`, and `log_probabilities`, `(n,)`, which are natural logarithms.

        Raises:
            TensorTrainError: the train is zero, a boundary rank is above 1, or n draws need more than the memory of the
                machine. For `"value"`: the train is complex, the sum of all its entries is not positive, or the sum of
                its entries for some fixed indices is negative.

        Complexity: `Σ_l I_l R³` once, and `Σ_l I_l R²` for each draw, in double precision.

        >>> import torch, tensortrain as tt
        >>> train = tt.TensorTrain.along(torch.tensor([0.0, 3.0, 1.0]), (2, 3), 1)
        >>> samples = train.sample(10_000, density="value")
        >>> samples.indices[:, 1].bincount() / 10_000
        tensor([0.0000, 0.7455, 0.2545])
        """
        n = checks.integer("n", n, maximum=2**63 - 1)
        checks.choice("density", density, ("square", "value"))
        cores = self._plain(f"sampling with density={density!r}", allow_complex=density == "square")
        generator = torch.Generator().manual_seed(checks.seed(seed))
        self._check_draws(n)
        square = density == "square"
        scaled, weights = (sampling.square_weights if square else sampling.value_weights)(cores)
        return sampling.draw(scaled, weights, square, generator, n)

    def _check_draws(self, n: int) -> None:
        """Refuse more draws than the memory holds."""
        widest = max(len(core) + core.shape[1] * (2 + core.shape[2]) for core in self.cores)
        try:
            checks.fits_in_memory("", n * (self.order + widest), self.cores[0].new_empty(0, dtype=torch.float64))
        except TensorTrainError:
            raise TensorTrainError(
                f"n = {counts.shown(n)} draws need more than the memory of the machine; draw fewer at a time, each time"
                " with another seed"
            ) from None

    def largest(self, width: int = 500) -> Extreme:
        """Search for the largest entry, and return it with its position and an upper bound of all entries.

        Prefixes of the index are extended from both ends by one axis at a time, and the `width` most promising prefixes
        are kept (Chertkov et al. 2022). For each dropped prefix there is an upper bound, by interval arithmetic and by
        mean and standard deviation (Samuelson 1968). The result's bound is the largest of them and holds up to rounding
        error. If it equals `value`, no entry is larger. A larger width costs more and narrows the gap.

        Args:
            width: number of prefixes to keep.

        Returns:
            A named tuple of `position`, `value` (the entry at that position) and `bound`, with a property `gap`, the
            difference of `bound` and `value`.

        Raises:
            TensorTrainError: the train is complex, or a boundary rank is above 1.

        Complexity: `Σ_l width · I_l R²`, and a sort of `width · I_l` numbers for each axis, in double precision.

        >>> import torch, tensortrain as tt
        >>> x, y = (tt.TensorTrain.along(torch.linspace(-1, 1, 101), (101, 101), axis) for axis in (0, 1))
        >>> (x + y - x * x).largest()
        Extreme(position=(75, 100), value=1.25, bound=1.25)
        """
        checks.integer("width", width)
        cores = self._plain("the search", allow_complex=False)
        indices, bound = extremes.candidates(cores, width)
        scaled, power = scaled_bonds(cores)  # so that no product of the first cores overflows or underflows
        entries = select(scaled, tuple(indices.unbind(1)))
        assert isinstance(entries, torch.Tensor)
        entries = shifted(entries.flatten(), power)
        best = int(entries.argmax())
        value = float(entries[best])
        return Extreme(tuple(indices[best].tolist()), value, max(value, bound))

    def smallest(self, width: int = 500) -> Extreme:
        """Search for the smallest entry, like `largest`; no entry is below the bound.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.along(torch.tensor([2.0, -3.0]), (2, 2), 0).smallest().value
        -3.0
        """
        position, value, bound = (-self).largest(width)
        return Extreme(position, -value, -bound)

    def _plain(self, purpose: str, allow_complex: bool) -> list[torch.Tensor]:
        """Return the cores in double precision without a gradient, if the boundary ranks are 1."""
        tt_checks.check_numbers("the train", self.cores[0])
        tt_checks.check_single(purpose, *self.cores)
        if self.dtype.is_complex and not allow_complex:
            raise TensorTrainError(f"the train is complex; {purpose} needs real numbers")
        if math.prod((self.ranks[0], self.ranks[-1])) != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: boundary ranks of 1 are needed")
        return [core.detach() for core in self.double().cores]
