"""One model set up for one job, ready to be altered by variants and to be timed."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tensortrain.profiling.cudnn import Convolutions
from zoo.data import ClipDataset
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.papers import PREDRNN_PP
from zoo.predictors.predictor import Predictor
from zoo.presets import DEFAULTS, recipe
from zoo.registry import find_model
from zoo.settings import Recipe
from zoo.training.devices import make_fabric, quiet_lightning
from zoo.training.step import StepInputs, TrainState, train_step
from zoo.training.subnormals import subnormals_as_zero

_FALL = 10_000  # steps in which the sampling ratio falls from 1 to 0; every run is at the same one of them


@dataclass
class Trial:
    """A model and the job to time. Variants alter it before its first run.

    Args:
        state: the state of the training. Its step is never increased and its learning rate is zero, so that every run
            computes the same.
        inputs: the batch that every step reads.
        step: the function that does the job once and returns its results: gradients or predictions.
        subnormals: whether to compute with numbers below 1.2e-38, which `zoo train` flushes to zero.
        convolutions: how cuDNN chooses its algorithms during the job.
    """

    state: TrainState
    inputs: StepInputs
    step: Callable[[StepInputs], list[Tensor]]
    subnormals: bool
    convolutions: Convolutions = field(default_factory=Convolutions)

    @property
    def model(self) -> Predictor:
        """The model of the trial."""
        return self.state.network

    def run(self) -> list[Tensor]:
        """Do the job once, and return its results."""
        with self.convolutions.in_force(), contextlib.nullcontext() if self.subnormals else subnormals_as_zero():
            return self.step(self.inputs)


def train(state: TrainState, inputs: StepInputs) -> list[Tensor]:
    """Take a training step as `zoo train` does, and return the clipped gradients."""
    train_step(state, inputs)
    return [p.grad for p in state.network.parameters() if p.grad is not None]


def infer(state: TrainState, inputs: StepInputs) -> list[Tensor]:
    """Roll the model out over clips of the same length without true frames, and return the predictions."""
    data = state.recipe.data
    with torch.inference_mode():
        clips = state.clips.render(inputs.batch).to(state.dtype)
        return [state.network(clips[:, : data.observed], data.length - data.observed)]


JOBS: dict[str, Callable[[TrainState, StepInputs], list[Tensor]]] = {"training": train, "inference": infer}


def benchmark_recipe(model: str, preset: str, batch: int | None, frames: int, ratio: float) -> Recipe:
    """The recipe of a preset for clips of `frames` steps, half of them observed, with a constant sampling ratio.

    Args:
        model: the registered name of the model.
        preset: the name of the preset.
        batch: the number of clips in a batch; None for that of the preset.
        frames: the number of frames in a clip, or of steps in a series, at least 2.
        ratio: the fraction of true frames that training reads after the observed ones.

    Raises:
        ZooError: if the model or preset is unknown, or a value is out of range.
    """
    if frames < 2:
        raise ZooError(f"--frames = {frames} must be at least 2: one to observe and one to predict")
    if batch is not None and batch < 1:
        raise ZooError(f"--batch = {batch} must be at least 1")
    if not 0 <= ratio <= 1:
        raise ZooError(f"--ratio = {ratio} must be from 0 (free-running) to 1 (every frame true)")
    entry = find_model(model)
    published = entry.protocol is None or DEFAULTS[entry.reads] in entry.protocol.settings
    changes: dict[str, Any] = {
        "data": {"length": frames, "observed": frames // 2},
        "learning_rate": {"schedule": "constant", "base": 0.0},
        "training": {"precision": "32-true"},
    }
    if entry.feeds_back({}):
        changes["sampling"] = {"schedule": "linear", "start": 0, "stop": _FALL}
    # a model that was published on other data is timed with the settings of the table that compares all models
    protocol = PREDRNN_PP.key if preset == "paper" and not published else None
    result = recipe(model, preset, protocol=protocol, **changes)
    return result if batch is None else replace(result, training=replace(result.training, batch_size=batch))


def make_trial(recipe: Recipe, job: str, clips: ClipDataset, device: torch.device, ratio: float = 0.0) -> Trial:
    """Make a trial. Its weights and batch depend only on the recipe.

    Args:
        recipe: the recipe from `benchmark_recipe`.
        job: "training" or "inference".
        clips: the training clips.
        device: the device to run on.
        ratio: the fraction of true frames that training reads after the observed ones.
    """
    training = replace(recipe.training, accelerator="cpu" if device.type == "cpu" else "gpu", devices=1, nodes=1)
    with quiet_lightning():
        fabric = make_fabric(training)
        state = TrainState(fabric, recipe, build_model(recipe), clips, clips)
    state.network.train(job == "training")
    state.step = round((1 - ratio) * _FALL)
    batch = fabric.to_device(clips.fetch(range(recipe.training.batch_size)))
    return Trial(state, state.inputs(batch), step=partial(JOBS[job], state), subnormals=job != "training")
