"""Weights as one safetensors file with the recipe they were trained by, and those that ship with the package."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from zoo.errors import ZooError, nearest
from zoo.files import aside
from zoo.registry import create_model
from zoo.settings import Recipe, from_plain, to_plain
from zoo.video_model import VideoModel

FOLDER = Path(__file__).parent / "weights"


def pretrained_names(model: str) -> list[str]:
    """The sets of weights that ship for a model, such as "moving-mnist-small"."""
    return sorted(path.name.removeprefix(f"{model}.").removesuffix(".safetensors") for path in _shipped(model))


def load_pretrained(model: str, name: str) -> tuple[VideoModel, Recipe]:
    """A model with weights that ship with the package, in evaluation mode, and their recipe.

    Raises:
        ZooError: no such weights.
    """
    path = FOLDER / f"{model}.{name}.safetensors"
    if path not in _shipped(model):
        known = pretrained_names(model)
        hint = nearest(name, known) if known else "this model ships with none"
        raise ZooError(f"no weights {name!r} for {model}; {hint}")
    return load_weights(path)


def save_weights(path: str | Path, model: VideoModel, recipe: Recipe) -> None:
    """Write a model's weights and recipe.

    Raises:
        ZooError: the file cannot be written.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with aside(path) as temporary:
        save_file(weights, temporary, metadata={"recipe": json.dumps(to_plain(recipe))})


def load_weights(path: str | Path) -> tuple[VideoModel, Recipe]:
    """Read what `save_weights` wrote; the model is in evaluation mode on the CPU.

    Raises:
        ZooError: no such file, not safetensors, no recipe in it, or weights of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise ZooError(f"{path} cannot be read ({error}); give a safetensors file that `zoo export` wrote") from None
    if "recipe" not in metadata:
        raise ZooError(f"{path} holds no recipe; give a file that `zoo export` wrote")
    recipe = from_plain(json.loads(metadata["recipe"]), str(path))
    model = create_model(recipe.model, **recipe.options)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ZooError(f"{path} holds the weights of another model: {' '.join(str(error).split())}") from None
    return model.eval(), recipe


def _shipped(model: str) -> list[Path]:
    return list(FOLDER.glob(f"{model}.*.safetensors"))
