"""Argument checks shared by every entry point: each check raises `TensorTrainError` or returns a clean value."""

import math
import numbers
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from tensortrain import counts
from tensortrain.errors import TensorTrainError
from tensortrain.transforms import physical

_CAST = {torch.float16, torch.bfloat16, torch.float32}  # what autocast casts
_CALLED = ("__call__", "forward", "_conv_forward")  # methods that run when a module is called


def tensor(name: str, value: object, *, min_dim: int = 1) -> Tensor:
    """Return `value` if it is a finite, non-empty, floating or complex tensor of at least `min_dim` axes."""
    if not isinstance(value, Tensor):
        raise TensorTrainError(f"{name} is a {type(value).__name__}; a torch.Tensor is needed")
    ordinary(name, value)
    if value.dim() < min_dim:
        raise TensorTrainError(f"{name} has {value.dim()} axes {tuple(value.shape)}; at least {min_dim} are needed")
    if value.numel() == 0:
        raise TensorTrainError(f"{name} is empty: shape {tuple(value.shape)}; every axis must be at least 1 long")
    if not (value.is_floating_point() or value.is_complex()):
        raise TensorTrainError(
            f"{name} has dtype {value.dtype}; a floating or complex dtype is needed: convert with {name}.double()"
        )
    # the sum is cheap, and if it is finite so are all entries; an infinite sum may also be an overflow
    plain = physical(value)
    sound = plain.is_meta or bool(torch.isfinite(plain.sum())) or bool(torch.isfinite(plain).all())
    if not sound:
        bad = int((~torch.isfinite(plain)).sum())
        raise TensorTrainError(f"{name} holds {bad} NaN or infinite entries of {value.numel()}; all must be finite")
    return value


def strings(value: str | Iterable[str]) -> list[str]:
    """Return as a list an argument that is one string or several; a single string is not split into its letters.

    >>> strings("layer1.*"), strings(["stem", "head"])
    (['layer1.*'], ['stem', 'head'])
    """
    texts = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise TensorTrainError(f"{text!r} is a {type(text).__name__}; a string is needed, or several")
    return texts


def unusual(value: Tensor) -> str | None:
    """Return why torch cannot calculate with a tensor as usual and how to convert it, or None if torch can.

    >>> unusual(torch.eye(2).to_sparse()), unusual(torch.eye(2))
    ('has the layout torch.sparse_coo; convert it with .to_dense()', None)
    """
    if value.is_nested:
        return "is a nested tensor; convert it with .to_padded_tensor(0)"
    if value.layout != torch.strided:
        return f"has the layout {value.layout}; convert it with .to_dense()"
    if value.is_quantized:
        return f"is quantised to {value.dtype}; convert it with .dequantize()"
    if value.dtype == torch.complex32:
        return f"has dtype {value.dtype}, with which torch does not calculate; convert it with .to(torch.complex64)"
    if value.is_floating_point() and value.dtype.itemsize < 2:
        return f"has dtype {value.dtype}, with which torch does not calculate; convert it with .float()"
    return None


def ordinary(name: str, value: object) -> None:
    """Refuse a tensor with which torch cannot calculate as usual. Values that are not tensors pass unchecked."""
    reason = unusual(value) if isinstance(value, Tensor) else None
    if reason is not None:
        raise TensorTrainError(f"{name} {reason}")


def listed(name: str, value: object) -> tuple[Any, ...]:
    """Return `value` as a tuple. A bare tensor is refused, because it would be split along its first axis."""
    if isinstance(value, Tensor) or not isinstance(value, Iterable):
        raise TensorTrainError(f"{name} is a {type(value).__name__}; a list of tensors is needed: [core, …]")
    return tuple(value)


def entries(name: str, value: object, *, min_dim: int = 1) -> Tensor:
    """Return `value` as `tensor` does, but refuse tensors on the meta device, which have no entries."""
    checked = tensor(name, value, min_dim=min_dim)
    if checked.is_meta:
        raise TensorTrainError(f"{name} is on the meta device and has no entries; load it first")
    return checked


def integer(name: str, value: object, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int from `minimum` to `maximum`. Booleans and floats are refused."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TensorTrainError(f"{name} = {value!r} is not an integer; an int of at least {minimum} is needed")
    if value < minimum:
        raise TensorTrainError(f"{name} = {counts.shown(value)} is too small; at least {minimum} is needed")
    if maximum is not None and int(value) > maximum:
        raise TensorTrainError(f"{name} = {counts.shown(value)} is too large; at most {maximum} is possible")
    return int(value)


def seed(value: object) -> int:
    """Return `value` if it is a valid seed of PyTorch's random generators."""
    return integer("seed", value, minimum=0, maximum=2**63 - 1)


def real(value: object) -> float:
    """Return a real number as a float, infinite if it is larger than every float, and NaN for anything else.

    >>> real(0.5), real(-(10**400)), real("0.5"), real(True)
    (0.5, -inf, nan, nan)
    """
    number: Any = value if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0."""
    number = real(value)
    if not 0 < number < math.inf:
        raise TensorTrainError(f"{name} = {counts.shown(value)} is not a positive number")
    return number


def fraction(name: str, value: object, *, minimum_included: bool = True) -> float:
    """Return `value` as a float in [0, 1), or in (0, 1) if the minimum is excluded."""
    number = real(value)
    if not 0 <= number < 1 or (number == 0 and not minimum_included):
        raise TensorTrainError(f"{name} = {counts.shown(value)} is outside {'[' if minimum_included else '('}0, 1)")
    return number


def device(value: Any) -> torch.device:
    """Return `value` as an available device; None is torch's default device."""
    try:
        return torch.empty(0, device=None if value is None else torch.device(value)).device
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise TensorTrainError(f"device = {value!r} cannot be used: {reason}") from None


def trainable_result() -> None:
    """Refuse `torch.inference_mode`, in which new layers could never be trained."""
    if torch.is_inference_mode_enabled():
        raise TensorTrainError("in torch.inference_mode() the result could not be trained; call this outside of it")


def path(name: str, value: object) -> Path:
    """Return an argument that names a file, a text or an object such as `pathlib.Path`, as a `Path`.

    >>> path("resume", 3)
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: resume is a int; a str or a pathlib.Path is needed
    """
    if not isinstance(value, str | PathLike):
        raise TensorTrainError(f"{name} is a {type(value).__name__}; a str or a pathlib.Path is needed")
    return Path(value)


def iterates(value: object) -> TypeGuard[Iterable[Any]]:
    """Return whether one can iterate over `value`. Tensors and arrays without axes have `__iter__`, but it fails."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def per_axis(name: str, value: int | Iterable[int], axes: int, *, minimum: int = 1) -> tuple[int, ...]:
    """Return a tuple of length `axes` from one int for all axes or from one int for each axis."""
    if isinstance(value, str) or not iterates(value):
        return (integer(name, value, minimum=minimum),) * axes
    values = tuple(integer(f"{name}[{i}]", v, minimum=minimum) for i, v in enumerate(value))
    if len(values) != axes:
        raise TensorTrainError(f"{name} = {values} has {len(values)} entries; one int or {axes} entries are needed")
    return values


def agrees(name: str, value: Tensor, core: Tensor) -> None:
    """Refuse a tensor on another device than the cores or, unless autocast casts it, in another dtype."""
    if value.device == core.device and value.dtype == core.dtype:
        return
    kind = core.device.type  # the meta device has no autocast
    is_cast = kind != "meta" and torch.is_autocast_enabled(kind) and {value.dtype, core.dtype} <= _CAST
    if value.device != core.device or not is_cast:
        raise TensorTrainError(
            f"{name} is {value.dtype} on {value.device}, the cores {core.dtype} on {core.device}; use .to()"
        )


def bias(value: object, size: int, core: Tensor) -> None:
    """Refuse a bias unless it is None or a tensor of `size` entries with the device and dtype of `core`."""
    if value is None:
        return
    if not isinstance(value, Tensor):
        raise TensorTrainError(f"bias is {value!r}; None or a tensor is needed, such as torch.zeros({size})")
    ordinary("bias", value)
    if tuple(value.shape) != (size,):
        raise TensorTrainError(f"bias has shape {tuple(value.shape)}; ({size},) is needed")
    agrees("bias", value, core)


def fits_in_memory(name: str, entries: int, like: Tensor) -> None:
    """Check that a tensor with this number of entries, and the dtype and device of `like`, is not larger than memory.

    Raises:
        TensorTrainError: it is larger than the whole memory of the machine or of the GPU.
    """
    if torch.compiler.is_compiling():  # a compiled graph cannot ask for the size of the memory
        return
    if like.is_cuda:
        memory = torch.cuda.get_device_properties(like.device).total_memory
    elif like.device.type == "cpu" and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    needed = entries * like.element_size()
    if needed > memory:
        raise TensorTrainError(
            f"{name} has {counts.count(entries)} entries, {counts.factor(needed, 10**9)} GB of"
            f" {counts.factor(memory, 10**9)} GB of memory; use entries, slices, sums or evaluate, which do not need"
            " all entries"
        )


def choice(name: str, value: object, legal: Sequence[str]) -> str:
    """Return `value` if it is one of the `legal` strings."""
    if not isinstance(value, str) or value not in legal:
        raise TensorTrainError(f"{name} = {value!r} is unknown; legal: {', '.join(map(repr, legal))}")
    return value


@dataclass(frozen=True)
class Limits:
    """The upper limits on the size and the error of a decomposition.

    Every `decompose` takes the same four arguments, `ranks`, `rtol`, `max_parameters` and `budget`. `Limits.of` checks
    them and combines the last two into one limit.

    Attributes:
        ranks: upper limits of the inner ranks, one for each bond, or None.
        rtol: relative Frobenius tolerance in [0, 1), or None.
        parameters: upper limit on the number of stored entries, from `max_parameters` and `budget`, or None.
    """

    ranks: tuple[int, ...] | None
    rtol: float | None
    parameters: int | None

    @classmethod
    def of(
        cls,
        *,
        bonds: int | None,
        dense_parameters: int,
        ranks: int | Sequence[int] | None,
        rtol: float | None,
        max_parameters: int | None,
        budget: float | None,
    ) -> "Limits":
        """Check the four limits that every `decompose` takes.

        Args:
            bonds: number of inner ranks; None accepts any number of ranks.
            dense_parameters: number of entries of the dense tensor; `budget` is a fraction of it.
            ranks: one int for all bonds, or one for each bond.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: upper limit on the number of stored entries.
            budget: the same limit as a fraction of `dense_parameters`.

        Raises:
            TensorTrainError: all four limits are None, or one of them is out of range.
        """
        if ranks is None and rtol is None and max_parameters is None and budget is None:
            raise TensorTrainError("nothing limits the decomposition: give ranks, rtol, max_parameters or budget")
        clean_ranks = None
        if ranks is not None and bonds is None:
            clean_ranks = tuple(integer(f"ranks[{i}]", r) for i, r in enumerate(ranks if iterates(ranks) else [ranks]))
        elif ranks is not None and bonds is not None:
            if isinstance(ranks, Sequence) and len(ranks) != bonds:
                raise TensorTrainError(
                    f"ranks = {tuple(ranks)} has {len(ranks)} entries; one int or {bonds} interior ranks are needed"
                )
            clean_ranks = per_axis("ranks", ranks, bonds)
        if rtol is not None:
            rtol = fraction("rtol", rtol)
        caps = []
        if max_parameters is not None:
            caps.append(integer("max_parameters", max_parameters))
        if budget is not None:
            share = real(budget)
            if not 0 < share < math.inf:
                raise TensorTrainError(
                    f"budget = {counts.shown(budget)} is not a positive fraction of the dense parameters"
                )
            # without the factor, floor(0.29 · 100) would be 28; as a float, dense_parameters could overflow
            caps.append(math.floor(Fraction(share) * Fraction(1 + 1e-12) * dense_parameters))
        return cls(clean_ranks, rtol, min(caps) if caps else None)


def module(name: str, value: object) -> None:
    """Refuse a value that is no `nn.Module`."""
    if not isinstance(value, nn.Module):
        raise TensorTrainError(f"{name} is a {type(value).__name__}; an nn.Module is needed")


def has_hooks(module: nn.Module) -> bool:
    """Return whether functions are called before or after a module's forward or backward pass.

    Old forms of weight norm and pruning are such functions too.
    """
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def has_own_forward(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a module, an instance of the class `kind`, computes something other than `kind` does.

    Its class may define its own `forward`, or a library may have set another `forward` on the module itself.

    >>> layer = nn.Linear(2, 2)
    >>> layer.forward = lambda x: x
    >>> has_own_forward(layer, nn.Linear), has_own_forward(nn.Linear(2, 2), nn.Linear)
    (True, False)
    """
    return any(
        name in vars(module) or getattr(type(module), name, None) is not getattr(kind, name, None) for name in _CALLED
    )


def additions(module: nn.Module, known: Container[str] = ("weight", "bias")) -> list[str]:
    """Return the names of a module's parameters, buffers, submodules and other tensors that are not `known`.

    They would be lost if the module were replaced by one that takes over only the known ones.

    >>> layer = nn.Linear(2, 2)
    >>> layer.scale = nn.Parameter(torch.ones(2))
    >>> additions(layer)
    ['scale']
    """
    tensors = (name for name, value in vars(module).items() if isinstance(value, Tensor))
    return [name for name in (*module._parameters, *module._buffers, *module._modules, *tensors) if name not in known]


def no_additions(name: str, module: nn.Module, known: Container[str] = ("weight", "bias")) -> None:
    """Refuse a module with parameters, buffers, submodules or other tensors that its replacement would lose."""
    lost = additions(module, known)
    if lost:
        raise TensorTrainError(
            f"{name} is a {type(module).__name__} that also holds {', '.join(lost)}, which the layer would lose"
        )
