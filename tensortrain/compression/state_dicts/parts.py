"""Compute weights that a checkpoint stores in parts: weights with weight norm, spectral norm or pruning.

| stored by | parts of `conv.weight` | weight |
|---|---|---|
| pruning | `weight_orig`, `weight_mask` | `orig · mask` |
| weight norm | `weight_g`, `weight_v`; or `parametrizations.weight.original0` and `original1` | `g · v / ‖v‖` |
| spectral norm | `weight_orig`, `…_u`, `…_v`; or `parametrizations.weight.original`, `0._u`, `0._v` | `w / (uᵀ w v)` |
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks

_PART = re.compile(r"(.*\.)?(\w+_(orig|mask)|weight_[guv])|(.*\.)?parametrizations\..*")


def is_part(name: str) -> bool:
    """Return whether a tensor is a part of a weight, judging by its name.

    >>> is_part("conv.weight_v"), is_part("conv.weight"), is_part("conv.parametrizations.weight.original0")
    (True, False, True)
    """
    return _PART.fullmatch(name) is not None


_PARAMETRIZED = "parametrizations.weight."


@dataclass(frozen=True)
class Folded:
    """The tensors of a checkpoint, with one tensor for each weight.

    Attributes:
        tensors: the tensors, by name.
        parts: for each weight that was computed, the names of the tensors from which it was computed.
    """

    tensors: dict[str, Tensor]
    parts: dict[str, list[str]]


def fold(tensors: Mapping[str, Tensor]) -> Folded:
    """Compute each weight from its parts.

    Other tensors stay as they are, and so do parts if it is not certain how they belong together.

    >>> folded = fold({"conv.weight_g": torch.ones(1, 1, 1), "conv.weight_v": torch.full((1, 1, 4), 0.1)})
    >>> folded.tensors, folded.parts
    ({'conv.weight': tensor([[[0.5000, 0.5000, 0.5000, 0.5000]]])}, {'conv.weight': ['conv.weight_g', 'conv.weight_v']})
    """
    whole, folded = dict(tensors), dict[str, list[str]]()
    for rule in (_pruned, _weight_norm, _spectral_norm):  # pruning first: a part of a normalised weight may be pruned
        parts = _Parts(whole)
        weights = {name: weight for name in whole if (weight := rule(name, parts)) and weight.name not in whole}
        gone = {part for weight in weights.values() for part in weight.parts}
        for weight in weights.values():
            folded[weight.name] = [part for key in weight.parts for part in folded.pop(key, [key])]
        kept = {name: tensor for name, tensor in whole.items() if name not in gone or name in weights}
        whole = {
            weights[n].name if n in weights else n: weights[n].tensor if n in weights else t for n, t in kept.items()
        }
    return Folded(whole, folded)


@dataclass(frozen=True)
class _Weight:
    """A weight that was computed, and the names of its parts."""

    name: str
    parts: list[str]
    tensor: Tensor


class _Parts:
    """The floating tensors of a checkpoint, and how many parts each parametrized weight has."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        self.floating = {name: tensor for name, tensor in floating.items() if not checks.unusual(tensor)}
        self.masks = {name: tensor for name, tensor in tensors.items() if name.endswith("_mask")}
        self.counts = Counter(base for name in tensors for base, mark, _ in [name.partition(_PARAMETRIZED)] if mark)

    def of(self, name: str, suffix: str, others: Sequence[str]) -> tuple[str, list[Tensor]] | None:
        """Return the module's name with a dot and the `others`, if `name` is the part that ends in `suffix`.

        The result is None if `name` ends differently, if a part is missing, or if a parametrized weight has further
        parts.
        """
        base = name.removesuffix(suffix)
        parts = [self.floating.get(base + other) for other in others]
        present = [part for part in parts if part is not None]
        if base == name or base[-1:] not in ("", ".") or name not in self.floating or len(present) < len(others):
            return None
        # a parametrized weight must have no further parts, since they would change it further
        if suffix.startswith(_PARAMETRIZED) and self.counts[base] != 1 + len(others):
            return None
        return base, present


def _pruned(name: str, parts: _Parts) -> _Weight | None:
    base = name.removesuffix("_orig")
    original, mask = parts.floating.get(name), parts.masks.get(f"{base}_mask")
    if base == name or original is None or mask is None or mask.shape != original.shape:
        return None
    return _Weight(base, [name, f"{base}_mask"], original * mask.to(original.dtype))


def _weight_norm(name: str, parts: _Parts) -> _Weight | None:
    for suffix, other in (("weight_v", "weight_g"), (f"{_PARAMETRIZED}original1", f"{_PARAMETRIZED}original0")):
        match parts.of(name, suffix, [other]):
            case base, [length]:
                direction = parts.floating[name].double()  # in half precision the norm may overflow
                if length.dim() not in (0, direction.dim()):
                    continue
                # g has one number for each index of one axis, or one number for the whole tensor
                axes = [axis for axis in range(direction.dim()) if length.dim() == 0 or length.shape[axis] == 1]
                norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
                if length.dim() and length.shape != norm.shape:
                    continue
                weight = direction * (length / norm)
                return _Weight(f"{base}weight", [base + other, name], weight.to(parts.floating[name].dtype))
    return None


def _spectral_norm(name: str, parts: _Parts) -> _Weight | None:
    for suffix, others in (
        ("weight_orig", ["weight_u", "weight_v"]),
        (f"{_PARAMETRIZED}original", [f"{_PARAMETRIZED}0._u", f"{_PARAMETRIZED}0._v"]),
    ):
        match parts.of(name, suffix, others):
            case base, [u, v]:
                weight = parts.floating[name]
                value = _singular_value(weight, u, v)
                if value is not None:
                    return _Weight(f"{base}weight", [name, *(base + other for other in others)], weight / value)
    return None


def _singular_value(weight: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    """Return the singular value of the vectors `u` and `v`; None if the axis along which `u` lies is not certain.

    Convs are unfolded along their first axis, transposed convs along their second. Along a wrong axis the value is that
    of two random vectors, far below the largest one.
    """
    if u.dim() != 1 or v.dim() != 1 or {u.dtype, v.dtype} != {weight.dtype} or weight.numel() != len(u) * len(v):
        return None
    axes = [axis for axis in range(min(2, weight.dim() - 1)) if weight.shape[axis] == len(u)]
    values = [torch.dot(u, weight.movedim(axis, 0).flatten(1) @ v) for axis in axes]
    values.sort(key=lambda value: -abs(float(value)))
    if not values or (len(values) > 1 and not abs(float(values[0])) > 2 * abs(float(values[1]))):
        return None
    return values[0]
