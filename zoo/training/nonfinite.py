"""Explain a loss that is not finite: find the operation and weights that gave the first NaN or infinite value."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.errors import ZooError
from zoo.training.checkpoint import load_checkpoint
from zoo.training.step import TrainState, train_step


class DivergedError(ZooError):
    """A training that stopped because its values are not finite."""


def explain(state: TrainState, last: Path, bad: int) -> DivergedError:
    """Make the error after step `bad` gave values that are not finite. It names their origin and possible remedies.

    Args:
        state: the state of the run. It is reset to the checkpoint, and trained again up to the bad step.
        last: a checkpoint from before that step.
        bad: the number of the step.
    """
    checkpoint = load_checkpoint(last)
    state.load_state_dict(checkpoint, str(last))
    cause = find_cause(state, bad)
    training, rate = state.recipe.training, state.recipe.learning_rate
    norm = training.clip_norm or math.inf
    remedies = [f"a learning_rate.base below {rate.base:g}", f"a training.clip_norm below {norm:g}"]
    if "16" in training.precision:
        remedies.append(f"training.precision 32-true instead of {training.precision}")
    return DivergedError(
        f"training stopped: step {bad} gave values that are not finite, first {cause}; {last} has the weights of "
        f"step {checkpoint['step']}. Try {' or '.join(remedies)}"
    )


def find_cause(state: TrainState, bad: int) -> str:
    """Train again up to step `bad`, and name the operation that gave the first value that is not finite.

    Args:
        state: a state at an earlier step.
        bad: the number of the step.
    """
    fabric, cause = state.fabric, ""
    for batch in state.batches():
        if state.step == bad:
            # without the gradients of other processes, so that only the process with the first bad value reports it
            with fabric.no_backward_sync(state.model), FirstNonFinite(state.network) as watch:
                train_step(state, state.inputs(batch))
            cause = watch.cause
            break
        train_step(state, state.inputs(batch))
        state.step += 1
    causes = [cause]
    if fabric.world_size > 1:
        causes = [""] * fabric.world_size
        distributed.all_gather_object(causes, cause)
    return next(filter(None, causes), "in an unknown place: all was finite when the step was run again")


class FirstNonFinite(TorchDispatchMode):
    """Checks the results of every operation in its block, until one gives a value that is not finite.

    Args:
        model: the model, whose parameters are named.

    Attributes:
        cause: the operation, the parameter that it used (or else the last one used before), and the pass; empty if
            there is none.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.cause = ""
        self._names = {p.untyped_storage().data_ptr(): name for name, p in model.named_parameters()}
        self._kept: list[Tensor] = []  # kept alive, so that no memory address is used twice
        self._last = "the input"

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.cause:
            return result
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        names = [self._names.get(x.untyped_storage().data_ptr()) for x in inputs]
        known = [name for name in names if name]
        if known:
            self._last = known[0]
            if len(known) == len(names):  # a weight in another form: cast, reshaped, or joined with other weights
                self._kept += outputs
                self._names.update((x.untyped_storage().data_ptr(), known[0]) for x in outputs)
        if any(x.is_floating_point() and not bool(x.isfinite().all()) for x in outputs):
            use = "with" if known else "after"
            passing = "forward" if torch.is_grad_enabled() else "backward"  # the backward pass records no gradients
            self.cause = f"{func.overloadpacket.__name__} {use} {self._last} in the {passing} pass"
        return result
