"""The convolution kernels of a checkpoint or a model: find them, and select some by pattern."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError


@dataclass(frozen=True)
class ConvKernel:
    """A convolution kernel in a checkpoint or a model.

    Attributes:
        name: of the tensor, such as `"conv1.weight"`.
        weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`.
        groups: of the convolution.
        transposed: whether it is a transposed convolution.
    """

    name: str
    weight: Tensor
    groups: int = 1
    transposed: bool = False

    @property
    def layer(self) -> str:
        """Name of the module that holds the weight; empty if that is the model itself."""
        return layer_name(self.name)


def layer_name(weight: str) -> str:
    """The module that a weight belongs to, by their names in a `state_dict`.

    >>> layer_name("conv1.weight"), layer_name("weight"), layer_name("kernel")
    ('conv1', '', 'kernel')
    """
    return "" if weight == "weight" else weight.removesuffix(".weight")


def join(prefix: str, name: str) -> str:
    """Join two parts of a name in a `state_dict`; the first may be empty.

    >>> join("conv1", "bias"), join("", "bias")
    ('conv1.bias', 'bias')
    """
    return f"{prefix}.{name}" if prefix else name


def find_kernels(
    tensors: Mapping[str, Tensor], groups: Mapping[str, int] | None = None, transposed: Iterable[str] = ()
) -> list[ConvKernel]:
    """Find the convolution kernels among the tensors of a checkpoint.

    A kernel is a floating tensor of 3 to 5 axes whose name ends in `weight`. One whose `bias` is not a vector is
    left out: it is a layer norm over images. If no name ends in `weight`, all floating tensors of 3 to 5 axes count.

    Args:
        tensors: by name.
        groups: groups of the convolutions that a pattern names, 1 by default; a weight alone does not show them.
        transposed: patterns that name transposed convolutions.

    Raises:
        TensorTrainError: no kernel, a pattern that matches nothing, groups that do not divide the channels.

    >>> import torch
    >>> [k.layer for k in find_kernels({"a.weight": torch.ones(2, 2, 3), "a.bias": torch.ones(2)})]
    ['a']
    """
    candidates = [
        ConvKernel(name, tensor)
        for name, tensor in tensors.items()
        if 3 <= tensor.dim() <= 5 and tensor.is_floating_point() and tensor.numel()
    ]
    kernels = [k for k in candidates if k.layer != k.name and _has_plain_bias(k, tensors)] or candidates
    if not kernels:
        raise TensorTrainError(f"no conv kernel among {len(tensors)} tensors: none is floating with 3 to 5 axes")
    counts = {k.name: count for pattern, count in (groups or {}).items() for k in named("groups", pattern, kernels)}
    flipped = {kernel.name for pattern in transposed for kernel in named("transposed", pattern, kernels)}
    return [_with_groups(replace(k, transposed=k.name in flipped), counts.get(k.name, 1)) for k in kernels]


def _has_plain_bias(kernel: ConvKernel, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the layer has no bias, or one that is a vector."""
    bias = tensors.get(join(kernel.layer, "bias"))
    return bias is None or bias.dim() == 1


def _with_groups(kernel: ConvKernel, groups: int) -> ConvKernel:
    count = checks.integer(f"groups of {kernel.name}", groups)
    channels = kernel.weight.shape[0]
    if channels % count:
        raise TensorTrainError(
            f"groups of {kernel.name} = {count} do not divide the {channels} channels of its first axis"
        )
    return replace(kernel, groups=count)


def matches(kernel: ConvKernel, pattern: str) -> bool:
    """Whether a pattern such as `"layer2.*"` matches the name of the kernel's tensor or of its layer."""
    return fnmatchcase(kernel.name, pattern) or fnmatchcase(kernel.layer, pattern)


def named(argument: str, pattern: str, kernels: Sequence[ConvKernel]) -> list[ConvKernel]:
    """The kernels that a pattern matches.

    Raises:
        TensorTrainError: it matches none; the message names `argument`, from which the pattern came.
    """
    matching = [kernel for kernel in kernels if matches(kernel, pattern)]
    if not matching:
        names = ", ".join(kernel.layer or kernel.name for kernel in kernels[:8]) + (", …" if len(kernels) > 8 else "")
        raise TensorTrainError(f"{argument} = {pattern!r} names no conv kernel; there are: {names}")
    return matching


def select(kernels: Sequence[ConvKernel], include: Iterable[str] = (), exclude: Iterable[str] = ()) -> list[ConvKernel]:
    """The kernels that match any pattern of `include` (all kernels if it is empty) and none of `exclude`.

    Raises:
        TensorTrainError: a pattern that matches nothing, or no kernel left.

    >>> import torch
    >>> kernels = [ConvKernel(f"{name}.weight", torch.ones(2, 2, 3)) for name in ("stem", "body.0", "body.1")]
    >>> [kernel.layer for kernel in select(kernels, include=["body.*"], exclude=["*.1"])]
    ['body.0']
    """
    include, exclude = list(include), list(exclude)
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            named(argument, pattern, kernels)
    included = [k for k in kernels if not include or any(matches(k, p) for p in include)]
    selected = [k for k in included if not any(matches(k, p) for p in exclude)]
    if not selected:
        raise TensorTrainError(f"include = {include} and exclude = {exclude} leave none of {len(kernels)} conv kernels")
    return selected
