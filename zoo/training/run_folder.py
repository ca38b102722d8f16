"""The folder of a run: its settings, what it ran with, its metrics and its checkpoints."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from lightning.fabric import Fabric

from tensortrain.files import TEMPORARY
from zoo.errors import ZooError
from zoo.files import aside
from zoo.pretrained import create_model
from zoo.settings import Recipe, from_plain, to_plain
from zoo.training.checkpoint import load_checkpoint
from zoo.video_model import VideoModel

# settings that may change when a run is resumed: they say where and how long it computes, but not what
FREE = ("max_time", "accelerator", "devices", "nodes", "num_workers")


class Run(NamedTuple):
    """A run read from its folder: its model in evaluation mode on the CPU, with the weights after `step` steps."""

    folder: Path
    recipe: Recipe
    model: VideoModel
    step: int


def open_run(folder: Path | str, checkpoint: str | Path = "best") -> Run:
    """Read the model of a run.

    Args:
        folder: of the run.
        checkpoint: "best", "last", "step-N", or the path of a `.ckpt` file of this run.

    Raises:
        ZooError: no run there, no such checkpoint, one of another model, or a damaged file.
    """
    folder, path = Path(folder), Path(checkpoint)
    recipe = read_recipe(folder / "config.yaml")
    if path.suffix != ".ckpt":
        path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    state = load_checkpoint(path)
    check_same(state, recipe, path)
    model = build_model(recipe)
    try:
        model.load_state_dict(state["weights"])
    except RuntimeError as error:
        raise ZooError(f"{path} holds the weights of another model: {' '.join(str(error).split())}") from error
    return Run(folder, recipe, model.eval(), state["step"])


def build_model(recipe: Recipe) -> VideoModel:
    """The recipe's model, its weights drawn from the recipe's seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.training.seed)
        return create_model(recipe.model, **recipe.options)


def check_same(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raise a ZooError unless a checkpoint is of the recipe's model."""
    theirs, ours = ({"model": c["model"], "options": c["options"]} for c in (checkpoint, to_plain(recipe)))
    if difference := first_difference(theirs, ours):
        raise ZooError(f"{path} is of another model: {difference}; take a checkpoint of this run")


def check_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Raise a ZooError unless `folder` is free, or holds a run of this recipe that may be resumed."""
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise ZooError(f"{folder} holds a run already; resume it, or choose another folder")
        if difference := first_difference(_lasting(read_recipe(config)), _lasting(recipe)):
            raise ZooError(f"{folder} holds another run: {difference}; ask for the same, or choose another folder")
    elif folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - set(folder.glob(TEMPORARY))):
        raise ZooError(f"{folder} is no run and not an empty folder; choose another")


def begin_session(recipe: Recipe, folder: Path, step: int, data: list[str], fabric: Fabric) -> None:
    """Write `config.yaml`, then add this session to `versions.json`: its software, its machine and its data.

    The configuration comes first: once it is there the folder is a run, and before that `check_folder` takes what a
    kill has left for an empty folder. So a run can be started again wherever it was killed.

    Raises:
        ZooError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside(folder / "config.yaml") as file:
            file.write_text(yaml.safe_dump(to_plain(recipe), sort_keys=False))
        (folder / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise ZooError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    device = fabric.device
    versions = folder / "versions.json"
    sessions = json.loads(versions.read_text("utf-8")) if versions.exists() else []
    sessions.append(
        {
            "step": step,
            "python": platform.python_version(),
            **{name: version(name) for name in ("tensortrain", "torch", "lightning", "numpy")},
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": fabric.world_size,
            "threads": torch.get_num_threads(),
            "data": data,
        }
    )
    with aside(versions) as file:
        file.write_text(json.dumps(sessions, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_recipe(path: Path) -> Recipe:
    """Read a `config.yaml`.

    Raises:
        ZooError: no such file, not YAML, an unknown or missing setting, or a value of the wrong type.
    """
    try:
        plain = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ZooError(f"{path.parent} holds no run (no {path.name}); give a folder that `zoo train` made") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ZooError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return from_plain(plain, str(path))


def first_difference(there: Any, here: Any, where: str = "") -> str:
    """The first setting in which two plain recipes, or parts of them, differ, with both values; empty if none does."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*there, *(name for name in here if name not in there)]:
            if text := first_difference(there.get(name), here.get(name), f"{where}.{name}" if where else name):
                return text
        return ""
    return "" if there == here else f"{where} is {there!r} there, {here!r} here"


def _lasting(recipe: Recipe) -> dict[str, Any]:
    """The settings that must stay the same when a run is resumed."""
    plain = to_plain(recipe)
    for name in FREE:
        del plain["training"][name]
    return plain
