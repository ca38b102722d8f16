"""Every conv kernel of a checkpoint or a model: find, decompose, verify."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.formats import Format
from tensortrain.errors import TensorTrainError
from tensortrain.storage import LayerRecord, join, layer_name


@dataclass(frozen=True)
class Kernel:
    """A convolution kernel in a checkpoint or a model.

    Attributes:
        name: of the tensor.
        weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`.
        groups: of the convolution.
        transposed: whether it is a transposed one.
    """

    name: str
    weight: Tensor
    groups: int = 1
    transposed: bool = False

    @property
    def layer(self) -> str:
        """Name of the module that holds the weight."""
        return layer_name(self.name)


@dataclass(frozen=True)
class Outcome:
    """What became of one kernel: a chain, or the reason why it stays as it is.

    Attributes:
        kernel: the kernel.
        chain: its decomposition, or None.
        reason: why there is none, or None.
        seconds: what it took.
    """

    kernel: Kernel
    chain: ConvTensorTrain | None
    reason: str | None
    seconds: float

    @property
    def record(self) -> LayerRecord:
        """The header's record of a kernel that was decomposed."""
        assert self.chain is not None
        weight = self.kernel.weight
        return LayerRecord.of(self.kernel.name, self.chain, tuple(weight.shape), self.kernel.groups)


def matches(kernel: Kernel, pattern: str) -> bool:
    """Whether a pattern such as `layer2.*` names the kernel's tensor or its layer."""
    return fnmatchcase(kernel.name, pattern) or fnmatchcase(kernel.layer, pattern)


def select(kernels: Sequence[Kernel], include: Iterable[str] = (), exclude: Iterable[str] = ()) -> list[Kernel]:
    """Kernels that match any of `include` (all if there are none) and none of `exclude`.

    Raises:
        TensorTrainError: a pattern that matches nothing, or nothing left.
    """
    include, exclude = list(include), list(exclude)
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            _matched(argument, pattern, kernels)
    chosen = [k for k in kernels if not include or any(matches(k, p) for p in include)]
    chosen = [k for k in chosen if not any(matches(k, p) for p in exclude)]
    if not chosen:
        raise TensorTrainError(f"include = {include} and exclude = {exclude} leave none of {len(kernels)} conv kernels")
    return chosen


def _matched(argument: str, pattern: str, kernels: Sequence[Kernel]) -> list[Kernel]:
    found = [kernel for kernel in kernels if matches(kernel, pattern)]
    if not found:
        names = ", ".join(kernel.layer or kernel.name for kernel in kernels[:8]) + (", …" if len(kernels) > 8 else "")
        raise TensorTrainError(f"{argument} = {pattern!r} names no conv kernel; there are: {names}")
    return found


def find_kernels(
    tensors: Mapping[str, Tensor], groups: Mapping[str, int] | None = None, transposed: Iterable[str] = ()
) -> list[Kernel]:
    """The convolution kernels among the tensors of a checkpoint.

    These are floating tensors of 3 to 5 axes named `weight`, but for those whose `bias` is no vector (a
    layer norm over images); if no name is `weight`, all floating tensors of 3 to 5 axes.

    Args:
        tensors: by name.
        groups: groups of the convolutions that a pattern names; a weight alone does not tell, 1 by default.
        transposed: patterns that name transposed convolutions.

    Raises:
        TensorTrainError: no kernel, a pattern that matches nothing, groups that do not divide the channels.

    >>> [k.layer for k in find_kernels({"a.weight": torch.ones(2, 2, 3), "a.bias": torch.ones(2)})]
    ['a']
    """
    found = [Kernel(n, t) for n, t in tensors.items() if 3 <= t.dim() <= 5 and t.is_floating_point() and t.numel()]
    biases = {kernel.name: tensors.get(join(kernel.layer, "bias")) for kernel in found}
    named = [k for k in found if k.layer != k.name and ((bias := biases[k.name]) is None or bias.dim() == 1)]
    kernels = {kernel.name: kernel for kernel in named or found}
    if not kernels:
        raise TensorTrainError(f"no conv kernel among {len(tensors)} tensors: none is floating with 3 to 5 axes")
    known = list(kernels.values())
    flipped = {kernel.name for pattern in transposed for kernel in _matched("transposed", pattern, known)}
    counts = {k.name: count for pattern, count in (groups or {}).items() for k in _matched("groups", pattern, known)}
    for name, kernel in kernels.items():
        count = checks.integer(f"groups of {name}", counts.get(name, 1))
        if kernel.weight.shape[0] % count:
            raise TensorTrainError(
                f"groups of {name} = {count} do not divide the {kernel.weight.shape[0]} channels of its first axis"
            )
        kernels[name] = Kernel(name, kernel.weight, count, name in flipped)
    return list(kernels.values())


def decompose_kernels(kernels: Sequence[Kernel], **arguments: Any) -> Iterator[Outcome]:
    """Decompose kernels one by one; those that cannot be under the given limits stay as they are.

    Args:
        kernels: what to decompose.
        arguments: of `ConvTensorTrain.decompose`: `kernel_sizes`, the limits, `seed`, `progress`.

    Raises:
        TensorTrainError: limits that are illegal for any kernel, or a weight with NaN or infinite entries.
    """
    limits = {name: arguments.get(name) for name in ("ranks", "rtol", "max_parameters", "budget")}
    checks.Limits.of(bonds=None, dense_parameters=1, **limits)
    for kernel in kernels:
        checks.entries(kernel.name, kernel.weight)
    for kernel in kernels:
        start = time.perf_counter()
        chain, reason = _try(kernel, arguments)
        yield Outcome(kernel, chain, reason, time.perf_counter() - start)


def _try(kernel: Kernel, arguments: Mapping[str, Any]) -> tuple[ConvTensorTrain | None, str | None]:
    try:
        chain = ConvTensorTrain.decompose(
            kernel.weight.detach(), groups=kernel.groups, transposed=kernel.transposed, **arguments
        )
    except TensorTrainError as error:
        return None, str(error)
    if chain.n_parameters >= kernel.weight.numel():
        return None, f"the chain would store {chain.n_parameters} entries, the kernel has {kernel.weight.numel()}"
    return chain, None


def replace_kernels(tensors: Mapping[str, Tensor], outcomes: Iterable[Outcome]) -> dict[str, Tensor]:
    """The tensors with every decomposed kernel as the `state_dict` of a layer; all others as they are.

    `conv1.weight` becomes `conv1.cores.0.weight`, …, and `conv1.bias` becomes `conv1.cores.0.bias`.
    """
    done = [(outcome.record, outcome.chain) for outcome in outcomes if outcome.chain is not None]
    replaced = {key: core for record, chain in done for key, core in zip(record.core_keys, chain.cores, strict=True)}
    return {**replaced, **copied_tensors(tensors, [record for record, _ in done])}


def copied_tensors(tensors: Mapping[str, Tensor], records: Iterable[LayerRecord]) -> dict[str, Tensor]:
    """What stays of a checkpoint besides the decomposed kernels, with their biases under their new names."""
    records = list(records)
    kernels = {record.weight for record in records}
    biases = {join(record.name, "bias"): join(record.name, "cores.0.bias") for record in records}
    return {biases.get(name, name): tensor for name, tensor in tensors.items() if name not in kernels}


SLACK = 1e-6  # on a recorded error or bound, against its recomputation in float64


@dataclass(frozen=True)
class LayerCheck:
    """One layer of a decomposed network, recomputed in float64 against the original kernel.

    Attributes:
        record: what the file says.
        error: relative Frobenius error of the cores as stored.
        lower_bound: what no chain with these sizes and ranks can go below.
        upper_bound: what was certain before refinement.
        difference: of sequential and dense evaluation on a random input, relative.
    """

    record: LayerRecord
    error: float
    lower_bound: float
    upper_bound: float
    difference: float

    @property
    def failures(self) -> list[str]:
        """What does not hold."""
        said = self.record
        found = []
        if said.error is not None and abs(self.error - said.error) > SLACK:
            found.append(f"its error is {self.error:.6g}, the file says {said.error:.6g}")
        if self.error < self.lower_bound - SLACK:
            found.append(f"its error {self.error:.6g} is below the lower bound {self.lower_bound:.6g}")
        if said.lower_bound is not None and said.lower_bound > self.lower_bound + SLACK:
            found.append(f"the file says a lower bound of {said.lower_bound:.6g}; it is {self.lower_bound:.6g}")
        if said.upper_bound is not None and self.error > said.upper_bound + SLACK:
            found.append(f"its error {self.error:.6g} is above the upper bound {said.upper_bound:.6g}")
        if not self.difference <= 1e-10:
            found.append(f"sequential and dense evaluation differ by {self.difference:.3g}")
        return [f"{said.name or said.weight}: {failure}" for failure in found]


@dataclass(frozen=True)
class Verification:
    """What `verify_network` found.

    Attributes:
        layers: one check for each decomposed layer.
        copied: number of other tensors.
        failures: everything that does not hold, in words; empty if the file is verified.
    """

    layers: list[LayerCheck]
    copied: int
    failures: list[str]


def verify_network(
    tensors: Mapping[str, Tensor], records: Sequence[LayerRecord], original: Mapping[str, Tensor]
) -> Verification:
    """Check a decomposed network against the checkpoint it was made from.

    Raises:
        TensorTrainError: an original that lacks a decomposed kernel or has it in another shape, or damaged cores.
    """
    layers = [_verify_layer(record, record.chain(tensors), original) for record in records]
    copied = copied_tensors(original, records)
    cores = {key for record in records for key in record.core_keys}
    failures = [failure for layer in layers for failure in layer.failures]
    failures += [f"{name} is missing" for name in sorted(copied.keys() - tensors.keys())]
    failures += [f"{name} is not in the original" for name in sorted(tensors.keys() - copied.keys() - cores)]
    for name, tensor in copied.items():
        if name in tensors and not _identical(tensor, tensors[name]):
            failures.append(f"{name} differs from the original")
    return Verification(layers, len(copied), failures)


def _identical(a: Tensor, b: Tensor) -> bool:
    """Bit by bit, so that NaN equals itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def recompute_bounds(weight: Tensor, record: LayerRecord) -> tuple[float, float]:
    """Lower and upper bound on the relative error of a chain as the record describes it."""
    from tensortrain.conv.fit import bounds  # the solvers load only when they are needed

    blocks = tuple(
        None if count == record.groups else (outer // count, inner // count)
        for count, outer, inner in zip(record.core_groups, record.ranks[:-1], record.ranks[1:], strict=True)
    )
    chain_format = Format(record.kernel_sizes, blocks)
    return bounds(weight, chain_format, record.ranks, groups=record.groups, transposed=record.transposed)


def _verify_layer(record: LayerRecord, chain: ConvTensorTrain, original: Mapping[str, Tensor]) -> LayerCheck:
    weight = original.get(record.weight)
    if weight is None or tuple(weight.shape) != record.shape:
        found = "no such tensor" if weight is None else f"shape {tuple(weight.shape)}"
        raise TensorTrainError(f"the original has {found} for {record.weight!r}; {record.shape} is needed")
    weight, chain = weight.double(), chain.to(torch.float64)
    norm = float(weight.norm())
    distance = float((chain.reconstruct() - weight).norm())
    lower, upper = recompute_bounds(weight, record)
    generator = torch.Generator().manual_seed(0)
    shape = (1, chain.in_channels, *(k + 2 for k in chain.kernel_size))
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(chain.device)
    dense = chain.evaluate_dense(x)
    difference = float((chain.evaluate(x) - dense).norm() / dense.norm().clamp(min=torch.finfo(dense.dtype).tiny))
    return LayerCheck(record, distance / norm if norm else distance, lower, upper, difference)
