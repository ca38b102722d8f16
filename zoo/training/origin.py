"""What a run starts from: weights of another model, or an earlier run that is continued with other settings."""

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.errors import ZooError, nearest
from zoo.model_files.pretrained import load_pretrained, load_weights
from zoo.predictors.predictor import Predictor
from zoo.registry import find_model
from zoo.settings import Recipe
from zoo.training.checkpoint import load_checkpoint
from zoo.training.learning_rates import make_rate
from zoo.training.run_folder import check_same, open_run, read_recipe
from zoo.training.scheduled_sampling import make_sampling


def read_weights(reference: str) -> tuple[dict[str, Tensor], Recipe | None]:
    """Read weights from a run (its best ones), a `.safetensors` or `.ckpt` file, or the package, by `MODEL:WEIGHTS`.

    Returns:
        The weights by name, and the recipe of their model. A `.ckpt` file has no recipe.

    Raises:
        ZooError: if it is none of these, or cannot be read.
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
        Lines of text that say which weights were copied and which were not, and which options of the models differ.

    Raises:
        ZooError: if no weight can be copied, or there are none.
    """
    (weights, recipe), own = read_weights(reference), model.state_dict()
    fitting = {name: each for name, each in weights.items() if name in own and each.shape == own[name].shape}
    if not fitting:
        raise ZooError(f"{reference}: none of its {len(weights)} weights has a name and shape of this model")
    model.load_state_dict({**own, **fitting})
    lines = [f"{len(fitting)} of {len(own)} weights are copied from {reference}", *_other_options(model.recipe, recipe)]
    for name, each in own.items():
        if name in weights and name not in fitting:
            lines.append(
                f"{name} starts at random: its shape is {tuple(each.shape)} here, {tuple(weights[name].shape)} there"
            )
        elif name not in weights:
            lines.append(f"{name} starts at random: it is not there")
    lines += [f"{name} is ignored: this model does not have it" for name in weights if name not in own]
    return lines


def _other_options(here: Recipe | None, there: Recipe | None) -> list[str]:
    """A line for each option that both models have with different values, by which equal weights may predict otherwise.

    A sigmoid, for example, changes all predictions and no weight.
    """
    if here is None or there is None:
        return []
    mine, theirs = (
        {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        for options in ({**find_model(each.model).options, **each.options} for each in (here, there))
    )
    return [
        f"options.{name} is {value!r} here, {theirs[name]!r} there: equal weights predict something else"
        for name, value in mine.items()
        if name in theirs and theirs[name] != value
    ]


def freeze(model: Predictor, patterns: list[str]) -> None:
    """Exclude parameters from training whose names match a pattern, in which * stands for any text.

    Raises:
        ZooError: if a pattern matches no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matching = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matching:
            raise ZooError(f"origin.freeze: no parameter is called {pattern!r}; {nearest(pattern, parameters)}")
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ZooError(f"origin.freeze = {patterns} leaves no parameter to train; freeze fewer")


def continued(recipe: Recipe) -> dict[str, Any]:
    """The checkpoint from which a run starts that continues another: the last one of the other run, adapted.

    Weights, optimiser, number of steps and rows of metrics are those of the other run. If a schedule or the optimiser
    has changed its kind, its state starts anew. The best validation loss is also reset.

    Raises:
        ZooError: if there is no run, it is of another model, or it has taken all steps already.
    """
    folder = Path(recipe.origin.run)
    before, path = read_recipe(folder / "config.yaml"), folder / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    check_same(checkpoint, recipe, path)
    if checkpoint["step"] >= recipe.training.steps:
        raise ZooError(
            f"{folder} has taken {checkpoint['step']} steps, and training.steps = {recipe.training.steps} includes "
            "them; increase training.steps"
        )
    epoch = max(1, -(-recipe.data.clips_per_epoch // recipe.training.batch_size))
    fresh = {
        "sampling": make_sampling(recipe.sampling, epoch).state_dict(),
        "learning_rate": make_rate(recipe.learning_rate, epoch, recipe.training.steps).state_dict(),
        "optimizer": {},
    }
    for part, state in fresh.items():
        if type(getattr(before, part)) is not type(getattr(recipe, part)):
            checkpoint[part] = state
    checkpoint["progress"] |= {"best": math.inf, "stale": 0}
    return checkpoint
