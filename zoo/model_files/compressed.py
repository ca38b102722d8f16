"""Compress trained models with `tensortrain.compress`, and write and read the results.

The files have the format of compressed networks, with the recipe of the original model added. So `tensortrain info`
and `tensortrain verify` read them too.
"""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tensortrain.compression.layers.modules import FACTORISED, duplicate, swap
from tensortrain.compression.network import compress
from tensortrain.compression.state_dicts.records import read_changes, read_network
from tensortrain.errors import TensorTrainError
from tensortrain.nn import load, save
from zoo.cells.conv import SameConv2d
from zoo.checks import check_recipe
from zoo.devices import find_device
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.settings import Recipe, from_plain, to_plain

if TYPE_CHECKING:
    from tensortrain.compression.result import Compressed
    from zoo.predictors.predictor import Predictor

ABOUT = "recipe"  # the key of the recipe in the file's description of the network


def compress_model(
    model: "Predictor",
    recipe: Recipe,
    clips: Tensor,
    *,
    device: torch.device | str | None = None,
    **options: Any,
) -> "Compressed":
    """Compress a trained model. The error is measured on free-running rollouts of clips like the training clips.

    Args:
        model: a model in evaluation mode; it is not changed.
        recipe: the settings that it was trained by, which say how many frames are observed.
        clips: `(N, T, …)`. The steps after the observed ones are not read; the model predicts as many.
        device: where to compute, and where the result will be; by default where the model is.
        options: arguments of `tensortrain.compress`, such as `parameters`.

    Returns:
        The result of `tensortrain.compress`.

    Raises:
        ZooError: if the clips are too short, or there is no such device.
        TensorTrainError: in the same cases as `tensortrain.compress`.
    """
    observed = recipe.data.observed
    if clips.dim() < 3 or clips.shape[1] <= observed:
        raise ZooError(f"clips have shape {tuple(clips.shape)}, but must be (N, T > {observed}, …)")
    place = find_device(device, next(model.parameters()).device)
    rollout = {"x": clips[:, :observed].to(place), "horizon": clips.shape[1] - observed}
    return compress(with_plain_convs(model).to(place), [rollout], samples=len(clips), **options)


def with_plain_convs(model: nn.Module) -> nn.Module:
    """A copy of a model with plain `torch.nn.Conv2d` layers. It computes the same, and its layers can be replaced."""
    model = duplicate(model)
    return swap(model, {n: _plain(m) for n, m in model.named_modules() if isinstance(m, SameConv2d)})


def _plain(conv: SameConv2d) -> nn.Conv2d:
    size: Any = conv.kernel_size
    dilation: Any = conv.dilation
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, size, padding="same", dilation=dilation, device="meta")
    plain.weight, plain.bias = deepcopy(conv.weight), deepcopy(conv.bias)
    return plain.train(conv.training)


def save_compressed(result: "Compressed", path: str | Path, recipe: Recipe) -> None:
    """Write a compressed model together with the recipe of the original.

    Args:
        result: what `compress_model` returned.
        path: the file to write.
        recipe: the settings of the original model.

    Raises:
        TensorTrainError: if no layer was replaced, or the file cannot be written.
    """
    result.save(path, about={ABOUT: to_plain(recipe)})


def save_tuned(model: nn.Module, path: str | Path, recipe: Recipe) -> None:
    """Write a compressed model, which may have been trained further, so that `load_compressed` reads it.

    Raises:
        ZooError: if the file cannot be written.
    """
    try:
        save(model, path, about={ABOUT: to_plain(recipe)})
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


def load_compressed(path: str | Path) -> "tuple[Predictor, Recipe]":
    """Read a file of `save_compressed`. The model is in evaluation mode and on the CPU.

    Raises:
        ZooError: if the file is damaged, of another kind or without a recipe, or if its layers do not fit the model.
    """
    try:
        about = read_changes(path).about or {}
        if not isinstance(about.get(ABOUT), dict):
            raise ZooError(f"{path} holds no recipe; give a file that `zoo export` or `zoo compress` wrote")
        recipe = check_recipe(from_plain(about[ABOUT], f"{path}: its recipe"))
        tensors, records = read_network(path)
        dense = {record.weight: torch.empty(record.shape, device="meta") for record in records}
        model: Any = load(with_plain_convs(build_model(recipe, str(path), {**tensors, **dense})), path)
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    return model.eval(), recipe


def is_compressed(model: nn.Module) -> bool:
    """Whether a model holds layers that only the file format of compressed models can describe."""
    return any(isinstance(layer, FACTORISED) for layer in model.modules())
