"""What several commands share: the trained models they are about, and how tables are printed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zoo
from zoo.errors import ZooError
from zoo.registry import find_model
from zoo.settings import Recipe
from zoo.video_model import VideoModel

ROOT_HELP = "Folder with data and weights of metrics; else $ZOO_DATA, else ~/.cache/zoo."


class Subject(NamedTuple):
    """A trained model to look at."""

    name: str
    model: VideoModel
    recipe: Recipe
    folder: Path | None


def find_subject(reference: str, checkpoint: str = "best") -> Subject:
    """The model of a run's folder, of a safetensors file, or `MODEL:WEIGHTS` of the weights that ship.

    Raises:
        ZooError: none of these.
    """
    from zoo.pretrained import load_pretrained, load_weights

    path = Path(reference)
    if path.is_dir():
        run = zoo.open_run(path, checkpoint)
        return Subject(path.name, run.model, run.recipe, path)
    if path.suffix == ".safetensors":
        model, made = load_weights(path)
        return Subject(path.stem, model, made, None)
    if ":" in reference:
        name, _, weights = reference.partition(":")
        find_model(name)
        model, made = load_pretrained(name, weights)
        return Subject(reference, model, made, None)
    raise ZooError(
        f"{reference} is no folder of a run; give one that `zoo train` made, a .safetensors file that `zoo export` "
        "wrote, or MODEL:WEIGHTS as `zoo models` lists them"
    )


def find_subjects(references: Sequence[str], checkpoint: str) -> list[Subject]:
    """Several models, which tables and pictures tell apart by name.

    Raises:
        ZooError: one cannot be found, or two have one name.
    """
    found = [find_subject(reference, checkpoint) for reference in references]
    names = [subject.name for subject in found]
    for name in names:
        if names.count(name) > 1:
            raise ZooError(f"two models are called {name!r}; give each once, or rename a folder")
    return found


def show(table: Any) -> None:
    """Print a table; a pipe or a file gets it unbroken."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 320).print(table)
