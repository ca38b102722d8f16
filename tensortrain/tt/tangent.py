"""Riemannian optimisation over trains of fixed ranks: gradients in the tangent space, projections and steps.

The trains of shape I and ranks R form a manifold. Let U be left-orthogonal and V right-orthogonal cores of a train X.
The tangent space at X contains the sums

    Σ_l U_1 ⋯ U_{l−1} D_l V_{l+1} ⋯ V_m     with `U_lᴴ D_l = 0` for l < m,

which are trains of ranks 2R (Holtz, Rohwedder and Schneider 2012). The gradient of a function in that space is computed
by differentiating the function with respect to D (Novikov, Rakhuba and Oseledets 2022, "Automatic differentiation for
Riemannian optimization on low-rank matrix and tensor-train manifolds"). Therefore any differentiable function of a
train can be used, and its dense gradient is never formed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.tt.arithmetic import orthogonalize
from tensortrain.tt.checks import check_numbers
from tensortrain.tt.interfaces import scaled_bonds
from tensortrain.tt.scaling import rescaled
from tensortrain.tt.tensor_train import TensorTrain

Function = Callable[[TensorTrain], Tensor]

_SUFFICIENT = 1e-4  # fraction of the decrease predicted by the slope that a step must reach (Armijo 1966)
_HALVINGS = 30


class Gradient(NamedTuple):
    """The value of a function at a train, and its gradient in the tangent space there.

    Attributes:
        value: the value of the function.
        train: the gradient, a train of at most twice the ranks.
    """

    value: float
    train: TensorTrain


class Step(NamedTuple):
    """The result of a step.

    Attributes:
        train: the new train, with the same ranks.
        value: the value of the function at the new train.
        rate: the step size that was used. It is 0 if no smaller value was found; the train is then the old one.
    """

    train: TensorTrain
    value: float
    rate: float


class _Frames(NamedTuple):
    """A train in two forms: with left-orthogonal cores before the last, and right-orthogonal cores after the first."""

    left: list[Tensor]
    right: list[Tensor]

    @classmethod
    def of(cls, cores: Sequence[Tensor]) -> "_Frames":
        """Return both forms of a train."""
        # both directions, which lowers ranks that are larger than useful from either side
        left = orthogonalize(orthogonalize(cores, 0), len(cores) - 1)
        return cls(left, orthogonalize(left, 0))

    def element(self, changes: Sequence[Tensor]) -> TensorTrain:
        """Return the sum over l of trains with core l of `changes`, cores of `left` before it and of `right` behind."""
        if len(changes) == 1:
            return TensorTrain._of(changes)
        first = torch.cat([changes[0], self.left[0]], 2)
        last = torch.cat([self.right[-1], changes[-1]], 0)
        middle = []
        for u, d, v in zip(self.left[1:-1], changes[1:-1], self.right[1:-1], strict=True):
            zeros = v.new_zeros(v.shape[0], v.shape[1], u.shape[2])
            middle.append(torch.cat([torch.cat([v, zeros], 2), torch.cat([d, u], 2)], 0))
        return TensorTrain._of([first, *middle, last])


def _checked(train: TensorTrain) -> Sequence[Tensor]:
    """Return the cores of a train, without gradients, if it has a tangent space."""
    if not isinstance(train, TensorTrain):
        raise TensorTrainError(f"train is a {type(train).__name__}; a TensorTrain is needed")
    check_numbers("the train", train.cores[0])
    if torch._C._are_functorch_transforms_active():
        raise TensorTrainError(
            "gradients in a tangent space do not work under torch.vmap and in other transforms of torch.func, because"
            " they call torch.autograd themselves; use a loop"
        )
    return train.detach().cores


@precise
def gradient(function: Function, train: TensorTrain) -> Gradient:
    """Return the gradient of a function in the tangent space at a train, the direction of steepest ascent there.

    Args:
        function: a function from a TensorTrain to a real 0-d tensor, through which gradients flow. It is called once,
            with a train of twice the ranks.
        train: a train in single or double precision, real or complex, whose ranks are not above its true ranks.

    Returns:
        A named tuple of the value and the gradient P(∇f), where ∇f is the dense gradient and P the projection on the
        tangent space.

    Raises:
        TensorTrainError: the value of the function is not a real finite number, or does not depend on the train.

    Complexity: that of the function and its gradient at twice the ranks, and `Σ_l I_l R³`.

    >>> train = TensorTrain.random((4, 5, 6), 2, dtype=torch.float64)
    >>> value, slope = gradient(lambda t: t.norm(squared=True) / 2, train)
    >>> torch.allclose(slope.reconstruct(), train.reconstruct())   # the train is in its own tangent space
    True
    """
    return _gradient(function, _Frames.of(_checked(train)))[0]


def _gradient(function: Function, frames: _Frames) -> tuple[Gradient, list[Tensor]]:
    """Return the gradient, and its changes D."""
    start = [torch.zeros_like(core) for core in frames.left[:-1]]
    changes = [core.clone().requires_grad_() for core in (*start, frames.left[-1])]
    with torch.enable_grad():
        value = _value(function, frames.element(changes))
        if not value.requires_grad:
            hint = (
                "under torch.inference_mode() no gradient is recorded; leave it or use torch.no_grad() instead"
                if torch.is_inference_mode_enabled()
                else "calculate it from the train with operations of PyTorch, without detach() or float()"
            )
            raise TensorTrainError(f"the value of the function does not depend differentiably on the train; {hint}")
        slopes = torch.autograd.grad(value, changes, allow_unused=True, materialize_grads=True)
    gauged = []
    for u, slope in zip(frames.left[:-1], slopes[:-1], strict=True):
        flat, basis = slope.flatten(0, 1), u.flatten(0, 1)
        gauged.append((flat - basis @ (basis.mH @ flat)).reshape(slope.shape))
    gauged.append(slopes[-1])
    return Gradient(float(value.detach()), frames.element(gauged)), gauged


def _value(function: Function, train: TensorTrain) -> Tensor:
    """Return the value of a function at a train as a checked 0-d tensor."""
    if not callable(function):
        raise TensorTrainError(f"function is a {type(function).__name__}; a callable of a TensorTrain is needed")
    value = function(train)
    if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
        actual = f"of shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise TensorTrainError(f"the value of the function is {actual}; a real 0-d tensor is needed")
    if not bool(value.isfinite()):
        raise TensorTrainError(f"the value of the function is {float(value.detach())}; a finite number is needed")
    return value.reshape(())


@precise
def project(train: TensorTrain, other: TensorTrain) -> TensorTrain:
    """Return the orthogonal projection of another train on the tangent space at `train`.

    The projection is described in theorem 3.1 of Lubich, Oseledets and Vandereycken (2015).

    Args:
        train: the train whose tangent space is used.
        other: the train that is projected.

    Raises:
        TensorTrainError: the trains differ in shape, boundary ranks, dtype or device.

    Complexity: `Σ_l I_l R S (R + S)`, where R and S are the ranks of `train` and `other`.

    >>> a, b = (TensorTrain.random((4, 5, 6), 2, seed, dtype=torch.float64) for seed in (0, 1))
    >>> once = project(a, b)
    >>> torch.allclose(project(a, once).reconstruct(), once.reconstruct())
    True
    """
    # all multiples of `train` have the same tangent space, so the inner product can be kept in range
    start, _ = scaled_bonds(_checked(train))
    cores, k = scaled_bonds(_checked(train._matching(other)))
    target = TensorTrain._of(cores)
    slope, _ = _gradient(lambda moved: target.inner(moved).real, _Frames.of(start))
    return TensorTrain._of(rescaled(slope.train.cores, k))


@precise
def step(function: Function, train: TensorTrain, rate: float = 1.0) -> Step:
    """Take one step of Riemannian gradient descent along the tangent space, then round to the old ranks.

    The rate is halved until the function falls by a fixed fraction of the decrease that its slope predicts, so the
    value never rises. A loop can begin each step with twice the previous rate, and stop when the rate is 0.

    Args:
        function: the function to minimise, as in `gradient`.
        train: the current train, as in `gradient`.
        rate: the first step size that is tried.

    Raises:
        TensorTrainError: the rate is not a positive number, or `gradient` fails.

    Complexity: that of `gradient`, and for each tried rate one rounding from twice the ranks and one value of the
    function.

    >>> target = TensorTrain.random((4, 5, 6), 2, dtype=torch.float64)
    >>> train = TensorTrain.random((4, 5, 6), 2, seed=1, dtype=torch.float64)
    >>> for _ in range(15):
    ...     train, value, rate = step(lambda t: (t - target).norm(squared=True) / 2, train)
    >>> value < 1e-3
    True
    """
    rate = checks.positive("rate", rate)
    frames = _Frames.of(_checked(train))
    (_, slope), changes = _gradient(function, frames)
    before = float(_value(function, train).detach())
    ranks = [core.shape[2] for core in frames.left[:-1]]
    energy = float(slope.norm(squared=True))
    for _ in range(_HALVINGS):
        moved = [-rate * change for change in changes]
        moved[-1] = moved[-1] + frames.left[-1]
        candidate = frames.element(moved).round(ranks=ranks) if ranks else frames.element(moved)
        value = float(_value(function, candidate).detach())
        if value <= before - _SUFFICIENT * rate * energy:
            return Step(candidate, value, rate)
        rate /= 2
    return Step(train, before, 0.0)
