"""Questions to trains that need no dense tensor: random indices, and the largest and the smallest entry."""

import math
from dataclasses import dataclass

import torch

from tensortrain import checks
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
    """A tensor as cores `(R_{l-1}, I_l, R_l)` that is searched and sampled."""

    def sample(self, n: int, *, density: str = "square", seed: int = 0) -> Samples:
        """Draw n indices independently, with probability `|T[i]|² / ‖T‖²` or `T[i] / Σ T`.

        The distribution is exact: one axis after the other is drawn given those before it (Ferris and Vidal 2012;
        Dolgov et al. 2020). No Markov chain is run, and nothing is rejected.

        Args:
            n: number of draws.
            density: `"square"`, as of the amplitudes of a quantum state, or `"value"`, for real trains without negative
                entries.
            seed: equal seeds give equal draws.

        Returns:
            `indices`, `(n, m)`, and `log_probabilities`, `(n,)`, natural logarithms.

        Raises:
            TensorTrainError: a train that is zero, complex values as a density, or a sum of entries that is negative
                where some indices are fixed.

        Cost: `Σ_l I_l R³` once, and `Σ_l I_l R²` for each draw, in double precision.

        >>> import torch, tensortrain as tt
        >>> train = tt.TensorTrain.along(torch.tensor([0.0, 3.0, 1.0]), (2, 3), 1)
        >>> samples = train.sample(10_000, density="value")
        >>> samples.indices[:, 1].bincount() / 10_000
        tensor([0.0000, 0.7455, 0.2545])
        """
        checks.integer("n", n, maximum=2**63 - 1)
        checks.choice("density", density, ("square", "value"))
        cores = self._plain("density", allow_complex=density == "square")
        generator = torch.Generator().manual_seed(checks.seed(seed))
        square = density == "square"
        scaled, weights = (sampling.square_weights if square else sampling.value_weights)(cores)
        return sampling.draw(scaled, weights, square, generator, n)

    def largest(self, width: int = 500) -> Extreme:
        """The largest entry that a search meets, where it is, and a bound that no entry exceeds.

        From both ends, beginnings of the index are extended by one axis at a time, and the `width` most promising ones
        are kept, as by Chertkov et al. 2022. The bound is the largest of those on what was dropped, by interval
        arithmetic and by mean and spread (Samuelson 1968), so it always holds; where it equals `value`, the entry is
        proved to be the largest. A larger width costs more and narrows the gap.

        Args:
            width: beginnings to keep.

        Returns:
            `position`, `value`, which is the entry there, `bound`, and `gap`, their difference.

        Raises:
            TensorTrainError: a complex train, or boundary ranks above 1.

        Cost: `Σ_l width · I_l R²` and a sort of `width · I_l` numbers for each axis, in double precision.

        >>> import torch, tensortrain as tt
        >>> x, y = (tt.TensorTrain.along(torch.linspace(-1, 1, 101), (101, 101), axis) for axis in (0, 1))
        >>> (x + y - x * x).largest()
        Extreme(position=(75, 100), value=1.25, bound=1.25)
        """
        checks.integer("width", width)
        cores = self._plain("the largest entry", allow_complex=False)
        indices, bound = extremes.candidates(cores, width)
        scaled, power = scaled_bonds(cores)  # so that no product of the first cores leaves the range
        entries = select(scaled, tuple(indices.unbind(1)))
        assert isinstance(entries, torch.Tensor)
        entries = shifted(entries.flatten(), power)
        best = int(entries.argmax())
        value = float(entries[best])
        return Extreme(tuple(indices[best].tolist()), value, max(value, bound))

    def smallest(self, width: int = 500) -> Extreme:
        """The smallest entry, as `largest`; here no entry is below the bound.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.along(torch.tensor([2.0, -3.0]), (2, 2), 0).smallest().value
        -3.0
        """
        position, value, bound = (-self).largest(width)
        return Extreme(position, -value, -bound)

    def _plain(self, purpose: str, allow_complex: bool) -> list[torch.Tensor]:
        """The cores in double precision, without a gradient, of a train whose ends are 1."""
        tt_checks.check_numbers("the train", self.cores[0])
        if self.dtype.is_complex and not allow_complex:
            raise TensorTrainError(f"the train is complex, and {purpose} is about real numbers")
        if math.prod((self.ranks[0], self.ranks[-1])) != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: boundary ranks of 1 are needed")
        return [core.detach() for core in self.double().cores]
