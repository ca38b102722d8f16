"""A recipe: all settings of a run."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tensortrain.notebooks import facts
from zoo.settings.base import Settings
from zoo.settings.data import Data, MovingMNISTData
from zoo.settings.optimizers import AdamOptimizer, Optimizer
from zoo.settings.schedules import LearningRate, PlateauRate, PlateauSampling, Sampling

FRAME_LOSSES = ("cross_entropy", "gradient")  # which series have none of
LOSS_TERMS = ("l1", "l2", *FRAME_LOSSES)


@dataclass(frozen=True)
class Training(Settings):
    """How the weights are trained, and on what machine.

    Args:
        steps: optimiser steps of the whole run.
        batch_size: clips in a step, over all processes; divisible by their number.
        seed: random seed of the first weights, the order of the clips and the draws of scheduled sampling.
        l1: weight of the mean absolute error in the loss.
        l2: weight of the mean squared error in the loss.
        cross_entropy: weight of the cross-entropy in the loss, with grey values as probabilities; for models whose
            predictions lie in [0, 1].
        gradient: weight of the gradient difference in the loss: how much the steps between neighbouring pixels differ.
        backwards: train on every batch twice, the second time played backwards, each time in a step of its own, as the
            released code of PredRNN and PredRNN++ does. Both steps read the same frames true, at the first one's ratio.
        clip_norm: largest global norm of the gradient; larger ones are scaled down to it. 0 for no limit.
        validate_every: steps between validations; 0 for once an epoch.
        validation_clips: clips of the validation split to measure each time; 0 for all.
        save_every: steps between checkpoints that are kept beside the best and the last one; 0 for none.
        log_every: steps between rows of metrics.csv. Each also synchronises the device and raises an error if a loss
            was NaN or infinite.
        early_stop: validations without improvement after which training ends; 0 for never.
        max_time: minutes after which training stops and can be resumed; 0 for no limit.
        precision: numerical precision by Lightning's names, such as "32-true", "bf16-mixed" or "64-true".
        graph: record a whole step as a CUDA graph, after the first few, and replay it: the same numbers, without the
            time that thousands of launches take. This works on one GPU, though not in 16-mixed; elsewhere the setting
            has no effect.
        deterministic: let cuDNN use only algorithms that give the same bits every time: without them a resumed run
            ends with other weights than an unbroken one. False lets it take the fastest; the speed page compares the
            two (variant free-algorithms). No effect on a CPU.
        compile: compile each cell's step by `torch.compile`, for faster steps after a slow first one.
        recompute: compute activations again in the backward pass, for much less memory and about a third more time.
        accelerator: where to train: "auto" takes a GPU if there is one, else "cpu" or "gpu".
        devices: number of processes, or GPUs, on each machine.
        nodes: number of machines.
        num_workers: processes that prepare batches; 0 for the training process itself.
    """

    steps: int = 250_000
    batch_size: int = 16
    seed: int = 0
    l1: float = 1.0
    l2: float = 1.0
    cross_entropy: float = 0.0
    gradient: float = 0.0
    backwards: bool = False
    clip_norm: float = 1.0
    validate_every: int = 0
    validation_clips: int = 0
    save_every: int = 0
    log_every: int = 50
    early_stop: int = 0
    max_time: float = 0.0
    precision: str = "32-true"
    graph: bool = True
    deterministic: bool = True
    compile: bool = False
    recompute: bool = False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    num_workers: int = 0

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of the loss, as `Predictor.loss` takes them."""
        return {name: getattr(self, name) for name in LOSS_TERMS}


@dataclass(frozen=True)
class Origin(Settings):
    """What a run starts from, if not from random weights.

    Args:
        weights: a run, a `.safetensors` or `.ckpt` file, or MODEL:WEIGHTS: those of its weights that have the model's
            names and shapes are taken. Empty for none.
        run: the folder of a run of this model to go on from, with its weights, its optimiser's state and its number of
            steps. Empty for none.
        freeze: parameters to leave as they are: their names, in which * stands for anything.
    """

    weights: str = ""
    run: str = ""
    freeze: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Args:
        model: name of the model; `zoo models` lists all.
        options: the model's keyword arguments, as for `zoo.create_model(model, **options)`.
        data: the clips; the class says which kind of data set.
        sampling: scheduled sampling, that is, how often training reads true frames instead of the model's own
            predictions; the class says which schedule.
        learning_rate: schedule of the learning rate; its class says which.
        optimizer: the optimiser; its class says which.
        training: all other settings of training, and the machine.
        origin: the weights or the run that it starts from.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=MovingMNISTData)
    sampling: Sampling = field(default_factory=PlateauSampling)
    learning_rate: LearningRate = field(default_factory=PlateauRate)
    optimizer: Optimizer = field(default_factory=AdamOptimizer)
    training: Training = field(default_factory=Training)
    origin: Origin = field(default_factory=Origin)

    def _repr_html_(self) -> str:
        """For notebooks: the parts, a line each."""
        parts = {name: value for name, value in vars(self).items() if name != "model"}
        return facts(f"Recipe of {self.model}", {name: _line(part) for name, part in parts.items()})


def _line(part: Any) -> str:
    """Settings in one line."""
    settings = part if isinstance(part, dict) else vars(part)
    return ", ".join(f"{name} = {value!r}" for name, value in settings.items())
