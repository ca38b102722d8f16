"""The recipe of a run: all of its settings."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tensortrain.notebooks import facts
from zoo.settings.base import Settings
from zoo.settings.data import Data, MovingMNISTData
from zoo.settings.optimizers import AdamOptimizer, Optimizer
from zoo.settings.schedules import LearningRate, PlateauRate, PlateauSampling, Sampling

FRAME_LOSSES = ("cross_entropy", "gradient")  # losses that are defined for frames but not for series
LOSS_TERMS = ("l1", "l2", *FRAME_LOSSES)


@dataclass(frozen=True)
class Training(Settings):
    """Training: steps, loss, validation, and the machine.

    Args:
        steps: total number of steps, that is, updates of the weights.
        batch_size: number of clips in a step, over all processes; a multiple of the number of processes.
        seed: random seed of the initial weights, the order of the clips, scheduled sampling, and what a model draws,
            for instance in a dropout.
        l1: weight of the mean absolute error in the loss.
        l2: weight of the mean squared error in the loss.
        cross_entropy: weight of the cross-entropy in the loss, with grey values as probabilities. It needs a model
            whose predictions lie in [0, 1].
        gradient: weight of the gradient difference in the loss: how much the differences between neighbouring pixels
            differ.
        backwards: train on every batch twice, in two steps: first as it is, then played backwards. The released code
            of PredRNN and PredRNN++ does so. Both steps have the same mask and probability of scheduled sampling.
        clip_norm: largest global norm of the gradient; a larger gradient is scaled down to it. 0 for no limit.
        validate_every: number of steps between validations; 0 for one validation in each epoch.
        validation_clips: number of clips in each validation; 0 for the whole validation split.
        save_every: number of steps between extra checkpoints, kept beside the best and the last one; 0 for none.
        log_every: number of steps between rows of metrics.csv. At each row, the device is synchronised, and training
            stops with an error if a loss or a gradient was NaN or infinite.
        early_stop: stop after this number of validations without improvement; 0 for never.
        max_time: stop after this number of minutes; the run can be resumed. 0 for no limit.
        precision: numerical precision by Lightning's names, such as "32-true", "bf16-mixed" or "64-true".
        graph: after a few steps, record a whole step as a CUDA graph and replay it. This gives the same numbers, and
            saves the time of thousands of kernel launches. It works on one GPU, except with 16-mixed; elsewhere the
            setting is ignored.
        deterministic: let cuDNN use only algorithms that give the same bits every time. Without them, a resumed run
            ends with other weights than an uninterrupted run. False allows the fastest algorithms;
            `zoo benchmark --variants eager free-algorithms` compares the two on a GPU. Ignored on a CPU.
        compile: compile each cell's step by `torch.compile`, or the whole rollout of a model of series. The first step
            is slow, and later steps are faster.
        recompute: compute activations again in the backward pass: much less memory, about a third more time.
        accelerator: where to train: "cpu", "gpu", or "auto" for a GPU if there is one.
        devices: number of processes (or GPUs) on each machine.
        nodes: number of machines.
        num_workers: number of processes that prepare batches; 0 prepares them in the training process.
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
        """The weights of the loss terms, as keyword arguments of `Predictor.loss`."""
        return {name: getattr(self, name) for name in LOSS_TERMS}


@dataclass(frozen=True)
class Origin(Settings):
    """Start: the weights or the run to start from, if not from random weights.

    Args:
        weights: a run, a `.safetensors` or `.ckpt` file, or MODEL:WEIGHTS. Its weights are copied wherever their names
            and shapes equal those of the model. Empty to start from random weights.
        run: the folder of an earlier run of this model to continue, with its weights, the state of its optimiser, and
            its number of steps. Empty to start from step 0.
        freeze: names of parameters that are not trained; * stands for any text.
    """

    weights: str = ""
    run: str = ""
    freeze: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """All settings of a run.

    Args:
        model: name of the model; `zoo models` lists all names.
        options: options of the model, as for `zoo.create_model(model, **options)`.
        data: the clips. The class of this part is the kind of data set.
        sampling: scheduled sampling: how often training reads true frames instead of the model's own predictions. The
            class of this part is the schedule.
        learning_rate: the learning rate. The class of this part is the schedule.
        optimizer: the optimiser. The class of this part is the method.
        training: all other settings of training, and the machine.
        origin: the weights or the run to start from.

    >>> Recipe("conv-lstm", training=Training(steps=100)).data.name
    'moving-mnist'
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
        """For notebooks: each part of the recipe on a line."""
        parts = {name: value for name, value in vars(self).items() if name != "model"}
        return facts(f"Recipe of {self.model}", {name: _line(part) for name, part in parts.items()})


def _line(part: Any) -> str:
    """Settings in one line."""
    settings = part if isinstance(part, dict) else vars(part)
    return ", ".join(f"{name} = {value!r}" for name, value in settings.items())
