"""`create_model`, and files of weights: safetensors files that also hold the recipe. Some ship with the package."""

import fnmatch
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError
from zoo import models as _models  # noqa: F401 - registers the models of the package
from zoo.checks import check_options, check_recipe
from zoo.errors import ZooError, nearest
from zoo.files import path_of
from zoo.registry import Entry, find_model, model_names
from zoo.schema import shortened, validate
from zoo.settings import (
    LorenzData,
    MovingMNISTData,
    NoSampling,
    PlateauSampling,
    PythonData,
    Recipe,
    Sampling,
    VideoData,
    from_plain,
    to_plain,
)

if TYPE_CHECKING:
    from zoo.predictors.predictor import Predictor

_ODD_TENSORS = (RuntimeError, ValueError, TypeError, AttributeError, KeyError)  # raised for dtypes that torch lacks
HEADER = "zoo"  # key of the metadata, whose value is JSON: the recipe, and the digest of recipe and tensors
FOLDER = Path(__file__).parents[1] / "weights"
# the first of these that a model has is its default
PREFERRED = ("moving-mnist-long", "moving-mnist-small", "moving-mnist-brief", "kth-small")


def create_model(name: str, pretrained: str | Path | bool | None = None, **options: Any) -> "Predictor":
    """Make a model by its name, untrained or with trained weights.

    Args:
        name: the registered name; `zoo.list_models()` and `zoo models` list all.
        pretrained: the name of a set of weights that ship with the package, such as "moving-mnist-small", or a
            `.safetensors` file that `zoo export` or `zoo compress` wrote. The weights bring their own options, and the
            model is put in evaluation mode. True stands for the model's default weights: the first that it has of
            "moving-mnist-long", "moving-mnist-small", "moving-mnist-brief" and "kth-small".
        options: options of the model, which replace its published settings.

    Raises:
        ZooError: if a model, option or set of weights is unknown, an option has a wrong type, options are passed
            together with `pretrained`, or a file is damaged or holds the weights of another model.

    A model with its default options, one with other options, and one with weights:

    >>> import torch
    >>> create_model("conv-tt-lstm-sw").channels
    1
    >>> model = create_model("conv-lstm", hidden=(4,), layers=(1,), kernel=3)
    >>> model(torch.rand(2, 5, 1, 16, 16), horizon=3).shape
    torch.Size([2, 7, 1, 16, 16])
    >>> create_model("conv-lstm", pretrained=True).training
    False
    """
    entry = find_model(name)
    if pretrained is None or pretrained is False:
        try:
            model = entry.build(**options)  # the model's own checks come first: they know more than the types
        except TypeError:
            check_options(entry, options)
            raise
        check_options(entry, options)
        model.recipe = _untrained(entry, options, model)
        return model
    if options:
        raise ZooError(
            f"options {sorted(options)} are passed with pretrained = {pretrained!r}, whose options are fixed; leave "
            "out one of the two"
        )
    if pretrained is True:
        pretrained = _default_weights(name)
    if path_of("pretrained", pretrained).suffix != ".safetensors":
        return load_pretrained(name, str(pretrained))[0]
    model, recipe = load_weights(pretrained)
    if recipe.model != name:
        raise ZooError(f"{pretrained} holds the weights of {recipe.model!r}, not of {name!r}; use its own name")
    return model


def _untrained(entry: Entry, options: dict[str, Any], model: "Predictor") -> Recipe:
    """The recipe of a model that was made from options only, with data of the frames that it reads."""
    sampling: Sampling = PlateauSampling() if entry.feeds_back(options) else NoSampling()
    if entry.reads == "series":
        return Recipe(entry.name, options, LorenzData(), sampling)
    channels, canvas = getattr(model, "channels", 1), {**entry.options, **options}.get("canvas")
    data: VideoData = MovingMNISTData()
    if channels != 1 or canvas is not None:
        data = PythonData(channels=channels, size=64 if canvas is None else [*canvas])
    return Recipe(entry.name, options, data, sampling)


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """The names of all models, in alphabetical order.

    Args:
        pattern: list only names that match it, such as "conv-tt*".
        pretrained: list the sets of weights that ship with the package, as `MODEL:WEIGHTS`. The commands take such
            names in place of a run.

    Raises:
        ZooError: if the pattern is no text, or an installed package that declares models cannot be imported.

    >>> list_models("conv-tt*")
    ['conv-tt-lstm-fw', 'conv-tt-lstm-sw']
    >>> list_models("predrnn-pp", pretrained=True)
    ['predrnn-pp:kth-small', 'predrnn-pp:moving-mnist-brief']
    """
    if not isinstance(pattern, str):
        raise ZooError(f"pattern = {shortened(pattern)} must be a text, such as 'conv-tt*'")
    names = [name for name in model_names() if fnmatch.fnmatchcase(name, pattern)]
    if not pretrained:
        return names
    return [f"{name}:{weights}" for name in names for weights in pretrained_names(name)]


def pretrained_names(model: str) -> list[str]:
    """The names of the sets of weights that ship with the package for a model.

    Raises:
        ZooError: if there is no such model.

    >>> pretrained_names("predrnn-pp")
    ['kth-small', 'moving-mnist-brief']
    """
    find_model(model)
    return sorted(path.name.removeprefix(f"{model}.").removesuffix(".safetensors") for path in _shipped(model))


def load_pretrained(model: str, name: str) -> "tuple[Predictor, Recipe]":
    """A model with weights that ship with the package, in evaluation mode, and its recipe.

    Raises:
        ZooError: if there are no such weights.
    """
    path = FOLDER / f"{model}.{name}.safetensors"
    if path not in _shipped(model):
        known = pretrained_names(model)
        raise ZooError(f"no weights {name!r} for {model}; {nearest(name, known) if known else _models_with_weights()}")
    return load_weights(path)


def save_weights(path: str | Path, model: "Predictor", recipe: Recipe) -> None:
    """Write a model's weights and its recipe to a safetensors file, in the precision that the tensors have.

    Compressed models are written too, also after further training.

    Args:
        path: the file to write.
        model: any model of the zoo.
        recipe: the settings that the model was trained by, from which it can be built again.

    Raises:
        ZooError: if the file cannot be written.
    """
    from tensortrain.digest import digest
    from tensortrain.storage import save_tensors
    from zoo.files import aside
    from zoo.model_files.compressed import is_compressed, save_tuned

    if is_compressed(model):
        save_tuned(model, path, recipe)
        return
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = {"recipe": to_plain(recipe), "digest": digest({"recipe": to_plain(recipe), "weights": weights})}
    with aside(path) as temporary:
        save_tensors(temporary, weights, {HEADER: json.dumps(content)})  # several entries would have a random order


def load_weights(path: str | Path) -> "tuple[Predictor, Recipe]":
    """Read a file of `save_weights` or `zoo compress`. The model is in 32 bits, evaluation mode and on the CPU.

    The weights that ship with the package are stored in 16 bits; they become 32-bit numbers too.

    Raises:
        ZooError: if the file does not exist, is damaged, is not safetensors, has no recipe, or holds the weights of
            another model.
    """
    from safetensors import SafetensorError, safe_open

    from tensortrain import inputs, storage
    from tensortrain.digest import digest
    from zoo.model_files.building import build_model, fill
    from zoo.model_files.compressed import load_compressed

    path = path_of("path", path)
    try:
        inputs.regular(path)
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (TensorTrainError, OSError, SafetensorError, *_ODD_TENSORS) as error:
        reason = str(error).partition("\n")[0]
        raise ZooError(f"{path} cannot be read ({reason}); give a safetensors file that `zoo export` wrote") from None
    if storage.HEADER in metadata:
        return load_compressed(path)
    if HEADER not in metadata:
        raise ZooError(f"{path} holds no recipe; give a file that `zoo export` wrote")
    header = _read_header(metadata[HEADER], path)
    if header["digest"] != digest({"recipe": header["recipe"], "weights": weights}):
        raise ZooError(f"{path} is damaged: its content does not match its digest; export it again")
    try:
        recipe = check_recipe(from_plain(header["recipe"], "its recipe"))
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    model = build_model(recipe, str(path), weights)
    fill(model, weights, str(path))  # into the model's own 32-bit parameters
    return model.eval(), recipe


def _read_header(text: str, path: str | Path) -> dict[str, Any]:
    """Read the recipe and the digest from a file's metadata.

    Raises:
        ZooError: if they are damaged.
    """
    from pydantic import ConfigDict, TypeAdapter, create_model

    strict = ConfigDict(strict=True, extra="forbid")
    schema = create_model("Header", __config__=strict, recipe=(dict[str, Any], ...), digest=(str, ...))
    return dict(validate(TypeAdapter(schema), text, f"{path}: its metadata"))


def _default_weights(model: str) -> str:
    """The name of the weights that `pretrained=True` stands for.

    Raises:
        ZooError: if the model has no weights.
    """
    known = pretrained_names(model)
    if not known:
        raise ZooError(f"no weights ship for {model}; {_models_with_weights()}")
    return next((name for name in PREFERRED if name in known), known[0])


def _models_with_weights() -> str:
    """The end of an error message about a model without weights."""
    sets = {name: pretrained_names(name) for name in model_names()}
    listed = "; ".join(f"{model}: {', '.join(names)}" for model, names in sets.items() if names)
    return f"models with weights are {listed}"


def _shipped(model: str) -> list[Path]:
    return list(FOLDER.glob(f"{model}.*.safetensors"))
