"""Models from recipes and weights that come from files: nothing is built that the file could not fill."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.errors import ZooError, nearest
from zoo.normalization import normalize
from zoo.predictor import Predictor
from zoo.registry import find_model
from zoo.schema import shortened
from zoo.settings import OwnData, Recipe
from zoo.video_model import VideoModel

MOST_TENSORS, MOST_ELEMENTS = 5_000, 2**32  # of a model that is yet to be trained
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def build_model(recipe: Recipe, where: str = "", weights: Mapping[str, Tensor] | None = None) -> Predictor:
    """The recipe's model, its weights drawn from the recipe's seed; the global generator is left as it was.

    Args:
        recipe: checked already.
        where: the file that it is from, for error messages.
        weights: those that the model is to have. One that would be far larger is refused before it takes any memory.

    Raises:
        ZooError: an option that the model refuses, or a model of too many or too large layers.
    """
    entry, prefix = find_model(recipe.model), f"{where}: " if where else ""
    try:
        _measure(recipe, weights)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.training.seed)
            model = entry.build(**recipe.options)
        if isinstance(recipe.data, OwnData) and isinstance(model, VideoModel):
            normalize(model, recipe.data.mean, recipe.data.std)
        model.recipe = recipe
        return model
    except ZooError as error:
        raise ZooError(f"{prefix}{error}") from error
    except Exception as error:  # whatever the code of any model may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ZooError(f"{prefix}no {recipe.model} has options = {shortened(recipe.options)} ({reason})") from error


def fill(model: Predictor, weights: Mapping[str, Tensor], where: str) -> None:
    """Give a model the weights of a file; they take the precision that the model has.

    Raises:
        ZooError: a tensor is missing or unknown, or of another shape or kind than the model's.
    """
    check_tensors(weights, model.state_dict(), f"{where} holds the weights of another model")
    model.load_state_dict(dict(weights))


def check_tensors(given: Mapping[str, Any], own: Mapping[str, Tensor], complaint: str, *, exact: bool = False) -> None:
    """Compare tensors that were read with those whose place they are to take.

    Args:
        given: what was read.
        own: what is there.
        complaint: what to say before the details.
        exact: numbers must have the very precision; else any floating-point one stands for another.

    Raises:
        ZooError: one is missing or unknown, no tensor, or of another shape, layout or kind.
    """
    for name in own:
        if name not in given:
            raise ZooError(f"{complaint}: {name} is missing")
    for name, tensor in given.items():
        if name not in own:
            raise ZooError(f"{complaint}: it has no {shortened(name)}; {nearest(str(name), own)}")
        if not isinstance(tensor, Tensor):
            raise ZooError(f"{complaint}: {name} = {shortened(tensor)} is no tensor")
        if tensor.layout != torch.strided or tensor.shape != own[name].shape:
            kind = f"{tuple(tensor.shape)} {str(tensor.layout).removeprefix('torch.')}"
            raise ZooError(f"{complaint}: {name} is {kind}, and {tuple(own[name].shape)} strided is needed")
        legal = FLOATS if own[name].dtype in FLOATS and not exact else (own[name].dtype,)
        if tensor.dtype not in legal:
            names = " or ".join(str(dtype).removeprefix("torch.") for dtype in legal)
            raise ZooError(f"{complaint}: {name} is {str(tensor.dtype).removeprefix('torch.')}, and {names} is needed")


def _measure(recipe: Recipe, weights: Mapping[str, Tensor] | None) -> None:
    """Raise a ZooError if the recipe's model needs far more tensors or elements than it may have."""
    tensors, elements = MOST_TENSORS, MOST_ELEMENTS
    if weights is not None:  # with room for buffers, and for what a constructor needs in between
        tensors = 2 * len(weights) + 1000
        elements = 4 * sum(tensor.numel() for tensor in weights.values()) + 1_000_000
    try:
        with torch.device("meta"), _Budget(tensors, elements):
            find_model(recipe.model).build(**recipe.options)
    except _OverBudget as error:
        filled = "the weights can fill" if weights is not None else "a model can have"
        raise ZooError(
            f"options = {shortened(recipe.options)} make a {recipe.model} of more than {error}, more than {filled}"
        ) from None
    except Exception:  # a model that cannot be built without memory, or not at all: building it tells
        return


class _OverBudget(Exception):
    """More was asked for than may be."""


class _Budget(TorchDispatchMode):
    """Counts the tensors that are made in its block, and ends it when they are too many or too large."""

    def __init__(self, tensors: int, elements: int) -> None:
        super().__init__()
        self._tensors, self._elements = tensors, elements
        self._left = [tensors, elements]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(isinstance(each, Tensor) for each in tree_leaves((args, kwargs))):
            self._left[0] -= 1
            self._left[1] -= sum(each.numel() for each in tree_leaves(result) if isinstance(each, Tensor))
        if self._left[0] < 0:
            raise _OverBudget(f"{self._tensors:,} tensors")
        if self._left[1] < 0:
            raise _OverBudget(f"{self._elements:,} elements")
        return result
