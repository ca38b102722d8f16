"""Check a decomposed network against the checkpoint it came from: recompute everything that its file says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain.compression.layers.exchange import exchanged_tensors
from tensortrain.compression.state_dicts.records import Changes, LayerRecord, copied_tensors
from tensortrain.conv.checks import SLACK, contradictions
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.formats import Format
from tensortrain.conv.functional import compose_all, ungroup
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError

AGREEMENT = 1e-10  # by which sequential and dense evaluation may differ in float64


@dataclass(frozen=True)
class LayerCheck:
    """One layer of a decomposed network, recomputed in float64 against the original kernel.

    Attributes:
        record: the record of the layer in the file.
        error: relative Frobenius error of the cores as stored.
        lower_bound: no chain of these sizes and ranks has a smaller error.
        upper_bound: what the error of a chain that `decompose` has made cannot exceed, with what rounding to its dtype
            may add where the error shows it.
        difference: relative difference of sequential and dense evaluation on a random input.
    """

    record: LayerRecord
    error: float
    lower_bound: float
    upper_bound: float
    difference: float

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words."""
        file = self.record
        failures = []
        if file.error is not None and abs(self.error - file.error) > SLACK:
            failures.append(f"its error is {self.error:.6g}, the file says {file.error:.6g}")
        upper = math.inf if file.upper_bound is None else self.upper_bound
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
        copied: number of other tensors, which must be as they were.
        changed: number of other tensors that the file says were changed.
        failures: everything that does not hold, in words; empty if the file is verified.
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
    """Check a decomposed network against the checkpoint it was made from.

    Args:
        tensors: tensors of the decomposed network, by name.
        records: records of its layers, see `read_network`.
        original: tensors of the checkpoint, by name.
        changes: what else the file says was changed: such tensors must have the digest that it names.

    Raises:
        TensorTrainError: an original that lacks a decomposed kernel or has it in another shape, or damaged cores.
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
    """Whether the bits agree, so that NaN equals itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def _verify_layer(record: LayerRecord, chain: ConvTensorTrain, original: Mapping[str, Tensor]) -> LayerCheck:
    weight = original.get(record.weight)
    if weight is None or tuple(weight.shape) != record.shape:
        actual = "no such tensor" if weight is None else f"shape {tuple(weight.shape)}"
        raise TensorTrainError(f"the original has {actual} for {record.weight!r}; {record.shape} is needed")
    weight, dtype = weight.double().reshape(*weight.shape, *(1,) * record.linear), chain.dtype
    chain = chain.to(torch.float64)
    norm = float(weight.norm()) or 1.0
    kernel = ungroup(chain.reconstruct(), math.gcd(*chain.groups), record.groups)
    error = float((kernel - weight).norm()) / norm
    lower, upper = _recompute_bounds(weight, record)
    if error > upper + SLACK:
        upper += _rounding(chain, dtype) / norm
    return LayerCheck(record, error, lower, upper, _evaluation_difference(chain))


def _recompute_bounds(weight: Tensor, record: LayerRecord) -> tuple[float, float]:
    """Lower and upper bound on the relative error of a chain as the record describes it."""
    from tensortrain.conv.fit import bounds  # the solvers load only when they are needed

    blocks = tuple(
        None if count == record.groups else (outer // count, inner // count)
        for count, outer, inner in zip(record.core_groups, record.ranks[:-1], record.ranks[1:], strict=True)
    )
    chain_format = Format(tuple((*size, *(1,) * record.linear) for size in record.kernel_sizes), blocks)
    return bounds(weight, chain_format, record.ranks, groups=record.groups, transposed=record.transposed)


def _rounding(chain: ConvTensorTrain, dtype: torch.dtype) -> float:
    """How far rounding the cores to `dtype`, in which they were stored, may have moved their kernel (Frobenius norm).

    Every entry of a core has moved by at most eps times its size, or times the smallest normal number.
    """
    precision = torch.finfo(dtype)
    sizes = [core.abs() + precision.smallest_normal for core in chain.as_conv().cores]
    return ((1 + precision.eps) ** len(sizes) - 1) * float(compose_all(sizes, chain.groups).norm())


def _evaluation_difference(chain: ConvTensorTrain) -> float:
    """Relative difference of sequential and dense evaluation on one random image, a bit larger than the kernel."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, chain.in_channels, *(k + 2 for k in chain.kernel_size))
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(chain.device)
    dense = chain.evaluate_dense(x)
    return float((chain.evaluate(x) - dense).norm() / dense.norm().clamp(min=torch.finfo(dense.dtype).tiny))
