"""Compute trains of functions by cross interpolation with checked arguments, and estimate their errors."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.derivatives import WIDE
from tensortrain.errors import TensorTrainError
from tensortrain.transforms import vectorized
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.cross import Entries, Function, cross, gathered, random_indices
from tensortrain.tt.interfaces import drifts, scaled_bonds
from tensortrain.tt.scaling import rescaled

_RTOL = {True: 1e-10, False: 1e-5}  # default tolerances: True for double precision, False for single precision
FRESH_POINTS, CONFIDENCE, MAX_EVALUATIONS = 1000, 0.99, 10**6


@dataclass(frozen=True)
class Report:
    """The estimated error of a train that interpolates a function; it says nothing about the Frobenius error.

    With confidence `confidence`, at most the fraction `share` of all entries has an error above `epsilon`. This holds
    for every function: `epsilon` is the largest error at `points` uniformly random indices that are drawn after the
    train is finished. If more than a fraction p of the entries had a larger error, the probability of drawing none of
    them would be at most `(1 − p)^points` (Wilks 1941). Therefore `share` is `1 − (1 − confidence)^(1 / points)`.

    Attributes:
        epsilon: largest absolute error at the fresh points.
        share: the fraction p of the entries whose error may exceed `epsilon`.
        confidence: the confidence 1 − δ of the statement.
        points: the number N of fresh points.
        largest: largest absolute value of the function that was observed.
        evaluations: number of indices at which the function was evaluated, including the fresh points.
        converged: whether the ranks no longer changed and a last search found no entry with an error above the
            tolerance.

    >>> print(Report(1e-12, 0.0046, 0.99, 1000, 2.0, 5400, True))
    With confidence 99% at most 0.46% of the entries have an error above 1e-12 (1000 fresh points; ...
    """

    epsilon: float
    share: float
    confidence: float
    points: int
    largest: float
    evaluations: int
    converged: bool

    def __str__(self) -> str:
        return (
            f"With confidence {100 * self.confidence:.6g}% at most {100 * self.share:.2g}% of the entries have an error"
            f" above {self.epsilon:.2g} ({self.points} fresh points; the largest observed entry is"
            f" {self.largest:.2g}). The errors of the other entries are unknown. {self.evaluations} evaluations,"
            f" {'converged' if self.converged else 'not converged'}."
        )


class Interpolant(NamedTuple):
    """The cores `(R_{l-1}, I_l, R_l)` of a train, and the report on its error."""

    cores: list[Tensor]
    report: Report


def interpolated(
    function: Function,
    shape: Sequence[int],
    *,
    rtol: float,
    max_evaluations: int = MAX_EVALUATIONS,
    pivots: Tensor | None = None,
    fresh_points: int = FRESH_POINTS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Interpolant:
    """Return the train of a function by cross interpolation; see `tensortrain.interpolate` for arguments and errors."""
    if not callable(function):
        raise TensorTrainError(f"function is a {type(function).__name__}; a callable of indices (B, m) is needed")
    if vectorized():
        raise tt_checks.under_vmap("interpolation")
    shape = tt_checks.check_sizes("shape", shape)
    rtol = checks.fraction("rtol", rtol)
    confidence = checks.fraction("confidence", confidence, minimum_included=False)
    points = checks.integer("fresh_points", fresh_points)
    limit = checks.integer("max_evaluations", max_evaluations) - points
    if limit <= 0:
        raise TensorTrainError(
            f"max_evaluations = {max_evaluations} leaves no evaluations besides the {points} fresh points; raise it"
        )
    generator = torch.Generator().manual_seed(checks.seed(seed))
    entries = Entries(function, shape, limit, checks.device("cpu" if device is None else device))
    cores, converged = cross(entries, rtol, _starts(pivots, shape), generator)
    entries.limit += points
    fresh = random_indices(shape, points, generator)
    values = entries(fresh)
    errors = gathered([core.detach().to("cpu", entries.wide) for core in cores], fresh) - values
    report = Report(
        epsilon=float(errors.abs().max()),
        share=-math.expm1(math.log1p(-confidence) / points),
        confidence=confidence,
        points=points,
        largest=entries.largest,
        evaluations=entries.evaluations,
        converged=converged,
    )
    allowed = max(rtol, 64 * entries.eps) * report.largest
    blind = float(values.abs().max()) <= allowed and report.evaluations < math.prod(shape)
    _warn(report, allowed, blind)
    return Interpolant(cores, report)


def mapped(
    function: Callable[..., Tensor],
    trains: Sequence[Sequence[Tensor]],
    *,
    rtol: float | None,
    max_evaluations: int,
    seed: int,
) -> Interpolant:
    """Return the train of `function(a, b, …)`, applied to the entries of trains of the same shape.

    Args:
        function: a function from tensors `(B,)`, one for each train, to a tensor `(B,)`.
        trains: the cores of each train.
        rtol: tolerance as in `interpolated`; None means 1e-10 in double precision and 1e-5 in single precision.
        max_evaluations: upper limit as in `interpolated`.
        seed: seed as in `interpolated`.

    Raises:
        TensorTrainError: a boundary rank is above 1, the dtype is neither single nor double precision, or
            `interpolated` fails.
    """
    if not callable(function):
        raise TensorTrainError(f"function is a {type(function).__name__}; a callable of entries (B,) is needed")
    first = trains[0][0]
    tt_checks.check_numbers("the train", first)
    for cores in trains:
        if cores[0].shape[0] * cores[-1].shape[2] != 1:
            raise TensorTrainError("a function of the entries needs boundary ranks of 1; reduce them to 1 first")
    if vectorized():
        raise tt_checks.under_vmap("a function of the entries")
    plain = [_within_range([core.detach() for core in cores]) for cores in trains]
    if rtol is None:
        rtol = _RTOL[WIDE.get(first.dtype) is None]
    return interpolated(
        lambda indices: function(*(gathered(cores, indices) for cores in plain)),
        [core.shape[1] for core in plain[0]],
        rtol=rtol,
        max_evaluations=max_evaluations,
        seed=seed,
        device=first.device,
    )


def _within_range(cores: list[Tensor]) -> list[Tensor]:
    """Return the same train with cores whose intermediate products stay in the range of the dtype."""
    return rescaled(*scaled_bonds(cores)) if drifts(cores, [0] * len(cores)) else cores


def _starts(pivots: object, shape: tuple[int, ...]) -> Tensor:
    """Return the initial pivots, `(P, m)`."""
    if pivots is None:
        return torch.zeros(0, len(shape), dtype=torch.int64, device="cpu")
    if not isinstance(pivots, Tensor) or pivots.dim() != 2 or pivots.shape[1] != len(shape):
        what = tuple(pivots.shape) if isinstance(pivots, Tensor) else type(pivots).__name__
        raise TensorTrainError(f"pivots is {what}; a tensor (points, {len(shape)}) of indices is needed")
    checks.ordinary("pivots", pivots)
    if pivots.is_floating_point() or pivots.is_complex() or pivots.dtype == torch.bool:
        raise TensorTrainError(f"pivots has dtype {pivots.dtype}; integers are needed")
    if pivots.is_meta:
        raise TensorTrainError("pivots is on the meta device and holds no indices; load it first")
    pivots = tt_checks.signed("pivots", pivots.cpu())
    outside = ((pivots < 0) | (pivots >= torch.tensor(shape, device="cpu"))).any(1).nonzero()
    if len(outside):
        at = int(outside[0])
        raise TensorTrainError(f"pivots[{at}] = {pivots[at].tolist()} is outside a tensor of shape {shape}")
    return pivots


def _warn(report: Report, allowed: float, blind: bool) -> None:
    """Warn about problems that the train alone does not show; `blind` means that all fresh points are nearly zero."""
    if blind and report.largest == 0:
        message = "the function is zero wherever it was evaluated, and so is the train; pass pivots where it is not"
    elif not report.converged:
        message = (
            "the interpolation has not converged within max_evaluations or its largest number of sweeps; raise"
            " max_evaluations or rtol"
        )
    elif not report.epsilon <= allowed:
        message = f"the error of the train at fresh points is {report.epsilon:.2g}, more than rtol allows"
    elif blind:
        message = (
            "the function is nearly zero at all fresh points, so they cannot distinguish the train from zero. The"
            " search may have missed the entries that are not small; pass their indices as pivots"
        )
    else:
        return
    warnings.warn(f"{message}. {report}", stacklevel=4)
