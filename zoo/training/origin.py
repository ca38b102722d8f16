"""What a run starts from: weights of others, or another run that goes on with other settings."""

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.errors import ZooError, nearest
from zoo.predictor import Predictor
from zoo.pretrained import load_pretrained, load_weights
from zoo.settings import Recipe
from zoo.training.checkpoint import load_checkpoint
from zoo.training.learning_rates import make_rate
from zoo.training.run_folder import check_same, open_run, read_recipe
from zoo.training.scheduled_sampling import make_sampling


def read_weights(reference: str) -> dict[str, Tensor]:
    """The weights of a run (its best ones), of a `.safetensors` file, or of those that ship, by `MODEL:WEIGHTS`.

    Raises:
        ZooError: none of these, or one that cannot be read.
    """
    path = Path(reference)
    if path.is_dir():
        return open_run(path).model.state_dict()
    if path.suffix == ".ckpt":
        weights: dict[str, Tensor] = load_checkpoint(path)["weights"]
        return weights
    if path.suffix == ".safetensors":
        return load_weights(path)[0].state_dict()
    if ":" in reference:
        return load_pretrained(*reference.split(":", 1))[0].state_dict()
    raise ZooError(f"{reference} holds no weights; name a run, a .safetensors or .ckpt file, or MODEL:WEIGHTS")


def initialize(model: Predictor, reference: str) -> list[str]:
    """Give a model those weights of another that have its names and shapes; the rest stay as they were drawn.

    Returns:
        Lines that say what fitted and what did not.

    Raises:
        ZooError: none fits, or there are none.
    """
    weights, own = read_weights(reference), model.state_dict()
    fitting = {name: each for name, each in weights.items() if name in own and each.shape == own[name].shape}
    if not fitting:
        raise ZooError(f"{reference}: none of its {len(weights)} weights has a name and shape of this model's")
    model.load_state_dict({**own, **fitting})
    lines = [f"{len(fitting)} of {len(own)} weights are those of {reference}"]
    for name, each in own.items():
        if name in weights and name not in fitting:
            lines.append(f"{name} begins anew: {tuple(each.shape)} here, {tuple(weights[name].shape)} there")
        elif name not in weights:
            lines.append(f"{name} begins anew: not there")
    lines += [f"{name} is left out: this model has none" for name in weights if name not in own]
    return lines


def freeze(model: Predictor, patterns: list[str]) -> None:
    """Keep the parameters whose names match a pattern, in which * stands for anything, as they are.

    Raises:
        ZooError: a pattern that matches none, or patterns that leave nothing to train.
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
    """The checkpoint that a run goes on from which continues another: its last, with what other settings begin anew.

    Weights, optimiser, number of steps and rows of metrics are those of the other run. A schedule or optimiser of
    another kind begins anew, and the best validation loss is looked for anew.

    Raises:
        ZooError: no run there, one of another model, or one that has taken all the steps already.
    """
    folder = Path(recipe.origin.run)
    before, path = read_recipe(folder / "config.yaml"), folder / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    check_same(checkpoint, recipe, path)
    if checkpoint["step"] >= recipe.training.steps:
        raise ZooError(
            f"{folder} has taken {checkpoint['step']} steps, and training.steps = {recipe.training.steps} counts them "
            "too; ask for more"
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
