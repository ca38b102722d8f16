"""What a run starts from: weights of another model, or an earlier run that is continued with other settings."""

import math
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError, nearest
from zoo.model_files.building import check_tensors
from zoo.model_files.pretrained import load_pretrained, load_weights
from zoo.predictors.predictor import Predictor
from zoo.registry import find_model
from zoo.settings import OwnData, Recipe
from zoo.training.checkpoint import load_checkpoint
from zoo.training.devices import make_precision, weights_dtype
from zoo.training.learning_rates import make_rate
from zoo.training.optimizers import moments_like
from zoo.training.run_folder import check_same, open_run, read_recipe
from zoo.training.scheduled_sampling import make_sampling

# settings of the data that change training clips, but not the validation clips
_OF_TRAINING_CLIPS = ("clips_per_epoch", "endless", "seed", "flip", "max_zoom", "max_speed")


def located(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths to what it starts from, so that the settings of a run say where that is."""
    origin = recipe.origin
    return replace(recipe, origin=replace(origin, weights=_absolute(origin.weights), run=_absolute(origin.run)))


def _absolute(reference: str) -> str:
    """An absolute path, if such a file or folder exists. Other references, to weights that ship, are unchanged."""
    return str(Path(reference).resolve()) if reference and Path(reference).exists() else reference


def read_weights(reference: str) -> tuple[dict[str, Tensor], Recipe | None]:
    """Read weights from a run (its best ones), a `.safetensors` or `.ckpt` file, or the package, by `MODEL:WEIGHTS`.

    Returns:
        The weights by name, and the recipe of their model. A `.ckpt` file has no recipe.

    Raises:
        ZooError: if the reference is none of these, or cannot be read.
    """
    path = Path(reference)
    if path.is_dir():
        run = open_run(path)
        return run.model.state_dict(), run.recipe
    if path.suffix == ".ckpt":
        weights: dict[str, Tensor] = load_checkpoint(path)["weights"]
        return weights, None
    if path.suffix != ".safetensors" and ":" not in reference:
        raise ZooError(f"{reference} holds no weights; name a run, a .safetensors or .ckpt file, or MODEL:WEIGHTS")
    file = path.suffix == ".safetensors"
    model, recipe = load_weights(path) if file else load_pretrained(*reference.split(":", 1))
    return model.state_dict(), recipe


def initialize(model: Predictor, reference: str) -> list[str]:
    """Copy the weights of another model wherever their names and shapes equal this model's. The others stay random.

    Returns:
        Lines of text that say which weights were copied and which were not, and in which options and normalisation the
        models differ.

    Raises:
        ZooError: if no weight can be copied, or in the cases of `read_weights`.
    """
    (weights, recipe), own = read_weights(reference), model.state_dict()
    fitting = {name: each for name, each in weights.items() if name in own and each.shape == own[name].shape}
    if not fitting:
        raise ZooError(f"{reference}: none of its {len(weights)} weights has a name and shape of this model")
    model.load_state_dict({**own, **fitting})
    lines = [f"{len(fitting)} of {len(own)} weights are copied from {reference}"]
    if model.recipe is not None and recipe is not None:
        lines += [*_other_options(model.recipe, recipe), *_other_normalization(model.recipe, recipe)]
    for name, each in own.items():
        if name in weights and name not in fitting:
            lines.append(
                f"{name} starts at random: its shape is {tuple(each.shape)} here, {tuple(weights[name].shape)} there"
            )
        elif name not in weights:
            lines.append(f"{name} starts at random: {reference} does not have it")
    lines += [f"{name} is ignored: this model does not have it" for name in weights if name not in own]
    return lines


def _other_options(here: Recipe, there: Recipe) -> list[str]:
    """A line for each option that both models have with different values.

    With equal weights, such models may make different predictions: a sigmoid changes all predictions and no weight.
    """
    entries = [(find_model(each.model), each.options) for each in (here, there)]
    mine, theirs = (
        {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        for options in (entry.predicting({**entry.options, **own}) for entry, own in entries)
    )
    return [
        f"options.{name} is {value!r} here, {theirs[name]!r} there: equal weights predict something else"
        for name, value in mine.items()
        if name in theirs and theirs[name] != value
    ]


def _other_normalization(here: Recipe, there: Recipe) -> list[str]:
    """A line for each of mean and std in which two models differ, so that equal weights predict something else."""
    lines = []
    for name, neutral in (("mean", 0.0), ("std", 1.0)):
        mine, theirs = (getattr(each.data, name) if isinstance(each.data, OwnData) else [] for each in (here, there))
        if (mine or [neutral] * len(theirs)) != (theirs or [neutral] * len(mine)):
            lines.append(f"data.{name} is {mine} here, {theirs} there: equal weights predict something else")
    return lines


def freeze(model: Predictor, patterns: list[str]) -> None:
    """Exclude from training the parameters whose names match a pattern, in which * stands for any text.

    Raises:
        ZooError: if a pattern matches no parameter, nothing is left to train, or the model has nothing to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matching = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matching:
            raise ZooError(f"origin.freeze: no parameter is called {pattern!r}; {nearest(pattern, parameters)}")
        for name in matching:
            parameters[name].requires_grad_(False)
    if any(parameter.requires_grad for parameter in parameters.values()):
        return
    if not patterns:
        raise ZooError(
            f"{type(model).__name__} has no parameters to train; give it some, such as those of a layer, or use it "
            "without training"
        )
    raise ZooError(f"origin.freeze = {patterns} leaves no parameter to train; freeze fewer")


def continued(recipe: Recipe, model: Predictor) -> tuple[dict[str, Any], list[str]]:
    """The checkpoint from which a run starts that continues another: the last one of the other run, adapted.

    Weights, optimiser, number of steps and rows of metrics are those of the other run, in the precision of this one. If
    a schedule has changed its kind, or the optimiser needs other moments, their state starts anew. The best validation
    loss of the run is reset, as its best weights are not in the new folder. Schedules forget it only if validations
    now measure another loss.

    Args:
        recipe: the settings of the new run.
        model: its model, which is not changed.

    Returns:
        The checkpoint, and lines of text that say in which normalisation the models of the two runs differ.

    Raises:
        ZooError: if there is no run, it is of another model, or it has taken all steps already.
    """
    folder = Path(recipe.origin.run)
    before, path = read_recipe(folder / "config.yaml"), folder / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    _check_predictions(checkpoint, recipe, path)
    check_tensors(checkpoint["weights"], model.state_dict(), f"{path}: weights of another model")
    if checkpoint["step"] >= recipe.training.steps:
        raise ZooError(
            f"{folder} has taken {checkpoint['step']} steps, and training.steps = {recipe.training.steps} includes "
            "them; increase training.steps"
        )
    epoch = max(1, -(-recipe.data.clips_per_epoch // recipe.training.batch_size))
    fresh = {
        "sampling": make_sampling(recipe.sampling, epoch).state_dict(),
        "learning_rate": make_rate(recipe.learning_rate, epoch, recipe.training.steps).state_dict(),
    }
    for part, state in fresh.items():
        if type(getattr(before, part)) is not type(getattr(recipe, part)):
            checkpoint[part] = state
        elif "best" in checkpoint[part] and _validated_on(before) != _validated_on(recipe):
            checkpoint[part]["best"] = math.inf  # no later loss can be compared with it
    checkpoint["progress"] |= {"best": math.inf, "stale": 0}
    return checkpoint | _converted(checkpoint, recipe, model), _other_normalization(recipe, before)


def _check_predictions(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Raise a ZooError if a checkpoint's model predicts something else than the recipe's from the same weights."""
    predicting = find_model(recipe.model).predicting
    options = predicting(checkpoint["options"])
    check_same(checkpoint | {"options": options}, replace(recipe, options=predicting(recipe.options)), path)


def _validated_on(recipe: Recipe) -> dict[str, Any]:
    """The settings on which the validation loss of given weights depends: the loss and the validation clips."""
    data = {name: value for name, value in vars(recipe.data).items() if name not in _OF_TRAINING_CLIPS}
    return data | recipe.training.loss_weights | {"validation_clips": recipe.training.validation_clips}


def _converted(checkpoint: dict[str, Any], recipe: Recipe, model: Predictor) -> dict[str, Any]:
    """The parts of a checkpoint that depend on the precision and the optimiser, as the recipe needs them.

    Moments that its optimiser does not have are dropped. So is the state of another precision.
    """
    precision = recipe.training.precision
    own = {name: weights_dtype(precision, weight.dtype) for name, weight in model.state_dict().items()}
    weights = {name: weight.to(own[name]) for name, weight in checkpoint["weights"].items()}
    optimizer = {}
    for name, _ in model.named_parameters():
        like, moments = moments_like(recipe.optimizer, weights[name]), checkpoint["optimizer"].get(name, {})
        if moments and {k: each.shape for k, each in moments.items()} == {k: each.shape for k, each in like.items()}:
            optimizer[name] = {k: each.to(like[k].dtype) for k, each in moments.items()}
    sums = torch.promote_types(next(weights[name] for name, _ in model.named_parameters()).dtype, torch.float32)
    meter = {name: each.to(sums) if isinstance(each, Tensor) else each for name, each in checkpoint["meter"].items()}
    state = make_precision(recipe.training).state_dict()
    if checkpoint["precision"].keys() == state.keys():
        state = checkpoint["precision"]
    return {"weights": weights, "optimizer": optimizer, "meter": meter, "precision": state}
