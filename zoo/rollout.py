"""The loop of every model that predicts step after step from the state that an encoder has left."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

State = Any  # a NamedTuple, or a tuple, of tensors and such tuples
Forecast = Callable[[State, Tensor | None], tuple[Tensor, State]]


def roll_out(
    forecast: Forecast,
    state: State,
    horizon: int,
    *,
    feeds_back: bool,
    known: tuple[Tensor, Tensor] | None = None,
    recompute: bool = False,
) -> Tensor:
    """Predict `horizon` steps, one after the other.

    Args:
        forecast: makes the next step `(B, …)` and the new state, from the state and the step before. Of the first
            prediction, and of all of them if nothing is fed back, the step before is None.
        state: to begin with.
        horizon: steps to predict.
        feeds_back: each predicted step, or the true one in its place, is read before the next is predicted.
        known: the true steps `(≥ horizon - 1, B, …)`, and whether each is read in the place of the predicted one, bool
            `(B, ≥ horizon - 1)`, of which the last horizon - 1 count.
        recompute: keep only the state between predictions for the backward pass, which predicts each step again.

    Returns:
        `(horizon, B, …)`.

    >>> def forecast(growth, before):
    ...     return (growth if before is None else growth * before), growth
    >>> roll_out(forecast, torch.tensor([2.0]), 4, feeds_back=True).flatten()
    tensor([ 2.,  4.,  8., 16.])
    """
    if known is not None:
        truth, use_truth = known
        mask = use_truth[:, use_truth.shape[1] - horizon + 1 :].t().to(truth.device, non_blocking=True)
        known = truth, mask.reshape(*mask.shape, *[1] * (truth.dim() - 2))
    steps: list[Tensor] = []
    before = None
    for k in range(horizon):
        if feeds_back and k > 0:
            before = steps[-1]
            if known is not None:
                truth, mask = known
                before = torch.where(mask[k - 1], truth[k - 1], before)
        if recompute and torch.is_grad_enabled():
            step, state = recomputed(forecast, state, before)
        else:
            step, state = forecast(state, before)
        steps.append(step)
    return torch.stack(steps)


def recomputed(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; the backward pass keeps its arguments alone, and calls it again.

    >>> x = torch.ones(3, requires_grad=True)
    >>> recomputed(torch.exp, x).sum().backward()
    >>> x.grad
    tensor([2.7183, 2.7183, 2.7183])
    """
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
