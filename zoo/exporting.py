"""Networks for other programs: ONNX, and PyTorch's own format of exported programs."""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from zoo.errors import ZooError
from zoo.files import aside
from zoo.names import check_suffix
from zoo.predictor import Predictor
from zoo.recurrent import RecurrentPredictor, patchify, unpatchify
from zoo.settings import OwnData, Recipe, Video

SUFFIXES = (".onnx", ".pt2")


class Rollout(nn.Module):
    """The frames of a fixed horizon after observed ones, and nothing else.

    Args:
        model: in evaluation mode.
        horizon: frames to predict.
    """

    def __init__(self, model: Predictor, horizon: int) -> None:
        super().__init__()
        self.model, self.horizon = model, horizon

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T_in, C, H, W)` to `(B, horizon, C, H, W)`."""
        predictions: Tensor = self.model(x, self.horizon)
        return predictions[:, -self.horizon :]


class Step(nn.Module):
    """One frame read: a prediction of the next, and the state to read that with. A loop over it gives every horizon.

    Args:
        model: in evaluation mode.
        recipe: that it was trained by, whose normalisation is a part of the step.
        size: H and W.
    """

    def __init__(self, model: RecurrentPredictor, recipe: Recipe, size: tuple[int, int]) -> None:
        super().__init__()
        data = recipe.data
        mean = list(data.mean) if isinstance(data, OwnData) else []
        std = list(data.std) if isinstance(data, OwnData) else []
        self.model, self.size = model, size
        self.register_buffer("shift", torch.tensor(mean or [0.0] * model.channels)[:, None, None])
        self.register_buffer("scale", torch.tensor(std or [1.0] * model.channels)[:, None, None])
        self.form = pytree.tree_flatten(self.initial(1))[1]

    @torch.no_grad()
    def initial(self, batch: int) -> Any:
        """The state before the first frame."""
        height, width = (side // self.model.patch for side in self.size)
        return self.model.initial_state(batch, (height, width), torch.device("cpu"), torch.float32)

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """A frame `(B, C, H, W)` and the tensors of the state to the predicted frame and those of the new state."""
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        patched = patchify((frame - shift) / scale, self.model.patch)[None]
        following, after = self.model.predict(patched, pytree.tree_unflatten(list(state), self.form))
        kept = [leaf.clone() for leaf in pytree.tree_leaves(after)]  # an output may not be an input
        return unpatchify(following[0], self.model.patch) * scale + shift, *kept


def export_rollout(path: str | Path, model: Predictor, recipe: Recipe, horizon: int) -> str:
    """Write a network that predicts a fixed horizon, from clips of any number; and of any size that its patches divide,
    where the exporter can follow that.

    Args:
        path: `.onnx` or `.pt2`.
        model: to export.
        recipe: that it was trained by; it says how many frames are observed.
        horizon: frames to predict.

    Returns:
        A line that says what the network takes and gives.

    Raises:
        ZooError: another suffix, a horizon below 1, or a model that cannot be exported.
    """
    if horizon < 1:
        raise ZooError(f"horizon = {horizon} must be at least 1")
    data, batch = recipe.data, Dim("batch")
    if not isinstance(data, Video):
        x = torch.rand(2, data.observed, data.columns)
        _write(path, Rollout(model.eval(), horizon), (x,), ({0: batch},), ["x"], ["predictions"])
        return f"x (batch, {data.observed}, {data.columns}) to predictions (batch, {horizon}, {data.columns})"
    height, width = data.frame
    x = torch.rand(2, data.observed, data.channels, height, width)
    multiple = getattr(model, "multiple", 1)
    free = {0: batch, 3: multiple * Dim("rows"), 4: multiple * Dim("columns")}
    try:
        _write(path, Rollout(model.eval(), horizon), (x,), (free,), ["x"], ["predictions"])
        sides = f"H, W, multiples of {multiple}"
    except ZooError:  # a network that is made for one size
        _write(path, Rollout(model.eval(), horizon), (x,), ({0: batch},), ["x"], ["predictions"])
        sides = f"{height}, {width}"
    shape = f"{data.channels}, {sides}"
    return f"x (batch, {data.observed}, {shape}) to predictions (batch, {horizon}, {shape})"


def export_step(path: str | Path, model: Predictor, recipe: Recipe) -> str:
    """Write a network that reads one frame, with its state as inputs and outputs, and beside it an `.npz` file with the
    state of one clip before its first frame, as `state0`, `state1` and so on.

    Args:
        path: `.onnx` or `.pt2`.
        model: to export; it must read frame after frame.
        recipe: that it was trained by.

    Returns:
        A line that says what the network takes and gives.

    Raises:
        ZooError: another suffix, or a model that has no such step, or cannot be exported.
    """
    if not isinstance(model, RecurrentPredictor) or not isinstance(recipe.data, Video):
        raise ZooError(f"{recipe.model} does not read frame after frame, so it has no step; leave out --step")
    size = recipe.data.frame
    step = Step(model.eval(), recipe, size)
    states, longer = (
        [leaf.clone(memory_format=torch.contiguous_format) for leaf in pytree.tree_leaves(step.initial(batch))]
        for batch in (2, 3)  # clones: the exporter cannot follow states that share their memory
    )
    batch = Dim("batch")
    axes = [_batch_axis(two, three) for two, three in zip(states, longer, strict=True)]
    names = [f"state{i}" for i in range(len(states))]
    shapes = ({0: batch}, tuple({axis: batch} for axis in axes))
    frame = torch.rand(2, recipe.data.channels, *size)
    _write(path, step, (frame, *states), shapes, ["frame", *names], ["prediction", *(f"next_{name}" for name in names)])
    first = {
        name: state.detach().numpy() for name, state in zip(names, pytree.tree_leaves(step.initial(1)), strict=True)
    }
    beside = Path(path).with_suffix(".npz")
    with aside(beside) as temporary, temporary.open("wb") as file:
        np.savez(file, **first)
    return f"frame and {len(names)} tensors of state to the next frame and state; the first state is in {beside}"


def _batch_axis(two: Tensor, three: Tensor) -> int:
    """The axis of a state that counts clips: the one that differs between two and three of them."""
    return next(axis for axis in range(two.dim()) if two.shape[axis] != three.shape[axis])


def _write(
    path: str | Path, module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, names: Sequence[str], outputs: Any
) -> None:
    check_suffix(path, SUFFIXES)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about themselves
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
            with aside(path) as temporary:
                if Path(path).suffix == ".pt2":
                    content = io.BytesIO()
                    torch.export.save(program, content)
                    temporary.write_bytes(content.getvalue())
                else:
                    written = torch.onnx.export(
                        program, input_names=list(names), output_names=list(outputs), dynamo=True, verbose=False
                    )
                    assert written is not None
                    written.save(str(temporary), external_data=False)
    except ZooError:
        raise
    except Exception as error:  # whatever an exporter may raise
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"the network cannot be written to {path} ({type(error).__name__}: {reason})") from error
