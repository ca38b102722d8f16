"""The prediction loop of models that start from a state, such as that of an encoder, and predict step after step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

State = Any  # a NamedTuple or tuple of tensors, or of further such tuples
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
        forecast: a function of the state and the previous step that returns the next step `(B, …)` and the new state.
            The previous step is None for the first prediction, and always None if `feeds_back` is False.
        state: the first state.
        horizon: the number of steps to predict.
        feeds_back: whether each predicted step, or the true one in its place, is read before the next is predicted.
        known: the true steps `(≥ horizon - 1, B, …)` and the sampling mask `(B, ≥ horizon - 1)`, bool: True where the
            true step is read in place of the predicted one. The last horizon - 1 columns of the mask are used.
        recompute: save memory: keep only the state between predictions, and compute each again in the backward pass.

    Returns:
        The predicted steps `(horizon, B, …)`.

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
    """Call the function, but keep only its arguments for the backward pass, which then calls it again.

    It draws the same random numbers in both calls, except in a step that is recorded as a CUDA graph.

    >>> x = torch.ones(3, requires_grad=True)
    >>> recomputed(torch.exp, x).sum().backward()
    >>> x.grad
    tensor([2.7183, 2.7183, 2.7183])
    """
    # a generator's state cannot be read while a graph is recorded
    recording = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=not recording)
