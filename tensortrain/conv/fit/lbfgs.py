"""Limited-memory BFGS with a preconditioner that changes from step to step (Nocedal & Wright, ch. 7.2).

`torch.optim.LBFGS` accepts no preconditioner, but chains only converge with the block preconditioner.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Point = list[Tensor]
HISTORY = 20
CUT = 0.4  # factor on the length of a step that does not lower the value enough
STALL = 15  # number of steps over which progress is judged


@dataclass(frozen=True)
class Derivatives:
    """The derivatives of a smooth function at one point.

    Attributes:
        gradient: one tensor for each unknown.
        preconditioner: a function that returns a symmetric positive map close to the inverse Hessian at this point.
    """

    gradient: Point
    preconditioner: Callable[[], Callable[[Point], Point]]


@dataclass(frozen=True)
class Evaluation:
    """The value of a smooth function at one point, and its derivatives if they are needed.

    Attributes:
        value: the value of the function.
        derivatives: a function that returns the derivatives; a line search needs them only where it ends.
    """

    value: float
    derivatives: Callable[[], Derivatives]


Function = Callable[[Point], Evaluation]


def _dot(a: Point, b: Point) -> float:
    """Return the inner product of two points."""
    return sum(float((u * v).sum()) for u, v in zip(a, b, strict=True))


def _combine(a: Point, scale: float, b: Point) -> Point:
    """Return `a + scale · b`."""
    return [torch.add(u, v, alpha=scale) for u, v in zip(a, b, strict=True)]


def _direction(at: Derivatives, history: list[tuple[Point, Point, float]]) -> Point:
    """Return the quasi-Newton descent direction by the two-loop recursion."""
    precondition = at.preconditioner()
    q, alphas = at.gradient, []
    for step, change, rho in reversed(history):
        alphas.append(rho * _dot(step, q))
        q = _combine(q, -alphas[-1], change)
    z = precondition(q)
    if history:
        _, change, rho = history[-1]
        scale = 1 / (rho * _dot(change, precondition(change)))
        z = [min(1.0, max(0.05, scale)) * u for u in z]
    for (step, change, rho), alpha in zip(history, reversed(alphas), strict=True):
        z = _combine(z, alpha - rho * _dot(change, z), step)
    return [-u for u in z]


def minimise(
    function: Function,
    x: Point,
    *,
    steps: int,
    tolerance: float,
    target: float = 0.0,
    tick: Callable[[], None] = lambda: None,
    late: Callable[[], bool] = lambda: False,
) -> tuple[Point, float]:
    """Minimise a function from `x`; the value never rises.

    Args:
        function: a function that returns value, gradient and preconditioner at a point.
        x: the starting point.
        steps: the largest number of steps.
        tolerance: the minimisation stops when `STALL` steps together lower the value by less than this fraction.
        target: the minimisation stops when the value is at most this.
        tick: a function that is called after every step.
        late: a function that returns whether no further step may be begun.

    Returns:
        The last point and its value.
    """
    at = function(x)
    derivatives: Derivatives | None = None  # at x
    history: list[tuple[Point, Point, float]] = []
    values = [at.value]
    length = 1.0
    for _ in range(steps):
        if at.value <= target or late():
            break
        derivatives = derivatives or at.derivatives()
        direction = _direction(derivatives, history)
        slope = _dot(derivatives.gradient, direction)
        descent = _line_search(function, x, at.value, slope, direction, min(1.0, length / CUT**2))
        if descent is None:
            if not history:
                break
            history, length = [], 1.0
            continue
        x_next, after, length = descent
        derivatives_next = after.derivatives()
        step = _combine(x_next, -1.0, x)
        change = _combine(derivatives_next.gradient, -1.0, derivatives.gradient)
        curvature = _dot(step, change)
        if curvature > 1e-12 * math.sqrt(_dot(step, step) * _dot(change, change)):
            history = [*history[1 - HISTORY :], (step, change, 1 / curvature)]
        x, at, derivatives = x_next, after, derivatives_next
        values.append(at.value)
        tick()
        if len(values) > STALL and values[-1 - STALL] - at.value <= tolerance * at.value:
            break
    return x, at.value


def _line_search(
    function: Function, x: Point, value: float, slope: float, direction: Point, length: float
) -> tuple[Point, Evaluation, float] | None:
    """Return the first point with sufficient decrease (Armijo) by backtracking, or None if there is none.

    The length of the step, as a fraction of `direction`, is returned too.

    Args:
        function: the function to minimise.
        x: the point at which the search begins.
        value: the value of the function at `x`.
        slope: its directional derivative at `x`.
        direction: the direction of the search.
        length: the length of the first step that is tried.
    """
    while slope < 0 and length > 1e-6:
        candidate = _combine(x, length, direction)
        after = function(candidate)
        if after.value <= value + 1e-4 * length * slope:
            return candidate, after, length
        length *= CUT
    return None
