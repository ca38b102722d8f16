"""Compute the loss and the error of a model on the validation clips."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.predictors.video_model import check_predicted_shape
from zoo.training.step import TrainState, seed_step


class Validation(NamedTuple):
    """Averages over the validation clips.

    Args:
        loss: the training loss.
        mse: the squared error of a predicted step, summed over the pixels of a frame or the values of a series.
    """

    loss: float
    mse: float


@torch.no_grad()
def validate(state: TrainState, abandon: Callable[[], bool]) -> Validation | None:
    """Predict every validation clip once. After the observed frames, the model reads only its own predictions.

    Each process takes its share of the clips. The averages are over all clips.

    Args:
        state: the state of the training.
        abandon: a function that is called before each batch, and says whether to abandon the validation.

    Returns:
        The averages; None if the validation was abandoned. Only a single process may abandon it, because the other
        processes would wait.

    Raises:
        ZooError: if the predictions have a wrong shape.
    """
    training, fabric = state.recipe.training, state.fabric
    count = min(training.validation_clips or len(state.val), len(state.val))
    mine = range(fabric.global_rank, count, fabric.world_size)
    batch = training.batch_size // fabric.world_size
    sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)
    seed_step(state)  # a model that draws also here must do so alike when a resumed run validates first
    state.network.eval()
    try:
        for first in range(0, len(mine), batch):
            if abandon():
                return None
            sums += validate_batch(state, mine[first : first + batch])
    finally:
        state.network.train()
    loss, mse, total = fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
    return Validation(loss / total, mse / total)


def validate_batch(state: TrainState, indices: Sequence[int]) -> Tensor:
    """Sums of the loss and of a predicted step's squared error over these clips, and their number: a tensor `(3,)`."""
    frames = state.val.clips(indices, state.fabric.device).to(state.dtype)  # (B, T, …)
    observed, training = state.recipe.data.observed, state.recipe.training
    future = frames[:, observed:]
    horizon = future.shape[1]
    with state.fabric.autocast():
        predictions = state.network(frames[:, :observed], horizon)
        check_predicted_shape(predictions, frames[:, :observed], horizon)
        loss = state.network.loss(predictions, frames, **training.loss_weights)
    error = (predictions[:, -horizon:] - future).double().square().sum() / horizon
    return torch.stack([loss.double() * len(frames), error, error.new_tensor(len(frames))])
