"""Ways to run one and the same model, by name: the plain loop, what the package does, and each fast path on and off.

A switch alters a `Trial` before it first runs. `register` makes a variant of yours known to `zoo benchmark`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.benchmark.trial import JOBS, Trial
from zoo.errors import ZooError, nearest
from zoo.training.compiled import compile_cells, compiling

Switch = Callable[[Trial], None]
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Variant:
    """One way to run a model.

    Args:
        name: on the command line and in tables.
        changes: switches that change which operators run.
        execution: switches that change how those operators are run; they are counted without these.
        exact: gives the plain loop's numbers but for rounding in 32 bits.
        jobs: it makes a difference to these.
        devices: kinds of device it is for.
    """

    name: str
    changes: tuple[Switch, ...] = ()
    execution: tuple[Switch, ...] = ()
    exact: bool = True
    jobs: tuple[str, ...] = tuple(JOBS)
    devices: tuple[str, ...] = DEVICES


def plain_loop(trial: Trial) -> None:
    """Read frame by frame, as if no convolution could be batched over time."""
    read = trial.model.read

    def one_by_one(frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        predictions = []
        for frame in frames:
            made, state = read(frame[None], state)
            predictions.append(made)
        return torch.cat(predictions), state

    trial.model.read = one_by_one  # type: ignore[method-assign]


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
    autocast = torch.autocast(trial.module.device.type, torch.bfloat16)
    trial.model.forward = autocast(trial.model.forward)  # type: ignore[method-assign]


def tf32(trial: Trial) -> None:
    """Convolutions of 32-bit tensors in TF32, as torch has it by default."""
    trial.convolutions = replace(trial.convolutions, precision="tf32")


def free_algorithms(trial: Trial) -> None:
    """Let cuDNN take the fastest algorithm for each shape, whether its bits repeat or not."""
    trial.convolutions = replace(trial.convolutions, deterministic=False, benchmark=True)


def fused_adam(trial: Trial) -> None:
    """Adam as one operator over all parameters."""
    _set_adam(trial, fused=True)


def unfused_adam(trial: Trial) -> None:
    """Adam as torch takes it unasked: an operator for each kind of arithmetic, over lists of parameters."""
    _set_adam(trial, fused=None)


def compiled(trial: Trial) -> None:
    """`torch.compile` on one step of each cell, as `training.compile` does."""
    compile_cells(trial.model)
    step = trial.step

    def run() -> list[Tensor]:
        with compiling():
            return step()

    trial.step = run


def recomputed(trial: Trial) -> None:
    """Keep only the state between frames for the backward pass, as `training.recompute` does."""
    trial.model.recompute = True


def graph(trial: Trial) -> None:
    """Record the whole step as a CUDA graph and replay it."""
    _set_adam(trial, capturable=True)
    trial.step = Graphed(trial.step)


class Graphed:
    """A step that is run once, captured when it is run again, and replayed from then on.

    What the host sends to the device within the step is frozen with the graph: sampling masks, and the learning rate.
    """

    def __init__(self, step: Callable[[], list[Tensor]]) -> None:
        self._step, self._uploads = step, _Uploads()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False
        self._results: list[Tensor] = []

    def __call__(self) -> list[Tensor]:
        """Do the step; what it returns is overwritten by the next."""
        if not self._warm:
            return self._warm_up()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph), self._uploads.replayed():
                self._results = self._step()
        self._graph.replay()
        return self._results

    def _warm_up(self) -> list[Tensor]:
        """On a stream of its own, as capturing needs it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), self._uploads:
            results = self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._warm = True
        return results


class _Uploads(TorchFunctionMode):
    """Keeps the device's copies of host tensors that a step sends, and hands out the same ones in later steps."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Tensor] = []
        self._next: int | None = None

    def replayed(self) -> "_Uploads":
        """The mode, handing out the copies from the first one on."""
        self._next = 0
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.to or args[0].is_cuda:
            return func(*args, **(kwargs or {}))
        if self._next is not None:
            self._next += 1
            return self._kept[self._next - 1]
        self._kept.append(func(*args, **(kwargs or {})))
        return self._kept[-1]


def _set_adam(trial: Trial, **settings: bool | None) -> None:
    for group in trial.optimizer.param_groups:
        group.update(settings)


PLAIN = Variant("plain", (plain_loop,))
VARIANTS = {
    variant.name: variant
    for variant in (
        PLAIN,
        Variant("eager"),
        Variant("contiguous", (contiguous,)),
        Variant("fused-adam", (fused_adam,), jobs=("training",), devices=("cpu",)),
        Variant("unfused-adam", (unfused_adam,), jobs=("training",), devices=("cuda",)),
        Variant("compiled", execution=(compiled,)),
        Variant("recomputed", (recomputed,), jobs=("training",)),
        Variant("bf16", (bf16,), exact=False),
        Variant("bf16-compiled", (bf16,), (compiled,), exact=False),
        Variant("tf32", (tf32,), exact=False, devices=("cuda",)),
        Variant("free-algorithms", (free_algorithms,), devices=("cuda",)),
        Variant("graph", execution=(graph,), devices=("cuda",)),
        Variant("bf16-graph", (bf16,), (graph,), exact=False, devices=("cuda",)),
        Variant("bf16-compiled-graph", (bf16,), (compiled, graph), exact=False, devices=("cuda",)),
    )
}


def register(variant: Variant) -> Variant:
    """Make a variant known to `zoo benchmark`.

    Raises:
        ZooError: the name is taken.
    """
    if variant.name in VARIANTS:
        raise ZooError(f"a variant {variant.name!r} is registered already; choose another name")
    VARIANTS[variant.name] = variant
    return variant


def find_variants(names: Sequence[str] | None) -> list[Variant]:
    """The variants of these names, or all; the plain loop, which the others are compared with, comes first.

    Raises:
        ZooError: no such variant.
    """
    for name in names or ():
        if name not in VARIANTS:
            raise ZooError(f"no variant {name!r}; {nearest(name, VARIANTS)}")
    chosen = VARIANTS if names is None else dict.fromkeys(names)
    return [PLAIN, *(VARIANTS[name] for name in chosen if name != PLAIN.name)]
