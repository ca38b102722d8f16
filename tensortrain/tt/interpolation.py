"""Trains of functions: cross interpolation with its arguments checked, and what is known of the result."""

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
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.cross import Entries, Function, cross, gathered, random_indices
from tensortrain.tt.interfaces import drifts, scaled_bonds
from tensortrain.tt.scaling import rescaled

_RTOL = {True: 1e-10, False: 1e-5}  # for double precision, for single precision
FRESH_POINTS, CONFIDENCE, MAX_EVALUATIONS = 1000, 0.99, 10**6


@dataclass(frozen=True)
class Report:
    """What is known of a train that interpolates a function; nothing is claimed of the Frobenius error.

    With confidence `confidence` at most a share `share` of all entries is off by more than `epsilon`. That holds
    for any function: `epsilon` is the largest error at `points` uniformly random indices, drawn when the train was
    finished. If more than a share p of the entries were off by more than that, the chance of meeting none of
    them was at most `(1 − p)^points` (Wilks 1941), so `share` is `1 − (1 − confidence)^(1 / points)`.

    Attributes:
        epsilon: largest error at the fresh points, absolute.
        share: p.
        confidence: 1 − δ.
        points: number N of fresh points.
        largest: largest absolute value of the function that was seen.
        evaluations: indices at which the function was evaluated, fresh points included.
        converged: whether the ranks settled and a last search found no entry off by more than the tolerance.

    >>> print(Report(1e-12, 0.0046, 0.99, 1000, 2.0, 5400, True))
    With confidence 99% at most 0.46% of the entries are off by more than 1e-12 (1000 fresh points; ...
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
            f"With confidence {100 * self.confidence:.6g}% at most {100 * self.share:.2g}% of the entries are off by"
            f" more than {self.epsilon:.2g} ({self.points} fresh points; the largest entry seen is"
            f" {self.largest:.2g}). Nothing is known of the others. {self.evaluations} evaluations,"
            f" {'converged' if self.converged else 'not converged'}."
        )


class Interpolant(NamedTuple):
    """The cores `(R_{l-1}, I_l, R_l)` of a train, and what is known of it."""

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
    """The train of a function by cross interpolation; arguments and errors as of `tensortrain.interpolate`."""
    if not callable(function):
        raise TensorTrainError(f"function is a {type(function).__name__}; a callable of indices (B, m) is needed")
    shape = tt_checks.check_sizes("shape", shape)
    rtol = checks.fraction("rtol", rtol)
    confidence = checks.fraction("confidence", confidence, minimum_included=False)
    points = checks.integer("fresh_points", fresh_points)
    limit = checks.integer("max_evaluations", max_evaluations) - points
    if limit <= 0:
        raise TensorTrainError(
            f"max_evaluations = {max_evaluations} leaves nothing beside the {points} fresh points; raise it"
        )
    generator = torch.Generator().manual_seed(checks.seed(seed))
    entries = Entries(function, shape, limit, checks.device(device) or torch.device("cpu"))
    cores, converged = cross(entries, rtol, _starts(pivots, shape), generator)
    entries.limit += points
    fresh = random_indices(shape, points, generator)
    values = entries(fresh)
    off = gathered([core.detach().to("cpu", entries.wide) for core in cores], fresh) - values
    report = Report(
        epsilon=float(off.abs().max()),
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
    """The train of `function(a, b, …)`, applied to the entries of trains of one shape.

    Args:
        function: from tensors `(B,)`, one for each train, to a tensor `(B,)`.
        trains: the cores of each.
        rtol: as of `interpolated`; None for 1e-10 in double and 1e-5 in single precision.
        max_evaluations: as of `interpolated`.
        seed: likewise.

    Raises:
        TensorTrainError: boundary ranks above 1, a dtype that is not single or double precision; else as there.
    """
    if not callable(function):
        raise TensorTrainError(f"function is a {type(function).__name__}; a callable of entries (B,) is needed")
    first = trains[0][0]
    tt_checks.check_numbers("the train", first)
    for cores in trains:
        if cores[0].shape[0] * cores[-1].shape[2] != 1:
            raise TensorTrainError("a function of the entries needs boundary ranks of 1; index the train first")
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
    """The same train, of cores whose products stay in the range on the way to an entry."""
    return rescaled(*scaled_bonds(cores)) if drifts(cores, [0] * len(cores)) else cores


def _starts(pivots: object, shape: tuple[int, ...]) -> Tensor:
    """The pivots to start from, `(P, m)`."""
    if pivots is None:
        return torch.zeros(0, len(shape), dtype=torch.int64)
    if not isinstance(pivots, Tensor) or pivots.dim() != 2 or pivots.shape[1] != len(shape):
        what = tuple(pivots.shape) if isinstance(pivots, Tensor) else type(pivots).__name__
        raise TensorTrainError(f"pivots is {what}; a tensor (points, {len(shape)}) of indices is needed")
    if pivots.is_floating_point() or pivots.is_complex() or pivots.dtype == torch.bool:
        raise TensorTrainError(f"pivots has dtype {pivots.dtype}; integers are needed")
    pivots = pivots.cpu().long()
    outside = ((pivots < 0) | (pivots >= torch.tensor(shape))).any(1).nonzero()
    if len(outside):
        at = int(outside[0])
        raise TensorTrainError(f"pivots[{at}] = {pivots[at].tolist()} is outside a tensor of shape {shape}")
    return pivots


def _warn(report: Report, allowed: float, blind: bool) -> None:
    """Warn of what a reader of the train alone would not notice; `blind` fresh points are all nearly zero."""
    if blind and report.largest == 0:
        message = "the function is zero wherever it was evaluated, and so is the train; name pivots where it is not"
    elif not report.converged:
        message = "the interpolation has not converged within max_evaluations; raise it, or rtol"
    elif report.epsilon > allowed:
        message = f"the train misses the function by {report.epsilon:.2g} at fresh points, more than rtol allows"
    elif blind:
        message = (
            "the function is nearly zero at all fresh points, so they would not tell the train from zero; where"
            " it is not small no pivot may have been met: name some in pivots"
        )
    else:
        return
    warnings.warn(f"{message}. {report}", stacklevel=4)
