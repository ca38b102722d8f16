"""`interpolate`: the train of a function of the indices, with a statement of what is known of it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.tt.cross import Function
from tensortrain.tt.interpolation import CONFIDENCE, FRESH_POINTS, MAX_EVALUATIONS, Report, interpolated
from tensortrain.tt.tensor_train import TensorTrain


class Interpolation(NamedTuple):
    """A train that interpolates a function, and what is known of it; `print(report)` says it in a sentence."""

    train: TensorTrain
    report: Report


def interpolate(
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
) -> Interpolation:
    """The train of a function of the indices, from some of its values: the tensor is never formed.

    Cross interpolation, `T̂ = T(:, J_1) P_1⁻¹ T(I_1, :, J_2) P_2⁻¹ ⋯ T(I_{m-1}, :)` with `P_l = T(I_l, J_l)`, whose
    pivots I_l and J_l come from elimination with complete pivoting (TCI2: Núñez Fernández et al. 2025, "Learning
    tensor networks with tensor cross interpolation"); see `tensortrain.tt.cross`. It is exact where T has finite
    ranks and the pivots reveal them. No number of values can prove that they do: a function may be anything where
    it was not evaluated. What can be said, for any function, is in the report. There are no gradients.

    A warning tells of evaluations that did not suffice, of fresh points at which the train is off by more than the
    tolerance, and of a function so close to zero at all of them that they do not tell the train from zero.

    Args:
        function: from indices `(B, m)`, int64 and counted from 0, to values `(B,)`, finite and in single or double
            precision, real or complex. It is called with whole batches, and never twice with the same index.
        shape: I_1 … I_m.
        rtol: tolerance in [0, 1) for every entry, relative to the largest absolute value.
        max_evaluations: cap on the indices at which the function is evaluated, fresh points included.
        pivots: `(P, m)`, indices to start from, where the function is known not to be small, beside random ones.
        fresh_points: N, how many random indices the report rests on.
        confidence: 1 − δ, of the report.
        seed: of the random indices; equal seeds give equal trains.
        device: where the indices are handed over, by default on the CPU. The train is where the values are.

    Raises:
        TensorTrainError: an argument out of range, values that are no numbers or not finite, or too few evaluations
            for one sweep.

    Cost: about `4 Σ_l I_l R²` evaluations for each of some four to eight sweeps, and `Σ_l I_l R³` operations.

    >>> def sine(i):   # sin(0.1 · (i_1 + … + i_40)), of ranks 2, on 8^40 points
    ...     return torch.sin(0.1 * i.sum(1).double())
    >>> train, report = interpolate(sine, (8,) * 40, rtol=1e-10)
    >>> max(train.ranks), report.epsilon < 1e-10, report.evaluations < 30_000
    (2, True, True)
    """
    cores, report = interpolated(
        function,
        shape,
        rtol=rtol,
        max_evaluations=max_evaluations,
        pivots=pivots,
        fresh_points=fresh_points,
        confidence=confidence,
        seed=seed,
        device=device,
    )
    return Interpolation(TensorTrain(cores), report)
