"""Find the trained models that commands evaluate, draw and export."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zoo
from zoo.errors import ZooError
from zoo.model_files.pretrained import FOLDER, load_pretrained, load_weights
from zoo.names import check_unique
from zoo.registry import find_model
from zoo.settings import Data, KTHData, MovingMNISTData, Recipe, Windows

if TYPE_CHECKING:
    from zoo.predictors.predictor import Predictor


class TrainedModel(NamedTuple):
    """A model with its weights, the recipe that it was trained by, and its name in tables and pictures."""

    name: str
    model: "Predictor"
    recipe: Recipe


_BEST = "best"  # the default checkpoint


def find_trained_model(reference: str, checkpoint: str = _BEST) -> TrainedModel:
    """Read the model that a word of the command line refers to.

    Args:
        reference: the folder of a run, a `.safetensors` file, or `MODEL:WEIGHTS` for weights that ship with the
            package.
        checkpoint: the checkpoint of a run; see `zoo.open_run`. Only the run's own checkpoints are legal.

    Raises:
        ZooError: if the reference is none of these or cannot be read, or the model has no such checkpoint.
    """
    path, file = Path(reference), Path(checkpoint)
    if path.is_dir():
        if file.suffix == ".ckpt" and not file.resolve().is_relative_to(path.resolve()):
            raise ZooError(
                f"--checkpoint {checkpoint} is not in the folder of the run {reference}; name a checkpoint of this run"
            )
        run = zoo.open_run(path, checkpoint)
        return TrainedModel(path.name, run.model, run.recipe)
    is_file, is_shipped = path.suffix.lower() == ".safetensors", ":" in reference
    if (is_file or is_shipped) and checkpoint != _BEST:
        raise ZooError(f"--checkpoint {checkpoint} is for a run, but {reference} has no checkpoints; leave it out")
    if is_file:
        return TrainedModel(path.stem, *load_weights(path))
    if is_shipped:
        name, _, weights = reference.partition(":")
        find_model(name)
        return TrainedModel(reference, *load_pretrained(name, weights))
    raise ZooError(
        f"{reference} is not a trained model; name a folder that `zoo train` has made, a .safetensors file of "
        "`zoo export`, or MODEL:WEIGHTS as `zoo models` lists them"
    )


def find_trained_models(references: Sequence[str], checkpoint: str) -> list[TrainedModel]:
    """Read several models, which must differ in name, because tables and pictures use the names.

    Args:
        references: words as in `find_trained_model`.
        checkpoint: the name of the checkpoint of every run; or a file, if there is only one model. Models that are not
            runs have none.

    Raises:
        ZooError: in the cases of `find_trained_model`, or if two models have the same name.
    """
    if Path(checkpoint).suffix == ".ckpt" and len(references) > 1:
        raise ZooError(
            f"--checkpoint {checkpoint} is a file of one run, but {len(references)} models are named; pass best, last "
            "or step-N, which each run has of its own"
        )
    runs = {reference for reference in references if Path(reference).is_dir()}
    models = [find_trained_model(each, checkpoint if each in runs or not runs else _BEST) for each in references]
    check_unique("models", [trained.name for trained in models])
    return models


def files_of(references: Sequence[str], checkpoint: str = "best") -> list[Path]:
    """The files that references to trained models use. No command may overwrite them.

    Args:
        references: words as in `find_trained_model`.
        checkpoint: the checkpoint of a run; see `find_trained_model`.
    """
    files = [Path(checkpoint)]
    for reference in references:
        path = Path(reference)
        weights = [FOLDER / f"{reference.replace(':', '.')}.safetensors"] * (":" in reference)
        run = [path / name for name in ("config.yaml", "versions.json", "metrics.csv")]
        files += [path, *weights, *run, *path.glob("checkpoints/*.ckpt")]
    return files


# settings of the training clips alone, the model's normalisation, and the digest of the clips at the time of training
_NOT_OF_TEST_CLIPS = (
    "length",
    "clips_per_epoch",
    "endless",
    "seed",
    "flip",
    "max_zoom",
    "max_speed",
    "validation_persons",
    "mean",
    "std",
    "store",
)


def shared_data(models: Sequence[TrainedModel], windows: Windows | None, root: str | None) -> Data:
    """The data settings of models that are to read the same test clips.

    Args:
        models: the models.
        windows: the rule by which KTH's test clips are cut; None for that of the training.
        root: the data root; see `zoo.data.data_root`.

    Raises:
        ZooError: if the models were trained on different kinds of clips.
    """
    first, *others = models
    ours = _test_settings(first.recipe.data, windows, root)
    for other in others:
        theirs = _test_settings(other.recipe.data, windows, root)
        for setting, value in ours.items():
            if theirs.get(setting) != value:
                raise ZooError(
                    f"{other.name} was trained with data.{setting} = {theirs.get(setting)!r}, but {first.name} with "
                    f"{value!r}; run the command for each separately"
                )
    return first.recipe.data


def _test_settings(data: Data, windows: Windows | None, root: str | None) -> dict[str, Any]:
    """The settings on which the test clips depend."""
    from zoo.data import pin_data

    if isinstance(data, MovingMNISTData):
        data = pin_data(data, root)  # "auto" stands for one of the other sources
    elif isinstance(data, KTHData) and windows is not None:
        data = replace(data, windows=windows)
    return {name: value for name, value in vars(data).items() if name not in _NOT_OF_TEST_CLIPS}
