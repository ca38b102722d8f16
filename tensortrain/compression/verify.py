"""Verify a decomposed network against the original checkpoint: recompute all errors and bounds that its file states."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.compression.layers.exchange import exchanged_tensors
from tensortrain.compression.state_dicts.records import Changes, LayerRecord, copied_tensors
from tensortrain.conv.certify.intervals import scaled, times_power
from tensortrain.conv.checks import SLACK, contradictions
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.formats import Format
from tensortrain.conv.functional import ungroup
from tensortrain.digest import digest, entry_bytes
from tensortrain.errors import TensorTrainError
from tensortrain.linalg import frobenius_norm

AGREEMENT = 1e-10  # largest relative difference of sequential and dense evaluation in float64
FARTHEST = 2046  # exponents of powers of two that two numbers in float64 can differ by


@dataclass(frozen=True)
class LayerCheck:
    """One layer of a decomposed network, recomputed in float64 against the original kernel.

    Attributes:
        record: the record of the layer in the file.
        error: relative Frobenius error of the stored cores.
        lower_bound: lower bound of the error for all chains of these sizes and ranks.
        upper_bound: upper bound of the error of a chain that `decompose` has returned. It includes the error of
            rounding to the chain's dtype if the error exceeds the bound. None if the file states no upper bound, as for
            chains that were fitted to outputs or trained.
        difference: relative difference of sequential and dense evaluation on a random input.
    """

    record: LayerRecord
    error: float
    lower_bound: float
    upper_bound: float | None
    difference: float

    @property
    def failures(self) -> list[str]:
        """Sentences about the statements of the file that are wrong."""
        file = self.record
        failures = []
        if file.error is not None and not abs(self.error - file.error) <= SLACK:  # a NaN fails too
            failures.append(f"its error is {self.error:.6g}, the file says {file.error:.6g}")
        upper = math.inf if self.upper_bound is None else self.upper_bound
        failures += contradictions(self.lower_bound, self.error, upper)
        if file.lower_bound is not None and file.lower_bound > self.lower_bound + SLACK:
            failures.append(f"the file says a lower bound of {file.lower_bound:.6g}; it is {self.lower_bound:.6g}")
        if file.upper_bound is not None and self.error > file.upper_bound + SLACK:
            failures.append(f"its error {self.error:.6g} is above the upper bound {file.upper_bound:.6g} of the file")
        if not self.difference <= AGREEMENT:  # a NaN fails too
            failures.append(f"sequential and dense evaluation differ by {self.difference:.3g}")
        return [f"{file.name or file.weight}: {failure}" for failure in failures]


@dataclass(frozen=True)
class Verification:
    """The result of `verify_network`.

    Attributes:
        layers: one check for each decomposed layer.
        copied: number of other tensors that must equal those of the original.
        changed: number of other tensors that the file lists as changed.
        failures: sentences about everything that is wrong; empty if the file is verified.
    """

    layers: list[LayerCheck]
    copied: int
    changed: int
    failures: list[str]


def verify_network(
    tensors: Mapping[str, Tensor],
    records: Sequence[LayerRecord],
    original: Mapping[str, Tensor],
    changes: Changes | None = None,
) -> Verification:
    """Verify a decomposed network against the original checkpoint.

    Args:
        tensors: tensors of the decomposed network, by name.
        records: records of its layers, see `read_network`.
        original: tensors of the original checkpoint, by name.
        changes: further changes that the file lists. These tensors must have the digests of the list.

    Raises:
        TensorTrainError: the original lacks a decomposed kernel or has it in another shape, or cores are damaged.
    """
    changes = changes or Changes()
    original = exchanged_tensors(original, changes.exchanged)
    layers = [_verify_layer(record, record.chain(tensors), original) for record in records]
    copied = copied_tensors(original, records)
    cores = {key for record in records for key in record.core_keys}
    failures = [failure for layer in layers for failure in layer.failures]
    failures += [f"{name} is missing" for name in sorted(copied.keys() - tensors.keys())]
    failures += [f"{name} is not in the original" for name in sorted(tensors.keys() - copied.keys() - cores)]
    for name, tensor in copied.items():
        if name in tensors and name in changes.changed:
            if digest(tensors[name]) != changes.changed[name]:
                failures.append(f"{name} is not what the file says it was changed to")
        elif name in tensors and not _identical(tensor, tensors[name]):
            failures.append(f"{name} differs from the original")
    unchanged = len(copied.keys() - changes.changed.keys())
    return Verification(layers, unchanged, len(copied) - unchanged, failures)


def _identical(a: Tensor, b: Tensor) -> bool:
    """Return whether all bits of two tensors are equal. A NaN then equals itself."""
    if (a.layout, a.dtype, a.shape, a.is_meta) != (b.layout, b.dtype, b.shape, b.is_meta):
        return False
    return torch.equal(entry_bytes(a), entry_bytes(b))


def _verify_layer(record: LayerRecord, chain: ConvTensorTrain, original: Mapping[str, Tensor]) -> LayerCheck:
    weight = original.get(record.weight)
    if weight is None or tuple(weight.shape) != record.shape:
        actual = "no such tensor" if weight is None else f"shape {tuple(weight.shape)}"
        raise TensorTrainError(f"the original has {actual} for {record.weight!r}; {record.shape} is needed")
    weight = checks.entries(f"{record.weight!r} of the original", weight)
    weight, dtype = weight.double().reshape(*weight.shape, *(1,) * record.linear), chain.dtype
    chain = chain.to(torch.float64)
    near, exponent = scaled(weight)  # squares of very small or large entries are beyond the range of float64
    norm = frobenius_norm(near) or 1.0
    kernel = ungroup(_kernel(chain, exponent), math.gcd(*chain.groups), record.groups)
    error = frobenius_norm(kernel - near) / norm
    lower, upper = _recompute_bounds(weight, record)
    if error > upper + SLACK:
        upper += _rounding(chain, dtype, exponent) / norm
    stated = None if record.upper_bound is None else upper
    return LayerCheck(record, error, lower, stated, _evaluation_difference(chain))


def _unit(chain: ConvTensorTrain) -> tuple[ConvTensorTrain, int]:
    """Return a chain whose cores are divided by powers of two, so that entries are near 1, and the total exponent.

    Evaluations and kernels are multilinear in the cores, so they are divided by the same powers, without rounding.
    """
    parts = [scaled(core) for core in chain.cores]
    unit = ConvTensorTrain([core for core, _ in parts], groups=chain.groups, transposed=chain.transposed)
    return unit, sum(exponent for _, exponent in parts)


def _kernel(chain: ConvTensorTrain, exponent: int) -> Tensor:
    """Return the kernel of a chain, divided by `2^exponent`."""
    unit, total = _unit(chain)
    # beyond these exponents every number in float64 becomes zero or infinite
    return times_power(unit.reconstruct(), max(-FARTHEST, min(FARTHEST, total - exponent)))


def _recompute_bounds(weight: Tensor, record: LayerRecord) -> tuple[float, float]:
    """Return the lower and upper bound of the relative error of a chain with the sizes and ranks of the record."""
    from tensortrain.conv.fit import bounds  # the solvers load only when they are needed

    blocks = tuple(
        None if count == record.groups else (outer // count, inner // count)
        for count, outer, inner in zip(record.core_groups, record.ranks[:-1], record.ranks[1:], strict=True)
    )
    chain_format = Format(tuple((*size, *(1,) * record.linear) for size in record.kernel_sizes), blocks)
    return bounds(weight, chain_format, record.ranks, groups=record.groups, transposed=record.transposed)


def _rounding(chain: ConvTensorTrain, dtype: torch.dtype, exponent: int) -> float:
    """Return how far rounding the cores to the `dtype` of the file may have moved their kernel divided by `2^exponent`.

    It is measured in the Frobenius norm. Every entry of a core has moved by at most eps times its size, or times the
    smallest normal number.
    """
    precision = torch.finfo(dtype)
    sizes = [core.abs() + precision.smallest_normal for core in chain.as_conv().cores]
    kernel = _kernel(ConvTensorTrain(sizes, groups=chain.groups), exponent)
    return ((1 + precision.eps) ** len(sizes) - 1) * frobenius_norm(kernel)


def _evaluation_difference(chain: ConvTensorTrain) -> float:
    """Return the relative difference of sequential and dense evaluation on a random image larger than the kernel."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, chain.in_channels, *(k + 2 for k in chain.kernel_size))
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(chain.device)
    unit, _ = _unit(chain)
    dense = unit.evaluate_dense(x)
    return frobenius_norm(unit.evaluate(x) - dense) / max(frobenius_norm(dense), torch.finfo(dense.dtype).tiny)
