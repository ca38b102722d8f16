"""Decompose many kernels one after the other, and put the cores in their place."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tensortrain import checks
from tensortrain.compression.kernels import ConvKernel
from tensortrain.compression.limits import LayerLimits
from tensortrain.compression.records import LayerRecord, copied_tensors
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError

UNNAMED = "no pattern names it, or none that limits it"


@dataclass(frozen=True)
class Outcome:
    """What became of one kernel: a chain, or the reason why it stays as it is.

    Attributes:
        kernel: the kernel.
        chain: its decomposition, or None.
        reason: why there is no decomposition, or None if there is one.
        seconds: how long the decomposition took.
    """

    kernel: ConvKernel
    chain: ConvTensorTrain | None
    reason: str | None
    seconds: float

    @property
    def record(self) -> LayerRecord:
        """What a file says about the kernel, which must have been decomposed."""
        assert self.chain is not None
        weight = self.kernel.weight
        return LayerRecord.of(self.kernel.name, self.chain, tuple(weight.shape), self.kernel.groups)


def decompose_kernels(
    kernels: Sequence[ConvKernel],
    limits: LayerLimits,
    *,
    obstacles: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Iterator[Outcome]:
    """Decompose kernels one by one; those that cannot be within the limits, or would not get smaller, stay as they are.

    Args:
        kernels: what to decompose.
        limits: for each kernel; those that its patterns leave out stay as they are, too.
        obstacles: reasons for which layers stay as they are, by their names.
        seed: of the random starts.
        progress: show a progress bar for each kernel; by default only if one takes long and a person is watching.

    Raises:
        TensorTrainError: limits that are illegal for any kernel, a pattern that names no kernel, or a weight with NaN
            or infinite entries.

    >>> import torch
    >>> kernels = [ConvKernel("a.weight", torch.ones(4, 4, 5)), ConvKernel("b.weight", torch.ones(4, 4, 1))]
    >>> for outcome in decompose_kernels(kernels, LayerLimits(kernel_sizes=(3, 3), ranks={"a": 2})):
    ...     print(outcome.kernel.layer, outcome.chain.ranks if outcome.chain else outcome.reason)
    a (4, 2, 4)
    b no pattern names it, or none that limits it
    """
    arguments = limits.by_kernel(kernels)
    named = obstacles or {}
    odd = {k.name: reason for k in kernels if (reason := named.get(k.layer) or checks.unusual(k.weight))}
    for kernel in kernels:
        if kernel.name in arguments and kernel.name not in odd:
            checks.entries(kernel.name, kernel.weight)
    finished: dict[tuple[Any, ...], list[Outcome]] = {}  # by what tells most weights apart
    for kernel in kernels:
        start = time.perf_counter()
        reason = odd.get(kernel.name) if kernel.name in arguments else UNNAMED
        if reason is not None:
            yield Outcome(kernel, None, reason, 0.0)
            continue
        key = (kernel.weight.data_ptr(), kernel.groups, kernel.transposed, kernel.stored)
        twin = next((o for o in finished.get(key, []) if _same(o.kernel, kernel, arguments)), None)
        if twin is None:
            chain, reason = _decompose(kernel, {**arguments[kernel.name], "seed": seed, "progress": progress})
        else:
            chain, reason = twin.chain, twin.reason
        outcome = Outcome(kernel, chain, reason, time.perf_counter() - start)
        finished.setdefault(key, []).append(outcome)
        yield outcome


def _same(a: ConvKernel, b: ConvKernel, arguments: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether two names stand for one weight with the same arguments, as those of tied layers do."""
    return a.weight.is_set_to(b.weight) and arguments[a.name] == arguments[b.name]


def _decompose(kernel: ConvKernel, arguments: Mapping[str, Any]) -> tuple[ConvTensorTrain | None, str | None]:
    """A chain smaller than the kernel, or the reason why there is none."""
    if kernel.linear:
        arguments = {**arguments, "kernel_sizes": (1, 1)}
    try:
        chain = ConvTensorTrain.decompose(
            kernel.weight.detach(), groups=kernel.groups, transposed=kernel.transposed, **arguments
        )
    except TensorTrainError as error:
        return None, str(error)
    if chain.n_parameters >= kernel.stored:
        return None, f"the chain would store {chain.n_parameters} entries, the kernel has {kernel.stored}"
    return chain, None


def first_failure(outcomes: Sequence[Outcome]) -> Outcome:
    """Where no kernel was decomposed: the first outcome that says more than that no pattern names the kernel."""
    return next((outcome for outcome in outcomes if outcome.reason != UNNAMED), outcomes[0])


def replace_kernels(tensors: Mapping[str, Tensor], outcomes: Iterable[Outcome]) -> dict[str, Tensor]:
    """The tensors with every decomposed kernel as the `state_dict` of a layer; all others as they are.

    `conv1.weight` becomes `conv1.cores.0.weight`, …, and `conv1.bias` becomes `conv1.cores.0.bias`.
    """
    decomposed = [(outcome.record, outcome.chain) for outcome in outcomes if outcome.chain is not None]
    cores = {key: core for record, chain in decomposed for key, core in zip(record.core_keys, chain.cores, strict=True)}
    return {**cores, **copied_tensors(tensors, [record for record, _ in decomposed])}
