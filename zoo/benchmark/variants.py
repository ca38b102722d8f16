"""Variants, which are named ways to run a model: the plain loop, the package as it is, and single changes of it.

A switch alters a `Trial` before its first run. `register` adds your own variant to `zoo benchmark`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo import names as known
from zoo.benchmark.setup import JOBS, Trial
from zoo.cells.conv_tt_lstm import ConvTTLSTMCell, written_out
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.training.compiled import compile_model, compiling
from zoo.training.graph import Graphed
from zoo.training.step import StepInputs

Switch = Callable[[Trial], None]
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Variant:
    """A way to run a model.

    Args:
        name: its name on the command line and in tables.
        changes: switches that change which operators run.
        execution: switches that change how these operators are run. Operators are counted without them.
        exact: whether the results equal those of the plain loop, except for rounding in 32 bits.
        jobs: the jobs to which it makes a difference.
        devices: the types of device that it is for.
    """

    name: str
    changes: tuple[Switch, ...] = ()
    execution: tuple[Switch, ...] = ()
    exact: bool = True
    jobs: tuple[str, ...] = tuple(JOBS)
    devices: tuple[str, ...] = DEVICES


def plain_loop(trial: Trial) -> None:
    """Read one frame at a time, as if no convolution could be batched over time.

    An encoder–forecaster is not changed: it has only one way to read the observed frames."""
    if isinstance(trial.model, RecurrentPredictor):
        trial.model.at_once = lambda frame: 1  # type: ignore[method-assign]


def all_known_together(trial: Trial) -> None:
    """Read all known frames in one call, however large they are.

    Raises:
        ZooError: if the model always does so, or does not read frame after frame.
    """
    if not isinstance(trial.model, RecurrentPredictor):
        raise ZooError("only a recurrent model that predicts at every step can read frames in several calls")
    trial.model.at_once = lambda frame: trial.state.recipe.data.length  # type: ignore[method-assign]


def windows_apart(trial: Trial) -> None:
    """Compute every window of a Conv-TT-LSTM at each step from the hidden states that it reads.

    Raises:
        ZooError: if the model has no such cell.
    """
    cells = [module for module in trial.model.modules() if isinstance(module, ConvTTLSTMCell)]
    if not cells:
        raise ZooError("only Conv-TT-LSTM has windows to compute")
    for cell in cells:
        apart = _WindowsApart(cell)
        cell.initial_state, cell.step = apart.initial_state, apart.step  # type: ignore[method-assign,assignment]


class _WindowsApart:
    """A cell that keeps the last hidden states `(h(t - 1), h(t - 2), …)` besides c, as eqs. (9)–(11) are written."""

    def __init__(self, cell: ConvTTLSTMCell) -> None:
        self._cell = cell

    def initial_state(self, *args: Any, **kwargs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """States of zeros."""
        zeros = type(self._cell).initial_state(self._cell, *args, **kwargs).c
        return zeros, (zeros,) * self._cell.steps

    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step."""
        c, hs = state
        h, c = written_out(self._cell, projected, hs, c)
        return h, (c, (h, *hs[:-1]))


def contiguous(trial: Trial) -> None:
    """Keep tensors in (N, C, H, W) order where the model asks for channels last."""

    class Contiguous(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if kwargs.get("memory_format") is torch.channels_last:
                kwargs = kwargs | {"memory_format": torch.contiguous_format}
            return func(*args, **kwargs)

    forward = trial.model.forward

    def run(*args: Any, **kwargs: Any) -> Tensor:
        with Contiguous():
            return forward(*args, **kwargs)

    trial.model.forward = run  # type: ignore[method-assign]


def bf16(trial: Trial) -> None:
    """Autocast the model to bfloat16, as the precision "bf16-mixed" does."""
    autocast = torch.autocast(trial.state.fabric.device.type, torch.bfloat16, cache_enabled=False)
    trial.model.forward = autocast(trial.model.forward)  # type: ignore[method-assign]


def tf32(trial: Trial) -> None:
    """Compute convolutions of 32-bit tensors in TF32, torch's default."""
    trial.convolutions = replace(trial.convolutions, precision="tf32")


def free_algorithms(trial: Trial) -> None:
    """Let cuDNN use the fastest algorithm for each shape, even if its results are not deterministic."""
    trial.convolutions = replace(trial.convolutions, deterministic=False, benchmark=True)


def keep_subnormals(trial: Trial) -> None:
    """Compute with numbers below 1.2e-38 too, as torch does by default."""
    trial.subnormals = True


def fused_adam(trial: Trial) -> None:
    """Run Adam as one operator over all parameters."""
    _set_adam(trial, fused=True)


def unfused_adam(trial: Trial) -> None:
    """Run Adam as torch does by default: as one operator for each kind of arithmetic, over lists of parameters."""
    _set_adam(trial, fused=None)


def compiled(trial: Trial) -> None:
    """Compile the model with `torch.compile`, as `training.compile` does."""
    compile_model(trial.model)
    step = trial.step

    def run(inputs: StepInputs) -> list[Tensor]:
        with compiling():
            return step(inputs)

    trial.step = run


def recomputed(trial: Trial) -> None:
    """Keep only the state between frames for the backward pass, as `training.recompute` does.

    Raises:
        ZooError: if the model has no such state.
    """
    if trial.model.recompute is None:
        raise ZooError("this model has no state between frames to recompute from")
    trial.model.recompute = True


def graph(trial: Trial) -> None:
    """Record the whole step as a CUDA graph and replay it, as `training.graph` does."""
    trial.step = Graphed(trial.step, warm_up=1)


def _set_adam(trial: Trial, **settings: bool | None) -> None:
    """Change how Adam is run.

    Raises:
        ZooError: if the recipe has another optimiser.
    """
    method = trial.state.recipe.optimizer.method
    if method != "adam":
        raise ZooError(f"the recipe's optimiser is {method}, not Adam")
    for group in trial.state.optimizer.param_groups:
        group.update(settings)


PLAIN = Variant("plain", (plain_loop,))
VARIANTS = {
    variant.name: variant
    for variant in (
        PLAIN,
        Variant("eager"),
        Variant("all-together", (all_known_together,), jobs=("training",)),
        Variant("windows-apart", (windows_apart,)),
        Variant("contiguous", (contiguous,)),
        Variant("subnormals", (keep_subnormals,), jobs=("training",), devices=("cpu",)),
        Variant("fused-adam", (fused_adam,), jobs=("training",), devices=("cpu",)),
        Variant("unfused-adam", (unfused_adam,), jobs=("training",), devices=("cuda",)),
        Variant("compiled", execution=(compiled,)),
        Variant("recomputed", (recomputed,), jobs=("training",)),
        Variant("bf16", (bf16,), exact=False),
        Variant("bf16-compiled", (bf16,), (compiled,), exact=False),
        Variant("tf32", (tf32,), exact=False, devices=("cuda",)),
        Variant("free-algorithms", (free_algorithms,), devices=("cuda",)),
        Variant("graph", execution=(graph,), devices=("cuda",)),
        Variant("tf32-graph", (tf32,), (graph,), exact=False, devices=("cuda",)),
        Variant("bf16-graph", (bf16,), (graph,), exact=False, devices=("cuda",)),
        Variant("bf16-free-graph", (bf16, free_algorithms), (graph,), exact=False, devices=("cuda",)),
        Variant("bf16-compiled-graph", (bf16,), (compiled, graph), exact=False, devices=("cuda",)),
    )
}


def register(variant: Variant) -> Variant:
    """Make a variant known to `zoo benchmark`.

    Raises:
        ZooError: if there is a variant of this name.
    """
    if variant.name in VARIANTS:
        raise ZooError(f"a variant {variant.name!r} is registered already; choose another name")
    VARIANTS[variant.name] = variant
    known.VARIANTS.append(variant.name)
    return variant


def find_variants(names: Sequence[str] | None) -> list[Variant]:
    """The variants of these names, or all. The plain loop, to which the others are compared, comes first.

    Raises:
        ZooError: if there is no such variant.
    """
    for name in names or ():
        known.check_name("variant", name, VARIANTS)
    listed = VARIANTS if names is None else dict.fromkeys(names)
    return [PLAIN, *(VARIANTS[name] for name in listed if name != PLAIN.name)]
