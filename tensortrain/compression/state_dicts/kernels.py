"""Find the convolution kernels of a checkpoint or a model, and select some of them by patterns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import Tensor

from tensortrain import checks
from tensortrain.compression.state_dicts.names import join, layer_name
from tensortrain.compression.state_dicts.parts import is_part
from tensortrain.errors import TensorTrainError

LONG = {1: 8, 2: 16, 3: 16}  # by number of axes: a kernel with many channels has fewer taps than this along an axis
COLOURS = 4  # a layer with at most this many inputs reads images, and its kernel may be long
WORDS = {"bilinear", "embed", "embedding", "embeddings", "expert", "experts", "norm", "pos", "position", "positions",
         "token", "tokens"}  # fmt: skip


@dataclass(frozen=True)
class ConvKernel:
    """A convolution kernel in a checkpoint or a model.

    Attributes:
        name: name of the tensor, such as `"conv1.weight"`.
        weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`.
        groups: number of groups of the convolution.
        transposed: whether it is a transposed convolution.
        chain_parameters: number of entries of the chain that already replaces the kernel; None for a dense kernel.
        doubt: why the tensor may be something other than a convolution kernel; None if there is no doubt.
        linear: whether it is the matrix `(out, in, 1)` of a linear layer. Its chain has two cores.
    """

    name: str
    weight: Tensor
    groups: int = 1
    transposed: bool = False
    doubt: str | None = None
    chain_parameters: int | None = None
    linear: bool = False

    @property
    def stored(self) -> int:
        """Number of entries that the kernel takes now, as a dense tensor or as a chain."""
        return self.weight.numel() if self.chain_parameters is None else self.chain_parameters

    @property
    def layer(self) -> str:
        """Name of the module that holds the weight; empty if the model itself holds it."""
        return layer_name(self.name)


def find_kernels(
    tensors: Mapping[str, Tensor], groups: Mapping[str, int] | None = None, transposed: Iterable[str] = ()
) -> list[ConvKernel]:
    """Find the convolution kernels among the tensors of a checkpoint.

    A kernel is a floating tensor of 3 to 5 axes whose name ends in `weight`. If there is no such name, all floating
    tensors of 3 to 5 axes count, except parts of weights. A tensor is not a kernel if its layer has a `bias` with
    several axes; that is a layer norm over images.

    A checkpoint does not say what its tensors are for. Weights of bilinear layers, position embeddings and stacked
    experts may have the same shapes. A tensor that looks more like one of these than like a kernel gets a `doubt`.

    Args:
        tensors: tensors of a checkpoint, by name.
        groups: numbers of groups, by patterns on names; 1 by default. The shape of a weight does not show them.
        transposed: patterns on the names of transposed convolutions.

    Raises:
        TensorTrainError: there is no kernel, a pattern matches nothing, or groups do not divide the channels.

    >>> import torch
    >>> [k.layer for k in find_kernels({"a.weight": torch.ones(2, 2, 3), "a.bias": torch.ones(2)})]
    ['a']
    """
    candidates = [
        ConvKernel(name, tensor)
        for name, tensor in tensors.items()
        if 3 <= tensor.dim() <= 5 and tensor.is_floating_point() and tensor.numel() and not is_part(name)
    ]
    kernels = [k for k in candidates if k.layer != k.name and _has_plain_bias(k, tensors)] or candidates
    if not kernels:
        part = next((f"; {name} is a part of a weight: decompose with --fold" for name in tensors if is_part(name)), "")
        raise TensorTrainError(f"no conv kernel among {len(tensors)} tensors: none is floating with 3 to 5 axes{part}")
    counts = {k.name: count for pattern, count in (groups or {}).items() for k in named("groups", pattern, kernels)}
    flipped = {kernel.name for pattern in transposed for kernel in named("transposed", pattern, kernels)}
    known = counts.keys() | flipped
    return [
        _with_groups(
            replace(k, transposed=k.name in flipped, doubt=None if k.name in known else _doubt(k, tensors)),
            counts.get(k.name, 1),
        )
        for k in kernels
    ]


def _doubt(kernel: ConvKernel, tensors: Mapping[str, Tensor]) -> str | None:
    """Return the reason why a tensor does not look like a kernel; None if it does."""
    first, second, *sizes = kernel.weight.shape
    bias = tensors.get(join(kernel.layer, "bias"))
    words = WORDS.intersection(re.split(r"[\W\d_]+", kernel.layer.rpartition(".")[2].lower()))
    if words and len(sizes) == 1:
        return f"its name contains {words.pop()!r}"
    if bias is not None and len(bias) != first and len(bias) % second:
        return f"its bias has {len(bias)} entries, which fits neither a convolution nor a transposed one"
    if max(sizes) < LONG[len(sizes)] or (second <= COLOURS and first > 1):
        return None
    if len(sizes) > 1 or first == 1 or 4 * sizes[0] > min(first, second):
        return f"a kernel of {'×'.join(map(str, sizes))} is too long for its channels; it may be a table"
    return None


def _has_plain_bias(kernel: ConvKernel, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether the layer has no bias, or a bias that is a vector."""
    bias = tensors.get(join(kernel.layer, "bias"))
    return bias is None or bias.dim() == 1


def _with_groups(kernel: ConvKernel, groups: int) -> ConvKernel:
    count = checks.integer(f"groups of {kernel.name}", groups)
    channels = kernel.weight.shape[0]
    if channels % count:
        raise TensorTrainError(
            f"groups of {kernel.name} = {count} must divide the {channels} channels of its first axis"
        )
    return replace(kernel, groups=count)


def matches(kernel: ConvKernel, pattern: str) -> bool:
    """Return whether a pattern such as `"layer2.*"` matches the name of the kernel's tensor or of its layer."""
    return fnmatchcase(kernel.name, pattern) or fnmatchcase(kernel.layer, pattern)


def named(argument: str, pattern: str, kernels: Sequence[ConvKernel], what: str = "conv kernel") -> list[ConvKernel]:
    """Return the kernels that a pattern matches.

    Args:
        argument: name of the argument that holds the pattern, for the error message.
        pattern: a pattern as in `fnmatch`, such as `"layer2.*"`.
        kernels: the kernels to choose from.
        what: what the kernels are, for the error message.

    Raises:
        TensorTrainError: the pattern matches none of the kernels; the message lists their names.
    """
    matching = [kernel for kernel in kernels if matches(kernel, pattern)]
    if not matching:
        names = ", ".join(kernel.layer or kernel.name for kernel in kernels[:8]) + (", …" if len(kernels) > 8 else "")
        raise TensorTrainError(f"{argument} = {pattern!r} matches no {what}; there are: {names}")
    return matching


def select(
    kernels: Sequence[ConvKernel],
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    what: str = "conv kernel",
) -> list[ConvKernel]:
    """Return the kernels that match any pattern of `include` (all kernels if it is empty) and none of `exclude`.

    Kernels with a `doubt` are left out, unless `include` matches them.

    Args:
        kernels: the kernels to choose from.
        include: pattern as in `fnmatch`, such as `"layer2.*"`, or several.
        exclude: pattern of the kernels to leave out, or several.
        what: what the kernels are, for error messages.

    Raises:
        TensorTrainError: a pattern matches nothing, or no kernel is left.

    >>> import torch
    >>> kernels = [ConvKernel(f"{name}.weight", torch.ones(2, 2, 3)) for name in ("stem", "body.0", "body.1")]
    >>> [kernel.layer for kernel in select(kernels, include=["body.*"], exclude=["*.1"])]
    ['body.0']
    """
    include, exclude = checks.strings(include), checks.strings(exclude)
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            named(argument, pattern, kernels, what)
    included = [k for k in kernels if any(matches(k, p) for p in include) or (not include and not k.doubt)]
    if not included:
        first = kernels[0]
        raise TensorTrainError(
            f"no tensor is certain to be a conv kernel; {first.name}: {first.doubt}. Name the conv kernels in include"
        )
    selected = [k for k in included if not any(matches(k, p) for p in exclude)]
    if not selected:
        raise TensorTrainError(f"include = {include} and exclude = {exclude} leave none of the {len(kernels)} {what}s")
    return selected


def unsaid(kernels: Sequence[ConvKernel]) -> list[str]:
    """Return a warning for each fact about these kernels that a checkpoint does not store.

    >>> import torch
    >>> kernels = [ConvKernel("0.weight", torch.ones(8, 2, 3)), ConvKernel("1.weight", torch.ones(8, 4, 3))]
    >>> for sentence in unsaid(kernels):
    ...     print(sentence)
    A checkpoint does not say which convs are grouped, so all are treated as ungrouped. If some are grouped, name them
    in groups, for example: 1=2
    A checkpoint does not say whether weights of 3 axes belong to nn.Conv1d or to nn.Bilinear. Treated as convs: 0, 1
    """
    sentences = []
    groups = [f"{layer_name(name)}={count}" for name, count in possible_groups(kernels).items()]
    if groups:
        sentences.append(
            "A checkpoint does not say which convs are grouped, so all are treated as ungrouped. If some are grouped,"
            f" name them in groups, for example: {_listed(groups)}"
        )
    short = [k.layer or k.name for k in kernels if k.weight.dim() == 3 and "conv" not in k.layer.lower()]
    if short:
        sentences.append(
            "A checkpoint does not say whether weights of 3 axes belong to nn.Conv1d or to nn.Bilinear. Treated as"
            f" convs: {_listed(short)}"
        )
    return sentences


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def possible_groups(kernels: Sequence[ConvKernel]) -> dict[str, int]:
    """Return the kernels that may belong to grouped convolutions, each with a number of groups that would fit.

    The weight `(out, in / groups, *K)` does not show the groups. A number of groups is possible if an earlier kernel
    has `groups` times as many outputs as this one has inputs. Transposed kernels are left out.

    Args:
        kernels: the kernels, in the order in which they are applied.

    Returns:
        The number of groups by the name of the kernel. Kernels come first if no earlier kernel has as many outputs as
        they have inputs, since these are most likely grouped.

    >>> import torch
    >>> shapes = {"stem": (8, 3, 3), "grouped": (8, 4, 3), "plain": (16, 8, 3), "depthwise": (16, 1, 3)}
    >>> possible_groups([ConvKernel(name, torch.ones(shape)) for name, shape in shapes.items()])
    {'grouped': 2, 'depthwise': 16}
    """
    outputs: set[int] = set()
    likely, possible = dict[str, int](), dict[str, int]()
    for kernel in kernels:
        out, per_group = kernel.weight.shape[kernel.transposed], kernel.weight.shape[not kernel.transposed]
        counts = sorted(n // per_group for n in outputs if n % per_group == 0 and n > per_group)
        counts = [count for count in counts if out % count == 0]
        if counts and not kernel.transposed and kernel.groups == 1:
            count = out if per_group == 1 and out in counts else counts[0]
            (possible if per_group in outputs else likely)[kernel.name] = count
        outputs.add(out)
    return {**likely, **possible}
