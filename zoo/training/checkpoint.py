"""Checkpoints: tensors and plain values. They are written completely or not at all, and reading them runs no code.

| entry | content |
|---|---|
| `format`, `digest` | the version of this table, and a digest of all other entries |
| `model`, `options`, `step` | the model, its options and the number of steps |
| `weights`, `optimizer` | tensors by parameter |
| `precision`, `sampling`, `learning_rate`, `meter` | the states of these parts |
| `progress` | how far the run has come; see `RunProgress` |
| `metrics` | the text of `metrics.csv` |
| `data` | the digests of the training and the validation clips |
| `environment` | the software and the machine; see `zoo.training.environment` |
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, TypeAdapter, model_validator
from torch import Tensor

from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError
from tensortrain.torch_files import read_torch
from zoo.errors import ZooError
from zoo.files import aside
from zoo.schema import shortened, validate
from zoo.training.metrics_log import HEADER

FORMAT = 3

Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Number = InstanceOf[float]
Text = Annotated[str, Field(strict=True)]
Digest = Annotated[Text, Field(pattern="^[0-9a-f]{64}$")]
State = dict[Text, Annotated[int, Field(strict=True)] | Number]
_EXACT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclass
class RunProgress:
    """How far a run has come, besides its weights.

    Args:
        best: the lowest validation loss.
        stale: the number of validations since then.
        validated: the step of the last validation.
        row: the step of the last row of metrics.
        seconds: the time of training in all sessions.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    best: Number
    stale: Count
    validated: Count
    row: Count
    seconds: Number

    @classmethod
    def at_start(cls) -> Self:
        """The progress before the first step."""
        return cls(best=math.inf, stale=0, validated=0, row=0, seconds=0.0)

    def observe(self, step: int, loss: float) -> bool:
        """Note the validation loss of a step, and return whether it is the lowest so far."""
        improved = loss < self.best
        self.validated, self.stale = step, 0 if improved else self.stale + 1
        self.best = loss if improved else self.best  # min() would let a loss of NaN replace the lowest one
        return improved

    def stalled(self, patience: int) -> bool:
        """Whether the last `patience` validations brought no improvement; never if `patience` is 0."""
        return 0 < patience <= self.stale


class _Meter(BaseModel):
    model_config = _EXACT

    steps: Count
    loss: Tensor
    norm: Tensor


class _Data(BaseModel):
    model_config = _EXACT

    train: Digest
    val: Digest


class _Checkpoint(BaseModel):
    model_config = _EXACT

    model: Text
    options: dict[Text, Any]
    step: Count
    weights: dict[Text, Tensor]
    optimizer: dict[Text, dict[Text, Tensor]]
    precision: State
    sampling: State
    learning_rate: State
    meter: _Meter
    progress: RunProgress
    metrics: Text
    data: _Data
    environment: dict[Text, Text | Count]

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Refuse parts that cannot belong to the same moment."""
        for name, step in (("row", self.progress.row), ("validated", self.progress.validated)):
            if step > self.step:
                raise ValueError(f"progress.{name} = {step} is later than step = {self.step}")
        if not self.metrics.startswith(HEADER):
            raise ValueError(f"metrics = {shortened(self.metrics)} must start with the names of the columns")
        return self


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint completely or not at all: `path` holds all of it or is unchanged, even after a power failure.

    Raises:
        ZooError: if the file cannot be written.
    """
    content = {"format": FORMAT, "digest": digest(checkpoint), **checkpoint}
    with aside(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `save_checkpoint`. Its tensors are on the CPU.

    Raises:
        ZooError: if the file does not exist, is truncated or damaged, or is not a checkpoint of the zoo.
    """
    if not path.exists():
        raise ZooError(f"there is no checkpoint {path}; train first, or name another one in {path.parent}")
    try:
        content = read_torch(path).content
    except TensorTrainError as error:
        raise ZooError(f"{path} cannot be read as a checkpoint ({error}); use another one") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ZooError(f"{path} is not a checkpoint of the zoo (format {FORMAT}); name one that `zoo train` wrote")
    checkpoint = {name: value for name, value in content.items() if name not in ("format", "digest")}
    validate(TypeAdapter(_Checkpoint), checkpoint, f"{path} is not a complete checkpoint, use another one")
    try:
        intact = content.get("digest") == digest(checkpoint)
    except TensorTrainError as error:
        raise ZooError(f"{path} is damaged: {error}; use another checkpoint") from error
    if not intact:
        raise ZooError(f"{path} is damaged: its content does not match its digest; use another checkpoint")
    return checkpoint
