"""`create_model`, and weights: one safetensors file with the recipe they were trained by, some of which ship."""

import fnmatch
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError
from zoo import models as _models  # noqa: F401 - registers the models of the package
from zoo.checks import check_recipe
from zoo.errors import ZooError, nearest
from zoo.registry import Entry, find_model, model_names
from zoo.schema import validate
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
    from zoo.predictor import Predictor

_ODD_TENSORS = (RuntimeError, ValueError, TypeError, AttributeError, KeyError)  # of types that torch lacks
HEADER = "zoo"  # the entry of the metadata: the recipe, and the digest of it and of all tensors, as JSON
FOLDER = Path(__file__).parent / "weights"
PREFERRED = ("moving-mnist-small", "moving-mnist-brief", "kth-small")  # the first that ships is a model's default


def create_model(name: str, pretrained: str | bool | None = None, **options: Any) -> "Predictor":
    """Make a model.

    Args:
        name: as registered; `zoo models` lists them.
        pretrained: weights that ship with the package, such as "moving-mnist-small", which bring their own options and
            put the model in evaluation mode. True for the model's default weights: the first that ship of
            "moving-mnist-small", "moving-mnist-brief" and "kth-small".
        options: the model's keyword arguments, over its published settings.

    Raises:
        ZooError: an unknown model, option or set of weights, or options beside `pretrained`.

    With a model's defaults, with other options, and with weights:

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
        model = entry.build(**options)
        model.recipe = _untrained(entry, options, model)
        return model
    if options:
        raise ZooError(f"options {sorted(options)} are given beside pretrained = {pretrained!r}, which has its own")
    return load_pretrained(name, _default_weights(name) if pretrained is True else pretrained)[0]


def _untrained(entry: Entry, options: dict[str, Any], model: "Predictor") -> Recipe:
    """The recipe of a model that is made by its options alone, for frames as it reads them."""
    sampling: Sampling = PlateauSampling() if entry.feeds_back(options) else NoSampling()
    if entry.reads == "series":
        return Recipe(entry.name, options, LorenzData(), sampling)
    channels, canvas = getattr(model, "channels", 1), {**entry.options, **options}.get("canvas")
    data: VideoData = MovingMNISTData()
    if channels != 1 or canvas is not None:
        data = PythonData(channels=channels, size=64 if canvas is None else [*canvas])
    return Recipe(entry.name, options, data, sampling)


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """The names of all models, sorted.

    Args:
        pattern: only those that match it, such as "conv-tt*".
        pretrained: in place of the models the sets of weights that ship, `MODEL:WEIGHTS` as the commands take them.

    Raises:
        ZooError: an installed package cannot be imported that says it has models.

    >>> list_models("conv-tt*")
    ['conv-tt-lstm-fw', 'conv-tt-lstm-sw']
    >>> list_models("predrnn-pp", pretrained=True)
    ['predrnn-pp:kth-small', 'predrnn-pp:moving-mnist-brief']
    """
    names = [name for name in model_names() if fnmatch.fnmatchcase(name, pattern)]
    if not pretrained:
        return names
    return [f"{name}:{weights}" for name in names for weights in pretrained_names(name)]


def pretrained_names(model: str) -> list[str]:
    """The sets of weights that ship for a model.

    >>> pretrained_names("predrnn-pp")
    ['kth-small', 'moving-mnist-brief']
    """
    return sorted(path.name.removeprefix(f"{model}.").removesuffix(".safetensors") for path in _shipped(model))


def load_pretrained(model: str, name: str) -> "tuple[Predictor, Recipe]":
    """A model with weights that ship with the package, in evaluation mode, and their recipe.

    Raises:
        ZooError: no such weights.
    """
    path = FOLDER / f"{model}.{name}.safetensors"
    if path not in _shipped(model):
        known = pretrained_names(model)
        raise ZooError(f"no weights {name!r} for {model}; {nearest(name, known) if known else _models_with_weights()}")
    return load_weights(path)


def save_weights(path: str | Path, model: "Predictor", recipe: Recipe) -> None:
    """Write a model's weights and its recipe; tensors are written contiguous, in the precision that they have.

    Raises:
        ZooError: the file cannot be written, or the model is a compressed one, whose layers a recipe cannot build.
    """
    from tensortrain.digest import digest
    from tensortrain.storage import save_tensors
    from zoo.compressed import is_compressed
    from zoo.files import aside

    if is_compressed(model):
        raise ZooError("the model is compressed; copy the file that `zoo compress` wrote")

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = {"recipe": to_plain(recipe), "digest": digest({"recipe": to_plain(recipe), "weights": weights})}
    with aside(path) as temporary:
        save_tensors(temporary, weights, {HEADER: json.dumps(content)})  # one entry: several have a random order


def load_weights(path: str | Path) -> "tuple[Predictor, Recipe]":
    """Read what `save_weights` or `zoo compress` wrote: a model in single precision, in evaluation mode, on the CPU.

    The weights that ship are written in half precision; they too become 32-bit numbers.

    Raises:
        ZooError: no such file, not safetensors, no recipe in it, damaged, or weights of another model.
    """
    from safetensors import SafetensorError, safe_open

    from tensortrain import inputs, storage
    from tensortrain.digest import digest
    from zoo.building import build_model, fill
    from zoo.compressed import load_compressed

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
        raise ZooError(f"{path} is damaged: it does not hold what was written (by its digest); export it again")
    try:
        recipe = check_recipe(from_plain(header["recipe"], "its recipe"))
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    model = build_model(recipe, str(path), weights)
    fill(model, weights, str(path))  # into the model's own 32-bit parameters
    return model.eval(), recipe


def _read_header(text: str, path: str | Path) -> dict[str, Any]:
    """The recipe and the digest in a file's metadata.

    Raises:
        ZooError: they are damaged.
    """
    from pydantic import ConfigDict, TypeAdapter, create_model

    strict = ConfigDict(strict=True, extra="forbid")
    schema = create_model("Header", __config__=strict, recipe=(dict[str, Any], ...), digest=(str, ...))
    return dict(validate(TypeAdapter(schema), text, f"{path}: its metadata"))


def _default_weights(model: str) -> str:
    """The name of the weights that `pretrained=True` means.

    Raises:
        ZooError: none ship for this model.
    """
    known = pretrained_names(model)
    if not known:
        raise ZooError(f"no weights ship for {model}; {_models_with_weights()}")
    return next((name for name in PREFERRED if name in known), known[0])


def _models_with_weights() -> str:
    """What to write in an error about a model without weights."""
    sets = {name: pretrained_names(name) for name in model_names()}
    listed = "; ".join(f"{model}: {', '.join(names)}" for model, names in sets.items() if names)
    return f"it ships with none. There are {listed}"


def _shipped(model: str) -> list[Path]:
    return list(FOLDER.glob(f"{model}.*.safetensors"))
