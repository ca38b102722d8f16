"""Write networks for other programs: as ONNX, or in PyTorch's own format of exported programs."""

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
from zoo.predictors.predictor import Predictor
from zoo.predictors.recurrent import RecurrentPredictor, patchify, unpatchify
from zoo.settings import Recipe, Video

SUFFIXES = (".onnx", ".pt2")


class Rollout(nn.Module):
    """A network that maps observed frames to the frames of a fixed horizon, and returns nothing else.

    Args:
        model: a model in evaluation mode.
        horizon: the number of frames to predict.
    """

    def __init__(self, model: Predictor, horizon: int) -> None:
        super().__init__()
        self.model, self.horizon = model, horizon

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T_in, C, H, W)` to `(B, horizon, C, H, W)`."""
        predictions: Tensor = self.model(x, self.horizon)
        return predictions[:, -self.horizon :]


class Step(nn.Module):
    """A network that reads one frame and returns the next frame and the new state. A loop over it gives any horizon.

    The model's normalisation is part of the step. Only the tensors of the state are inputs and outputs of the network.
    Anything else in it, such as None in the place of a part that a model does not have, must be the same at each step.

    Args:
        model: a model in evaluation mode.
        size: height and width of the frames.
    """

    def __init__(self, model: RecurrentPredictor, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size
        leaves, self.form = pytree.tree_flatten(self._state(1))
        self.others, self.is_tensor = _others(leaves), [isinstance(leaf, Tensor) for leaf in leaves]

    def initial(self, batch: int) -> list[Tensor]:
        """The tensors of the state before the first frame."""
        return _tensors(pytree.tree_leaves(self._state(batch)))

    @torch.no_grad()
    def _state(self, batch: int) -> Any:
        height, width = (side // self.model.patch for side in self.size)
        return self.model.initial_state(batch, (height, width), torch.device("cpu"), torch.float32)

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Map a frame `(B, C, H, W)` and the state tensors to the next frame and the tensors of the new state."""
        patched = patchify(self.model.normalized(frame), self.model.patch)[None]
        tensors = iter(state)
        before = [next(tensors) if tensor else other for tensor, other in zip(self.is_tensor, self.others, strict=True)]
        following, after = self.model.predict(patched, pytree.tree_unflatten(before, self.form))
        leaves = pytree.tree_leaves(after)
        if _others(leaves) != self.others:
            raise ZooError(
                f"the state of {type(self.model).__name__} has parts that are no tensors and change from step to step, "
                "which a network cannot keep; leave out --step"
            )
        kept = [leaf.clone() for leaf in _tensors(leaves)]  # an exported output may not be an input
        if [leaf.shape for leaf in kept] != [leaf.shape for leaf in state]:
            raise ZooError(
                f"the state of {type(self.model).__name__} grows from step to step, which a network of one step cannot "
                "keep; leave out --step"
            )
        return self.model.denormalized(unpatchify(following[0], self.model.patch)), *kept


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _others(leaves: Sequence[Any]) -> list[Any]:
    """The leaves that are no tensors, with None in the places of the tensors."""
    return [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def export_rollout(path: str | Path, model: Predictor, recipe: Recipe, horizon: int) -> str:
    """Write a network that predicts a fixed horizon.

    It takes any number of clips. If the exporter can trace it, it also takes any frame size whose height and width are
    multiples of the model's `multiple`.

    Args:
        path: the file to write, `.onnx` or `.pt2`.
        model: the model to export.
        recipe: the settings that it was trained by, which say how many frames are observed.
        horizon: the number of frames to predict.

    Returns:
        A line that names the shapes of the network's input and output.

    Raises:
        ZooError: if the suffix is unknown, the horizon is below 1, or the model cannot be exported.
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
    except ZooError:  # a network that reads only one size of frames
        _write(path, Rollout(model.eval(), horizon), (x,), ({0: batch},), ["x"], ["predictions"])
        sides = f"{height}, {width}"
    shape = f"{data.channels}, {sides}"
    return f"x (batch, {data.observed}, {shape}) to predictions (batch, {horizon}, {shape})"


def export_step(path: str | Path, model: Predictor, recipe: Recipe) -> str:
    """Write a network that reads one frame and its state, and returns the next frame and the new state.

    Beside it, an `.npz` file holds the initial state of one clip, as `state0`, `state1` and so on.

    Args:
        path: the file to write, `.onnx` or `.pt2`.
        model: the model to export; it must read frame after frame.
        recipe: the settings that it was trained by.

    Returns:
        A line that names the network's inputs and outputs.

    Raises:
        ZooError: if the suffix is unknown, the model does not read frame after frame, or it cannot be exported.
    """
    if not isinstance(model, RecurrentPredictor) or not isinstance(recipe.data, Video):
        raise ZooError(f"{recipe.model} does not read frame after frame, so it has no single step; leave out --step")
    size = recipe.data.frame
    step = Step(model.eval(), size)
    states, longer = (
        [leaf.clone(memory_format=torch.contiguous_format) for leaf in step.initial(batch)]
        for batch in (2, 3)  # clones: the exporter cannot follow states that share their memory
    )
    batch = Dim("batch")
    axes = [_batch_axis(two, three) for two, three in zip(states, longer, strict=True)]
    names = [f"state{i}" for i in range(len(states))]
    shapes = ({0: batch}, tuple({axis: batch} for axis in axes))
    frame = torch.rand(2, recipe.data.channels, *size)
    _write(path, step, (frame, *states), shapes, ["frame", *names], ["prediction", *(f"next_{name}" for name in names)])
    first: dict[str, Any] = {name: state.detach().numpy() for name, state in zip(names, step.initial(1), strict=True)}
    beside = Path(path).with_suffix(".npz")
    with aside(beside) as temporary, temporary.open("wb") as file:
        np.savez(file, **first)
    return f"a frame and {len(names)} state tensors to the next frame and state; {beside} holds the initial state"


def _batch_axis(two: Tensor, three: Tensor) -> int:
    """The axis of a state tensor that counts clips: the only one that differs between batches of two and three."""
    return next(axis for axis in range(two.dim()) if two.shape[axis] != three.shape[axis])


def _write(
    path: str | Path, module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, names: Sequence[str], outputs: Any
) -> None:
    check_suffix(path, SUFFIXES)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters warn about their own internals
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
            with aside(path) as temporary:
                if Path(path).suffix.lower() == ".pt2":
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
    except Exception as error:  # an exporter may raise anything
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"the network cannot be written to {path} ({type(error).__name__}: {reason})") from error
