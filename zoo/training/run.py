"""The folder of a run: what was asked for, with what it ran, its metrics and its checkpoints."""

import dataclasses
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import lightning.pytorch as pl
import torch
import yaml

from zoo.errors import ZooError
from zoo.recipe import Recipe
from zoo.registry import find_model, nearest
from zoo.rollout import VideoModel
from zoo.training.checkpoint import load_checkpoint

# settings that a run may change when it goes on: they say where and how long, not what is computed
FREE = ("max_time", "accelerator", "devices", "nodes", "workers")


class Run(NamedTuple):
    """A run read back: its model in evaluation mode on the CPU, with the weights of `step`."""

    folder: Path
    recipe: Recipe
    model: VideoModel
    step: int


def open_run(folder: Path | str, checkpoint: str | Path = "best") -> Run:
    """Read the model of a run.

    Args:
        folder: what `fit` was given.
        checkpoint: "best", "last", "step-N", or the path of a checkpoint of this run.

    Raises:
        ZooError: no run there, no such checkpoint, one of another model, or a damaged file.
    """
    folder = Path(folder)
    recipe = read_recipe(folder / "config.yaml")
    named = folder / "checkpoints" / f"{checkpoint}.ckpt"
    path = named if named.exists() else Path(checkpoint)
    found = load_checkpoint(path if path.suffix else named)
    check_same(found, recipe, path)
    model = build_model(recipe)
    load_weights(model, found["weights"], path)
    return Run(folder, recipe, model.eval(), found["step"])


def build_model(recipe: Recipe) -> VideoModel:
    """The recipe's model, its weights drawn from the recipe's seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.training.seed)
        return create(recipe.model, recipe.options)


def create(name: str, options: dict[str, Any]) -> VideoModel:
    """A registered model.

    Raises:
        ZooError: no such model, an option it does not have, or a value it does not take.
    """
    make = find_model(name).make
    try:
        return make(**options)
    except TypeError as error:
        raise ZooError(f"{name} does not take the options {options}: {error}") from error


def load_weights(model: VideoModel, weights: dict[str, Any], path: Path) -> None:
    """Load weights into a model.

    Raises:
        ZooError: they are those of another model.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"{path} holds the weights of another model: {reason}") from error


def check_same(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raise a ZooError if a checkpoint is not of the recipe's model."""
    asked = plain({"model": recipe.model, "options": recipe.options})
    found = plain({"model": checkpoint["model"], "options": checkpoint["options"]})
    if difference := first_difference(found, asked):
        raise ZooError(f"{path} is of another model: {difference}; take a checkpoint of this run")


def prepare_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    """See that `folder` is free, or holds a run of this recipe.

    Raises:
        ZooError: the folder holds another run, or any run if `resume` is false, or cannot be written.
    """
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise ZooError(f"{folder} holds a run already; resume it, or choose another folder")
        asked, found = comparable(recipe), comparable(read_recipe(config))
        if difference := first_difference(found, asked):
            raise ZooError(f"{folder} holds another run: {difference}; ask for the same, or choose another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise ZooError(f"{folder} is not empty and holds no run; choose another folder")


def write_config(recipe: Recipe, folder: Path) -> None:
    """Write `config.yaml`, and the folder if there is none."""
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", yaml.safe_dump(plain(dataclasses.asdict(recipe)), sort_keys=False))
    except OSError as error:
        raise ZooError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error


def write_versions(folder: Path, step: int, data: list[str], trainer: pl.Trainer) -> None:
    """Add this session to `versions.json`: with what, where and on which data the run went on from `step`."""
    device = trainer.strategy.root_device
    path = folder / "versions.json"
    sessions = json.loads(path.read_text()) if path.exists() else []
    packages = ("tensortrain", "torch", "lightning", "numpy")
    sessions.append(
        {
            "step": step,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "data": data,
        }
    )
    write_text(path, json.dumps(sessions, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text)
    os.replace(aside, path)


def read_recipe(path: Path) -> Recipe:
    """Read a `config.yaml`.

    Raises:
        ZooError: no such file, not YAML, an unknown or missing setting, or a value of the wrong type.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ZooError(f"{path.parent} holds no run (no {path.name}); give a folder that `zoo train` made") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"{path} cannot be read: {reason}") from error
    recipe: Recipe = _parse(Recipe, found, str(path))
    return recipe


def _parse(kind: Any, value: Any, where: str) -> Any:
    """`value`, as read from YAML, as a `kind`: a settings class, or the type of one of its fields."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ZooError(f"{where}: settings are needed, found {value!r}")
        hints = get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ZooError(f"{where}: no setting {name!r}; {nearest(str(name), hints)}")
        for field in dataclasses.fields(kind):
            needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if needed and field.name not in value:
                raise ZooError(f"{where}: the setting {field.name!r} is missing")
        assert isinstance(kind, type)
        return kind(**{name: _parse(hints[name], given, f"{where}: {name}") for name, given in value.items()})
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ZooError(f"{where} = {value!r} must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    plain_kind = get_origin(kind) or kind
    if plain_kind is float and type(value) is int:
        return float(value)
    if type(value) is not plain_kind:
        raise ZooError(f"{where} = {value!r} must be {plain_kind.__name__}")
    return value


def comparable(recipe: Recipe) -> Any:
    """The recipe without the settings that may change on the way."""
    found = plain(dataclasses.asdict(recipe))
    return {**found, "training": {name: value for name, value in found["training"].items() if name not in FREE}}


def plain(value: Any) -> Any:
    """As it would come back from a file: tuples are lists."""
    return json.loads(json.dumps(value))


def first_difference(found: Any, asked: Any, where: str = "") -> str:
    """`where`, what is found and what is asked for; empty if they are equal."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for name in [*found, *(name for name in asked if name not in found)]:
            if text := first_difference(found.get(name), asked.get(name), f"{where}.{name}" if where else name):
                return text
        return ""
    return "" if found == asked else f"{where} is {found!r} there, {asked!r} here"
