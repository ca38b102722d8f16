"""The folder of a run: its settings, its software and machine, its metrics and its checkpoints."""

import inspect
import json
import platform
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from tensortrain.files import TEMPORARY
from tensortrain.notebooks import facts
from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.files import aside, path_of
from zoo.model_files.building import build_model, fill
from zoo.predictors.predictor import Predictor
from zoo.reading import MOST_BYTES, load_yaml, read_text
from zoo.registry import find_model
from zoo.schema import shortened, validate
from zoo.settings import Recipe, from_plain, to_plain
from zoo.training.checkpoint import load_checkpoint
from zoo.training.environment import Environment, changes
from zoo.training.run_lock import LOCK, locked

MOST_LOG = 1 << 24  # largest size of versions.json in bytes
# settings that may change when a run is resumed: they change results by rounding errors at most
FREE = ("max_time", "graph", "accelerator", "devices", "nodes", "num_workers")


class Run(NamedTuple):
    """A run that was read from its folder. The model is in evaluation mode, on the CPU, with the weights of `step`."""

    folder: Path
    recipe: Recipe
    model: Predictor
    step: int

    def __repr__(self) -> str:
        training = self.recipe.training
        return (
            f"Run({str(self.folder)!r}: {self.recipe.model}, {self._parameters():,} parameters, weights of step "
            f"{self.step:,} of {training.steps:,}, {self.recipe.data.name})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the model, its data and its settings."""
        training, data = self.recipe.training, self.recipe.data
        rows = {
            "model": self.recipe.model,
            "parameters": f"{self._parameters():,}",
            "weights of step": f"{self.step:,} of {training.steps:,}, batches of {training.batch_size}",
            "data": f"{data.name}, {data.observed} observed of {data.length} steps",
        }
        return facts(
            f"Run in {self.folder}", rows, {"settings": yaml.safe_dump(to_plain(self.recipe), sort_keys=False)}
        )

    def _parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def open_run(folder: Path | str, checkpoint: str | Path = "best") -> Run:
    """Read a run from its folder, with the model of one of its checkpoints.

    Args:
        folder: the folder of the run.
        checkpoint: "best", "last", "step-N", or the path of a `.ckpt` file of this run. A run that has not been
            validated yet has no best checkpoint; its last one is read instead.

    Returns:
        The run: its folder, recipe, model (in evaluation mode, on the CPU) and the step of the model's weights.

    Raises:
        ZooError: if there is no such run or checkpoint, the checkpoint is of another model, or a file is damaged.

    >>> run = open_run("runs/mine")  # doctest: +SKIP
    >>> run.model(clips[:, :10], horizon=10)  # doctest: +SKIP
    """
    folder, path = path_of("folder", folder), path_of("checkpoint", checkpoint)
    recipe = read_recipe(folder / "config.yaml")
    if path.suffix != ".ckpt":
        path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    last = folder / "checkpoints" / "last.ckpt"
    if checkpoint == "best" and not path.exists() and last.exists():
        path = last
    state = load_checkpoint(path)
    check_same(state, recipe, path)
    model = build_model(recipe, str(path), state["weights"])
    fill(model, state["weights"], str(path))
    return Run(folder, recipe, model.eval(), state["step"])


def check_same(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raise a ZooError if a checkpoint belongs to another model than the recipe's."""
    theirs, ours = (
        {"model": c["model"], "options": complete_options(recipe.model, c["options"])}
        for c in (checkpoint, to_plain(recipe))
    )
    if difference := first_difference(theirs, ours):
        raise ZooError(f"{path} belongs to another model: {difference}; use a checkpoint of this run")


def check_data(checkpoint: dict[str, Any], data: Mapping[str, str], folder: Path) -> None:
    """Raise a ZooError if the run in `folder` was trained on clips with other digests."""
    for split, digest in data.items():
        if (before := checkpoint["data"][split]) != digest:
            raise ZooError(
                f"the {split} clips differ from those that {folder} was trained on (digest {digest[:12]}… instead of "
                f"{before[:12]}…); restore the data or name their data root, or choose another folder for a new run"
            )


def describe_session(checkpoint: dict[str, Any] | None, environment: Environment, data: list[str]) -> dict[str, Any]:
    """The entry of a session in `versions.json`. Warns if it cannot compute the same bits as the sessions before.

    Args:
        checkpoint: the checkpoint that the session resumes from; None for a new run.
        environment: versions, machine and processes of the session.
        data: descriptions of the clips.
    """
    session: dict[str, Any] = {"step": checkpoint["step"] if checkpoint else 0, **environment}
    if checkpoint and (difference := changes(checkpoint["environment"], environment)):
        session["note"] = f"not bit-identical from step {session['step']}: {difference}"
        warnings.warn(f"{session['note']}; training continues", stacklevel=3)
    return session | {"platform": platform.platform(), "data": data}


@contextmanager
def claimed(recipe: Recipe, folder: Path, resume: bool) -> Iterator[None]:
    """Context manager: check the folder by `check_folder`, and reserve it for this training.

    Raises:
        ZooError: in the cases of `check_folder`, or if another process trains there.
    """
    check_folder(recipe, folder, resume)  # before anything is written to it
    with locked(folder):
        check_folder(recipe, folder, resume)  # again, as another process may have started a run in between
        yield


def check_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Raise a ZooError unless `folder` is new or empty, or holds a run of this recipe that may be resumed."""
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise ZooError(f"{folder} holds a run already; resume it, or choose another folder")
        there, here = _lasting(read_recipe(config)), _lasting(recipe)
        clips_there, clips_here = (plain["data"].pop("store", "") for plain in (there, here))
        if difference := first_difference(there, here):
            raise ZooError(
                f"{folder} holds another run: {difference}; use the same settings, or choose another folder. "
                f"`zoo train --continue {shlex.quote(str(folder))}` starts a new run from this one, with other settings"
            )
        if clips_there != clips_here:
            raise ZooError(
                f"the clips of {recipe.data.name} have changed since the run in {folder} started; restore them, or "
                "choose a new folder"
            )
    elif folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - {folder / LOCK, *folder.glob(TEMPORARY)}):
        raise ZooError(f"{folder} is neither a run nor an empty folder; choose another folder")


def begin_session(recipe: Recipe, folder: Path, session: Mapping[str, Any]) -> None:
    """Write `config.yaml`, and add this session to `versions.json`: its software, its machine and its data.

    `config.yaml` is written first, because its existence makes the folder a run. Before that, `check_folder` treats
    what a kill has left as an empty folder. So a run can be started again at whatever point it was killed.

    Args:
        recipe: all settings of the run.
        folder: the folder, locked by this process, so that no other process is writing files there.
        session: the description of the session.

    Raises:
        ZooError: if the folder cannot be written, or its `versions.json` is damaged.
    """
    try:
        with aside(folder / "config.yaml") as file:
            file.write_text(yaml.safe_dump(to_plain(recipe), sort_keys=False))
        (folder / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise ZooError(f"{folder} cannot be created ({error.strerror}); choose another folder") from error
    versions = folder / "versions.json"
    sessions = [*read_sessions(versions), session]
    with aside(versions) as file:
        file.write_text(json.dumps(sessions, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """Read the sessions in a `versions.json`; empty if there is no such file.

    Raises:
        ZooError: if the file is damaged.
    """
    if not path.exists():
        return []
    text = read_text(path, MOST_LOG)
    schema = TypeAdapter(list[dict[str, str | int | list[str]]])
    sessions: list[dict[str, Any]] = validate(schema, text, f"{path}, a log that may be removed")
    return sessions


def read_recipe(path: Path) -> Recipe:
    """Read a `config.yaml`.

    Raises:
        ZooError: if the file does not exist or is not YAML, or a setting is unknown, missing or of the wrong type.
    """
    if not path.exists():
        raise ZooError(f"{path.parent} is not a run (it has no {path.name}); name a folder that `zoo train` has made")
    try:
        plain = load_yaml(read_text(path, MOST_BYTES))
    except yaml.YAMLError as error:
        raise ZooError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    recipe = from_plain(plain, str(path))
    try:
        return check_recipe(recipe)
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error


def first_difference(there: Any, here: Any, where: str = "") -> str:
    """Describe the first setting in which two plain recipes, or parts of them, differ; empty if none does."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*there, *(name for name in here if name not in there)]:
            if text := first_difference(there.get(name), here.get(name), f"{where}.{name}" if where else name):
                return text
        return ""
    return "" if there == here else f"{where} is {shortened(there)} there, {shortened(here)} here"


def complete(recipe: Recipe) -> Recipe:
    """A recipe with all options of its model, to compare it with others; see `complete_options`."""
    return replace(recipe, options=complete_options(recipe.model, recipe.options))


def complete_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The given options, and the defaults of the others. The command line writes them all, and a program need not.

    They are plain values, with lists in place of tuples. A default that no file can hold is written as text.

    >>> complete_options("conv-lstm", {"kernel": 3})["kernel"], complete_options("conv-lstm", {})["kernel"]
    (3, 5)
    """
    defaults = {name: each for name, each in find_model(model).options.items() if each is not inspect.Parameter.empty}
    plain: dict[str, Any] = json.loads(json.dumps({**defaults, **options}, default=repr))
    return plain


def _lasting(recipe: Recipe) -> dict[str, Any]:
    """The settings that must be the same when a run is resumed."""
    plain = to_plain(complete(recipe))
    for name in FREE:
        del plain["training"][name]
    return plain
