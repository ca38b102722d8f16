"""Find the trained models that commands evaluate, draw and export."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zoo
from zoo.errors import ZooError
from zoo.model_files.pretrained import FOLDER, load_pretrained, load_weights
from zoo.registry import find_model
from zoo.settings import Data, Recipe

if TYPE_CHECKING:
    from zoo.predictors.predictor import Predictor


class TrainedModel(NamedTuple):
    """A model with its weights, the recipe that it was trained by, and its name in tables and pictures."""

    name: str
    model: "Predictor"
    recipe: Recipe


def find_trained_model(reference: str, checkpoint: str = "best") -> TrainedModel:
    """Read the model that a word of the command line refers to.

    Args:
        reference: the folder of a run, a `.safetensors` file, or `MODEL:WEIGHTS` for weights that ship with the
            package.
        checkpoint: the checkpoint of a run; see `zoo.open_run`.

    Raises:
        ZooError: if it is none of these, or cannot be read.
    """
    path = Path(reference)
    if path.is_dir():
        run = zoo.open_run(path, checkpoint)
        return TrainedModel(path.name, run.model, run.recipe)
    if path.suffix == ".safetensors":
        return TrainedModel(path.stem, *load_weights(path))
    if ":" in reference:
        name, _, weights = reference.partition(":")
        find_model(name)
        return TrainedModel(reference, *load_pretrained(name, weights))
    raise ZooError(
        f"{reference} is not a trained model; name a folder that `zoo train` has made, a .safetensors file of "
        "`zoo export`, or MODEL:WEIGHTS as `zoo models` lists them"
    )


def find_trained_models(references: Sequence[str], checkpoint: str) -> list[TrainedModel]:
    """Read several models, which must differ in name, because tables and pictures use the names.

    Raises:
        ZooError: in the cases of `find_trained_model`, or if two models have the same name.
    """
    models = [find_trained_model(reference, checkpoint) for reference in references]
    names = [trained.name for trained in models]
    for name in names:
        if names.count(name) > 1:
            raise ZooError(f"two models are called {name!r}; name each only once, or rename a folder")
    return models


def files_of(references: Sequence[str], checkpoint: str = "best") -> list[Path]:
    """The files that such references use, which no command may replace.

    Args:
        references: words as in `find_trained_model`.
        checkpoint: the checkpoint of a run; see `find_trained_model`.
    """
    files = [Path(checkpoint)]
    for reference in references:
        path = Path(reference)
        weights = FOLDER / f"{reference.replace(':', '.')}.safetensors"
        run = [path / name for name in ("config.yaml", "versions.json", "metrics.csv")]
        files += [path, weights, *run, *path.glob("checkpoints/*.ckpt")]
    return files


def shared_data(models: Sequence[TrainedModel]) -> Data:
    """The data settings of models that shall read the same clips.

    Raises:
        ZooError: if the models were trained on different kinds of clips.
    """
    first = models[0]
    for other in models[1:]:
        for setting in ("name", "size", "channels", "observed", "digits"):  # digits is for Moving-MNIST only
            theirs, ours = (getattr(trained.recipe.data, setting, None) for trained in (other, first))
            if theirs != ours:
                raise ZooError(
                    f"{other.name} was trained with data.{setting} = {theirs!r}, but {first.name} with {ours!r}; "
                    "run the command for each separately"
                )
    return first.recipe.data
