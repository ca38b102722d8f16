"""Build models from recipes, and fill them with weights from files. A model larger than its file is refused."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.errors import ZooError, nearest
from zoo.predictors.normalizing import normalize
from zoo.predictors.predictor import Predictor
from zoo.predictors.video_model import VideoModel
from zoo.registry import Entry, find_model
from zoo.schema import shortened
from zoo.settings import OwnData, Recipe

MOST_TENSORS, MOST_ELEMENTS = 5_000, 2**32  # limits of a model that has no weights yet
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def build_model(recipe: Recipe, where: str = "", weights: Mapping[str, Tensor] | None = None) -> Predictor:
    """Build the model of a recipe. Its initial weights follow from the recipe's seed; the global random state is kept.

    Args:
        recipe: a recipe that `check_recipe` has returned.
        where: the file that the recipe was read from, for error messages.
        weights: the tensors that will be loaded into the model. A model that is far larger than these is refused before
            any memory is allocated.

    Raises:
        ZooError: if the model refuses an option, or has too many or too large layers.
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
    except Exception as error:  # the code of a user's model may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ZooError(
            f"{prefix}{recipe.model} cannot be built with options = {shortened(recipe.options)} ({reason})"
        ) from error


def count_parameters(entry: Entry) -> int | None:
    """The number of parameters of a model with its default options, or None if it cannot be built on the meta device.

    No memory is allocated for the weights.
    """
    try:
        with torch.device("meta"), _Budget(MOST_TENSORS, MOST_ELEMENTS):
            return sum(parameter.numel() for parameter in entry.build().parameters())
    except Exception:  # the code of a user's model may raise anything
        return None


def fill(model: Predictor, weights: Mapping[str, Tensor], where: str) -> None:
    """Load the weights of a file into a model. They are converted to the model's precision.

    Args:
        model: the model, which is changed in place.
        weights: the tensors by name, as in `model.state_dict()`.
        where: the name of the file, for error messages.

    Raises:
        ZooError: if a tensor is missing, unknown, or differs from the model's in shape or kind.
    """
    check_tensors(weights, model.state_dict(), f"{where} holds the weights of another model")
    model.load_state_dict(dict(weights))


def check_tensors(
    tensors: Mapping[str, Any], own: Mapping[str, Tensor], complaint: str, *, exact: bool = False
) -> None:
    """Check that tensors read from a file can replace those of a model or optimizer.

    Args:
        tensors: the tensors that were read, by name.
        own: the tensors to be replaced, by name.
        complaint: the beginning of the error message.
        exact: require the same dtype. Otherwise any floating-point dtype can replace any other.

    Raises:
        ZooError: if an entry is missing, unknown, not a tensor, or of another shape, layout or dtype.
    """
    for name in own:
        if name not in tensors:
            raise ZooError(f"{complaint}: {name} is missing")
    for name, tensor in tensors.items():
        if name not in own:
            raise ZooError(f"{complaint}: it has no {shortened(name)}; {nearest(str(name), own)}")
        if not isinstance(tensor, Tensor):
            raise ZooError(f"{complaint}: {name} = {shortened(tensor)} is not a tensor")
        if tensor.layout != torch.strided or tensor.shape != own[name].shape:
            kind = f"{tuple(tensor.shape)} {str(tensor.layout).removeprefix('torch.')}"
            raise ZooError(f"{complaint}: {name} is {kind}, but must be {tuple(own[name].shape)} strided")
        legal = FLOATS if own[name].dtype in FLOATS and not exact else (own[name].dtype,)
        if tensor.dtype not in legal:
            names = " or ".join(str(dtype).removeprefix("torch.") for dtype in legal)
            raise ZooError(f"{complaint}: {name} is {str(tensor.dtype).removeprefix('torch.')}, but must be {names}")


def _measure(recipe: Recipe, weights: Mapping[str, Tensor] | None) -> None:
    """Raise a ZooError if the recipe's model would have far more tensors or elements than are allowed."""
    tensors, elements = MOST_TENSORS, MOST_ELEMENTS
    if weights is not None:  # leave room for buffers and for temporary tensors of a constructor
        tensors = 2 * len(weights) + 1000
        elements = 4 * sum(tensor.numel() for tensor in weights.values()) + 1_000_000
    try:
        with torch.device("meta"), _Budget(tensors, elements):
            find_model(recipe.model).build(**recipe.options)
    except _OverBudget as error:
        filled = "the weights can fill" if weights is not None else "a model can have"
        raise ZooError(
            f"options = {shortened(recipe.options)} make a {recipe.model} with more than {error}, more than {filled}"
        ) from None
    except Exception:  # the model cannot be built on the meta device, or not at all; building it will report that
        return


class _OverBudget(Exception):
    """A model allocates more than is allowed."""


class _Budget(TorchDispatchMode):
    """Counts the tensors that are created in its block, and stops it if they are too many or too large."""

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
