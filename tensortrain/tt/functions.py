"""`interpolate` computes the train of a function of indices and an estimate of its error."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.tt.cross import Function
from tensortrain.tt.interpolation import CONFIDENCE, FRESH_POINTS, MAX_EVALUATIONS, Report, interpolated
from tensortrain.tt.tensor_train import TensorTrain


class Interpolation(NamedTuple):
    """A train that interpolates a function, and a report on its error; `print(report)` prints it as a sentence."""

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
    """Compute the train of a function of indices from some of its values, without forming the tensor.

    The method is cross interpolation, `T̂ = T(:, J_1) P_1⁻¹ T(I_1, :, J_2) P_2⁻¹ ⋯ T(I_{m-1}, :)` with
    `P_l = T(I_l, J_l)`. The pivots I_l and J_l come from elimination with complete pivoting (TCI2: Núñez Fernández et
    al. 2025, "Learning tensor networks with tensor cross interpolation"); see `tensortrain.tt.cross`. The result is
    exact if T has finite ranks and the pivots reveal them. No number of values can prove that they do, because a
    function may have any values where it was not evaluated. The report contains a statistical statement that holds for
    every function. The result has no gradients.

    A warning is issued in three cases: the interpolation has not converged, the error at fresh points exceeds the
    tolerance, or the function is so close to zero at all fresh points that they cannot distinguish the train from zero.

    Args:
        function: a function from indices `(B, m)`, int64 and counted from 0, to values `(B,)`, finite and in single or
            double precision, real or complex. It is called with whole batches, and never twice with the same index.
        shape: the shape I_1 … I_m.
        rtol: error to aim at for every entry, in [0, 1), relative to the largest absolute value.
        max_evaluations: largest number of indices at which the function is evaluated, including the fresh points.
        pivots: `(P, m)`, indices at which the function is not small. The search starts from them and from random
            indices.
        fresh_points: the number N of random indices from which the report is computed.
        confidence: the confidence 1 − δ of the report.
        seed: seed of the random indices; equal seeds give equal trains.
        device: device of the indices that the function receives; by default the CPU. The train is on the device of the
            values.

    Returns:
        A named tuple of the train and the report.

    Raises:
        TensorTrainError: an argument is out of range, a value of the function is not a finite number, or
            `max_evaluations` is too small for one sweep.

    Complexity: about `4 Σ_l I_l R²` evaluations for each of about four to eight sweeps, and `Σ_l I_l R³` operations.

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
