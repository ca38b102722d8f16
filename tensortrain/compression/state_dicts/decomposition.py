"""Decompose many kernels, and replace each of them by its cores in a state dict."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.compression.state_dicts.effort import Allowance, Effort
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.limits import LayerLimits
from tensortrain.compression.state_dicts.names import join, layer_name
from tensortrain.compression.state_dicts.pool import Stoppable, side_by_side
from tensortrain.compression.state_dicts.records import LayerRecord, copied_tensors
from tensortrain.compression.state_dicts.store import FitStore
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.fit.options import SMALL_KERNEL
from tensortrain.conv.fit.progress import Ticker
from tensortrain.errors import TensorTrainError

_CORE = re.compile(r"(?:(.*)\.)?cores\.(\d+\.weight|0\.bias)", re.DOTALL)  # names of the layer and of the part

UNNAMED = "no pattern matches it, or the matching patterns set no limit"


@dataclass(frozen=True)
class Outcome:
    """The result for one kernel: a chain, or the reason why the kernel stays as it is.

    Attributes:
        kernel: the kernel.
        chain: its decomposition, or None.
        reason: why there is no decomposition; None if there is one.
        seconds: duration of the decomposition.
    """

    kernel: ConvKernel
    chain: ConvTensorTrain | None
    reason: str | None
    seconds: float

    @property
    def record(self) -> LayerRecord:
        """The record of the layer for the header of a file. The kernel must have been decomposed."""
        assert self.chain is not None
        weight = self.kernel.weight
        return LayerRecord.of(self.kernel.name, self.chain, tuple(weight.shape), self.kernel.groups)


def decompose_kernels(
    kernels: Sequence[ConvKernel],
    limits: LayerLimits,
    effort: Effort | None = None,
    *,
    obstacles: Mapping[str, str] | None = None,
    resume: str | PathLike[str] | None = None,
    progress: bool | None = None,
) -> list[Outcome]:
    """Decompose kernels, several at a time if torch has several threads.

    A kernel stays as it is if no chain satisfies its limits, or if the chain would not be smaller than the kernel.

    Args:
        kernels: the kernels to decompose.
        limits: limits of each kernel. A kernel that no pattern matches stays as it is.
        effort: work of the fits; None for the default.
        obstacles: layers that must stay as they are, by name, with the reasons.
        resume: a file that keeps finished kernels until all are finished; None for none.
        progress: whether to show a progress bar; by default only in a terminal and if the work takes long. Without a
            terminal, lines are printed instead.

    Returns:
        One outcome for each kernel, in the order of `kernels`.

    Raises:
        TensorTrainError: limits that are illegal for kernels of any shape, a pattern that matches no kernel, a weight
            with NaN or infinite entries, or a `resume` file of another decomposition.

    >>> import torch
    >>> kernels = [ConvKernel("a.weight", torch.ones(4, 4, 5)), ConvKernel("b.weight", torch.ones(4, 4, 1))]
    >>> for outcome in decompose_kernels(kernels, LayerLimits(kernel_sizes=(3, 3), ranks={"a": 2})):
    ...     print(outcome.kernel.layer, outcome.chain.ranks if outcome.chain else outcome.reason)
    a (4, 2, 4)
    b no pattern matches it, or the matching patterns set no limit
    """
    effort = effort or Effort()
    effort.check()
    arguments = limits.by_kernel(kernels)
    named = obstacles or {}
    blocked = {k.name: reason for k in kernels if (reason := named.get(k.layer) or checks.unusual(k.weight))}
    for kernel in kernels:
        if kernel.name in arguments and kernel.name not in blocked:
            checks.entries(kernel.name, kernel.weight)
    reasons = {k.name: blocked.get(k.name) if k.name in arguments else UNNAMED for k in kernels}
    unique = _distinct([kernel for kernel in kernels if reasons[kernel.name] is None], arguments)
    fitted = _fit({kernel.name: kernel for kernel in unique.values()}, arguments, effort, resume, progress)
    return [
        replace(fitted[unique[k.name].name], kernel=k)
        if (reason := reasons[k.name]) is None
        else Outcome(k, None, reason, 0.0)
        for k in kernels
    ]


def _distinct(kernels: Sequence[ConvKernel], arguments: Mapping[str, Mapping[str, Any]]) -> dict[str, ConvKernel]:
    """Map the name of each kernel to the first kernel that has the same weight and the same arguments."""
    firsts: dict[tuple[Any, ...], list[ConvKernel]] = {}  # the key distinguishes most weights
    unique = {}
    for kernel in kernels:
        seen = firsts.setdefault((kernel.weight.data_ptr(), kernel.groups, kernel.transposed, kernel.stored), [])
        unique[kernel.name] = next((other for other in seen if _same(other, kernel, arguments)), kernel)
        if unique[kernel.name] is kernel:
            seen.append(kernel)
    return unique


def _fit(
    kernels: Mapping[str, ConvKernel],
    arguments: Mapping[str, Mapping[str, Any]],
    effort: Effort,
    resume: str | PathLike[str] | None,
    progress: bool | None,
) -> dict[str, Outcome]:
    """Decompose kernels that are all different."""
    content = [{n: [k.weight, k.groups, k.transposed, repr(arguments[n])] for n, k in kernels.items()}, repr(effort)]
    store = FitStore(resume, content)
    outcomes = {name: Outcome(kernels[name], chain, None, 0.0) for name, chain in store.chains.items()}
    left = {name: kernel for name, kernel in kernels.items() if name not in outcomes}
    entries = {name: kernel.weight.numel() for name, kernel in left.items()}
    burdens = {name: _burden(kernel) for name, kernel in left.items()}
    allowance = Allowance(effort.seconds, min(torch.get_num_threads(), max(1, len(left))), list(burdens.values()))
    title = f"decompose {len(left)} layers" if len(left) > 1 else "decompose"
    with Ticker(progress, title) as ticker:

        def task(kernel: ConvKernel) -> Callable[[threading.Event], Outcome]:
            def run(stop: threading.Event) -> Outcome:
                share = burdens[kernel.name]
                own = {**arguments[kernel.name], **effort.arguments(), "seconds": allowance.seconds(share)}
                with ticker.part(kernel.layer, share / sum(burdens.values())) as part:
                    return _decompose(kernel, {**own, "progress": Stoppable(part, stop)})

            return run

        for name, outcome in side_by_side({name: task(kernel) for name, kernel in left.items()}, entries):
            outcomes[name] = outcome
            if outcome.chain is not None:
                store.add(outcome.record, outcome.chain)
    store.remove()
    return outcomes


def _burden(kernel: ConvKernel) -> int:
    """Return roughly the work of a fit, in any unit.

    The fits of all small kernels cost about the same, because their number of operations determines the time, not the
    number of entries. Linear layers have a closed form.
    """
    entries = kernel.weight.numel()
    return 1 + entries // 100 if kernel.linear else max(entries, SMALL_KERNEL)


def _same(a: ConvKernel, b: ConvKernel, arguments: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether two kernels are one weight with the same arguments, as in tied layers."""
    return a.weight.is_set_to(b.weight) and arguments[a.name] == arguments[b.name]


def _decompose(kernel: ConvKernel, arguments: Mapping[str, Any]) -> Outcome:
    """Decompose a kernel into a chain that is smaller, or find the reason why there is none."""
    start = time.perf_counter()
    if kernel.linear:
        arguments = {**arguments, "kernel_sizes": (1, 1), "size": None}
    chain, reason = None, None
    try:
        chain = ConvTensorTrain.decompose(
            kernel.weight.detach(), groups=kernel.groups, transposed=kernel.transposed, **arguments
        )
    except TensorTrainError as error:
        reason = str(error)
    if chain is not None and chain.n_parameters >= kernel.stored:
        reason = f"the chain would store {chain.n_parameters} entries, but the kernel has only {kernel.stored}"
        chain = None
    return Outcome(kernel, chain, reason, time.perf_counter() - start)


def first_failure(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome that best explains why no kernel was decomposed.

    That is the first one with a reason other than that no pattern matches the kernel or, if there is none, the first
    one.
    """
    return next((outcome for outcome in outcomes if outcome.reason != UNNAMED), outcomes[0])


def check_names(tensors: Iterable[str], kernels: Iterable[str]) -> None:
    """Check that the cores and biases of decomposed kernels get names that no other tensor has, before the long fits.

    Args:
        tensors: names of the tensors of the checkpoint.
        kernels: names of the kernels to decompose.

    Raises:
        TensorTrainError: a tensor has the name that a core or a bias would get.

    >>> check_names(["a.weight", "a.bias", "a.cores.0.scale"], ["a.weight"])
    >>> check_names(["a.weight", "a.bias", "a.cores.0.bias"], ["a.weight"])
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: 'a.weight' cannot be decomposed, since its cores may get the name of \
'a.cores.0.bias'; exclude this layer, or rename the tensor
    """
    names = set(tensors)
    parts = [(part, name) for name in names if (part := _CORE.fullmatch(name))]
    # the bias of a layer moves to its first core
    moved = {p[1] or "": n for p, n in parts if p[2] == "0.bias" and join(p[1] or "", "bias") in names}
    clashes = {**moved, **{p[1] or "": n for p, n in parts if p[2].endswith(".weight")}}
    for kernel in kernels:
        other = clashes.get(layer_name(kernel))
        if other is not None:
            raise TensorTrainError(
                f"{kernel!r} cannot be decomposed, since its cores may get the name of {other!r}; exclude this layer,"
                " or rename the tensor"
            )


def replace_kernels(tensors: Mapping[str, Tensor], outcomes: Iterable[Outcome]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint with every decomposed kernel replaced by its cores.

    All other tensors stay as they are. The names are those of a layer's `state_dict`: `conv1.weight` becomes
    `conv1.cores.0.weight`, …, and `conv1.bias` becomes `conv1.cores.0.bias`.

    Raises:
        TensorTrainError: another tensor has one of these names, see `check_names`.
    """
    decomposed = [(outcome.record, outcome.chain) for outcome in outcomes if outcome.chain is not None]
    cores = {key: core for record, chain in decomposed for key, core in zip(record.core_keys, chain.cores, strict=True)}
    return {**cores, **copied_tensors(tensors, [record for record, _ in decomposed])}
