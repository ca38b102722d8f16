"""One model set up for one job, as variants alter it and rounds repeat it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tensortrain.profiling.cudnn import Convolutions
from zoo.data import ClipDataset
from zoo.errors import ZooError
from zoo.presets import recipe
from zoo.settings import Recipe
from zoo.training.module import VideoTraining
from zoo.training.run_folder import build_model
from zoo.training.subnormals import subnormals_as_zero
from zoo.video_model import VideoModel

_FALL = 10_000  # steps of a linear fall of the sampling ratio, of which one is taken


@dataclass
class Trial:
    """A model in its training, and the job to be timed. Variants alter it before it runs for the first time.

    Args:
        module: with the model; its learning rate is zero, so that every step computes the same.
        optimizer: of its parameters.
        batch: what `ClipDataset.render` needs, on the device.
        step: does the job once and returns what came out: gradients, or predictions.
        subnormals: compute with numbers below 1.2e-38, too; `zoo train` does not.
        convolutions: how cuDNN works meanwhile.
    """

    module: VideoTraining
    optimizer: torch.optim.Optimizer
    batch: Any
    step: Callable[[], list[Tensor]]
    subnormals: bool
    convolutions: Convolutions = field(default_factory=Convolutions)

    @property
    def model(self) -> VideoModel:
        """The model."""
        return self.module.model

    def run(self) -> list[Tensor]:
        """Do the job once."""
        with self.convolutions.in_force(), contextlib.nullcontext() if self.subnormals else subnormals_as_zero():
            return self.step()


def train(trial: Trial) -> list[Tensor]:
    """A whole training step, by the functions that `zoo train` calls in this order: the clipped gradients."""
    module, optimizer = trial.module, trial.optimizer
    loss = module.training_step(trial.batch, 0)
    optimizer.zero_grad()
    loss.backward()
    module.configure_gradient_clipping(optimizer)
    optimizer.step()
    return [p.grad for p in module.model.parameters() if p.grad is not None]


def infer(trial: Trial) -> list[Tensor]:
    """A free-running rollout over clips of the same length: the predictions."""
    data = trial.module.recipe.data
    with torch.inference_mode():
        clips = trial.module.clips.render(trial.batch).to(trial.module.dtype)
        return [trial.model(clips[:, : data.observed], data.length - data.observed)]


JOBS: dict[str, Callable[[Trial], list[Tensor]]] = {"training": train, "inference": infer}


def benchmark_recipe(model: str, preset: str, batch: int | None, frames: int, ratio: float) -> Recipe:
    """The preset's recipe for clips of that many frames, half of them observed, at one sampling ratio throughout.

    Raises:
        ZooError: no such model or preset, or a value outside its range.
    """
    if frames < 2:
        raise ZooError(f"--frames = {frames} must be at least 2: one to observe, one to predict")
    if batch is not None and batch < 1:
        raise ZooError(f"--batch = {batch} must be at least 1")
    if not 0 <= ratio <= 1:
        raise ZooError(f"--ratio = {ratio} must be from 0 (free-running) to 1 (every frame true)")
    made = recipe(
        model,
        preset,
        data={"length": frames, "observed": frames // 2},
        sampling={"schedule": "linear", "start": 0, "stop": _FALL},
        learning_rate={"schedule": "constant", "base": 0.0},
        training={"precision": "32-true"},
    )
    return made if batch is None else replace(made, training=replace(made.training, batch_size=batch))


def make_trial(
    recipe: Recipe, job: str, clips: ClipDataset, device: torch.device, ratio: float = 0.0, dtype: Any = torch.float32
) -> Trial:
    """A trial with weights and batch that follow from the recipe alone.

    Args:
        recipe: from `benchmark_recipe`.
        job: "training" or "inference".
        clips: training clips.
        device: where to run.
        ratio: share of the frames beyond the observed ones that training reads true.
        dtype: of weights and clips.
    """
    module = VideoTraining(recipe, build_model(recipe), clips, clips).to(device, dtype)
    module.train(job == "training")
    module.start(None)
    module.step = round((1 - ratio) * _FALL)
    batch = clips.fetch(range(recipe.training.batch_size))
    batch = type(batch)(*(part.to(device) for part in batch))
    optimizer = module.configure_optimizers()
    trial = Trial(module, optimizer, batch, step=lambda: JOBS[job](trial), subnormals=job != "training")
    return trial
