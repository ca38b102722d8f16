"""The folder of a run: what was asked for, with what it ran, its metrics and its checkpoints."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
import yaml

from zoo.errors import ZooError
from zoo.files import aside
from zoo.pretrained import create_model
from zoo.settings import Recipe, from_plain, to_plain
from zoo.training.checkpoint import load_checkpoint
from zoo.video_model import VideoModel

# settings that a run may change when it goes on: they say where and how long, not what is computed
FREE = ("max_time", "accelerator", "devices", "nodes", "num_workers")


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
        checkpoint: "best", "last", "step-N", or the path of a `.ckpt` file of this run.

    Raises:
        ZooError: no run there, no such checkpoint, one of another model, or a damaged file.
    """
    folder, path = Path(folder), Path(checkpoint)
    recipe = read_recipe(folder / "config.yaml")
    if path.suffix != ".ckpt":
        path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    found = load_checkpoint(path)
    check_same(found, recipe, path)
    model = build_model(recipe)
    try:
        model.load_state_dict(found["weights"])
    except RuntimeError as error:
        raise ZooError(f"{path} holds the weights of another model: {' '.join(str(error).split())}") from error
    return Run(folder, recipe, model.eval(), found["step"])


def build_model(recipe: Recipe) -> VideoModel:
    """The recipe's model, its weights drawn from the recipe's seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.training.seed)
        return create_model(recipe.model, **recipe.options)


def check_same(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raise a ZooError if a checkpoint is not of the recipe's model."""
    found, asked = ({"model": c["model"], "options": c["options"]} for c in (checkpoint, to_plain(recipe)))
    if difference := first_difference(found, asked):
        raise ZooError(f"{path} is of another model: {difference}; take a checkpoint of this run")


def check_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Raise a ZooError unless `folder` is free, or holds a run of this recipe that may be resumed."""
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise ZooError(f"{folder} holds a run already; resume it, or choose another folder")
        if difference := first_difference(_lasting(read_recipe(config)), _lasting(recipe)):
            raise ZooError(f"{folder} holds another run: {difference}; ask for the same, or choose another folder")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ZooError(f"{folder} is no run and not an empty folder; choose another")


def begin_session(recipe: Recipe, folder: Path, step: int, data: list[str], trainer: pl.Trainer) -> None:
    """Write `config.yaml`, and add this session to `versions.json`: with what, where and on which data it goes on.

    Raises:
        ZooError: the folder cannot be written.
    """
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    for left in folder.rglob(".*.tmp"):  # by a kill
        left.unlink()
    device = trainer.strategy.root_device
    versions = folder / "versions.json"
    sessions = json.loads(versions.read_text()) if versions.exists() else []
    sessions.append(
        {
            "step": step,
            "python": platform.python_version(),
            **{name: version(name) for name in ("tensortrain", "torch", "lightning", "numpy")},
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "data": data,
        }
    )
    with aside(versions) as file:
        file.write_text(json.dumps(sessions, indent=2, ensure_ascii=False) + "\n")
    with aside(folder / "config.yaml") as file:
        file.write_text(yaml.safe_dump(to_plain(recipe), sort_keys=False))


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
        raise ZooError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return from_plain(found, str(path))


def first_difference(found: Any, asked: Any, where: str = "") -> str:
    """`where`, what is found and what is asked for; empty if they are equal."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for name in [*found, *(name for name in asked if name not in found)]:
            if text := first_difference(found.get(name), asked.get(name), f"{where}.{name}" if where else name):
                return text
        return ""
    return "" if found == asked else f"{where} is {found!r} there, {asked!r} here"


def _lasting(recipe: Recipe) -> dict[str, Any]:
    """The settings that may not change on the way."""
    found = to_plain(recipe)
    for name in FREE:
        del found["training"][name]
    return found
