"""Checks of convolutional tensor trains: cores form a chain, inputs fit them, and errors respect their bounds."""

from collections.abc import Sequence

from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError

SLACK = 1e-6  # allowed relative violation of a bound; rounding errors of squares in float64 have roots near 1e-8


def check_cores(cores: tuple[Tensor, ...], groups: Sequence[int] | None, transposed: bool) -> tuple[int, ...]:
    """Check that the cores of a new chain fit each other and are finite, and return the groups of each core.

    Raises:
        TensorTrainError: the shapes, dtypes, devices, ranks or groups do not fit each other.
    """
    check_weights("cores", cores)
    for l, core in enumerate(cores):
        checks.tensor(f"cores[{l}]", core)
        if core.dtype != cores[0].dtype:  # not even under autocast
            raise TensorTrainError(
                f"cores[{l}] is {core.dtype}, cores[0] is {cores[0].dtype}; all must agree: use .to()"
            )
    return check_groups(cores, groups, transposed)


def check_weights(name: str, weights: object) -> tuple[Tensor, ...]:
    """Return convolution weights as a tuple if they have the same number of spatial axes, dtype and device.

    Their numbers are not read, because this check also runs in the forward passes of networks.
    """
    listed = checks.listed(name, weights)
    if not listed:
        raise TensorTrainError(f"{name} is empty; at least one tensor is needed")
    for l, weight in enumerate(listed):
        check_weight(f"{name}[{l}]", weight, listed[0])
    return listed


def check_weight(name: str, weight: object, first: Tensor) -> None:
    """Refuse a value unless it is a convolution weight like `first`, which is a checked weight or `weight` itself."""
    checks.ordinary(name, weight)
    if not isinstance(weight, Tensor) or not 3 <= weight.dim() <= 5:
        shape = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise TensorTrainError(f"{name} is {shape}; a conv weight (out, in / groups, *k) is needed, *k of 1 to 3 axes")
    if weight.numel() == 0:
        raise TensorTrainError(f"{name} is empty: shape {tuple(weight.shape)}; every axis must be at least 1 long")
    if weight.dim() != first.dim():
        raise TensorTrainError(f"{name} has shape {tuple(weight.shape)}; {first.dim() - 2} spatial axes are needed")
    checks.agrees(name, weight, first)


def check_groups(cores: Sequence[Tensor], groups: Sequence[int] | None, transposed: bool) -> tuple[int, ...]:
    """Return the groups of each core if the ranks of neighbours fit; None means that they follow from the ranks."""
    if groups is not None and (not isinstance(groups, Sequence) or len(groups) != len(cores)):
        raise TensorTrainError(f"groups = {groups!r} for {len(cores)} cores; one int for each core is needed")
    counts: list[int] = []
    if transposed:  # weights (R_l, R_{l-1} / g_l): the outer side is the grouped one
        outer = None
        for l, core in enumerate(cores):
            count = groups[l] if groups is not None else 1 if outer is None else outer // core.shape[1]
            counts.append(_check_groups(l, count, core.shape[1], outer, core.shape[0]))
            outer = core.shape[0]
    else:
        for l, core in enumerate(cores):
            inner = cores[l + 1].shape[0] if l + 1 < len(cores) else None
            count = groups[l] if groups is not None else 1 if inner is None else inner // core.shape[1]
            counts.append(_check_groups(l, count, core.shape[1], inner, core.shape[0]))
    return tuple(counts)


def _check_groups(l: int, count: int, per_group: int, total: int | None, other: int) -> int:
    """Return `count` if so many groups of `per_group` channels give `total` and divide the `other` side."""
    count = checks.integer(f"groups[{l}]", count, minimum=0)
    if count == 0 or (total is not None and count * per_group != total) or other % count:
        neighbour = "" if total is None else f", its neighbour has {total} channels"
        equal = "" if total is None else f"the number of groups times {per_group} must equal the neighbour's rank, and "
        raise TensorTrainError(
            f"cores[{l}] has {count} groups of {per_group} channels{neighbour}, and its other side has {other};"
            f" {equal}the number of groups must divide {other}"
        )
    return count


def check_inputs(inputs: object, channels: Sequence[int | None], core: Tensor) -> list[Tensor | None]:
    """Return U(1) … U(m) as a list if they have the given channels, the same batch and size, and fit `core`.

    None in `channels` allows any number. NaN and infinite entries are accepted, as in every layer of PyTorch.
    """
    order, axes = len(channels), core.dim() - 2
    if not isinstance(inputs, Sequence):
        raise TensorTrainError(
            f"inputs is a {type(inputs).__name__}; a list of {order} tensors is needed, None for zero"
        )
    if len(inputs) != order:
        raise TensorTrainError(f"{len(inputs)} inputs for {order} cores; one for each core is needed, None for zero")
    frame = next((u for u in inputs if isinstance(u, Tensor)), None)
    for l, (u, rank) in enumerate(zip(inputs, channels, strict=True)):
        if u is None:
            continue
        if not isinstance(u, Tensor):
            raise TensorTrainError(f"inputs[{l}] is a {type(u).__name__}; a torch.Tensor or None is needed")
        checks.ordinary(f"inputs[{l}]", u)
        if u.dim() != axes + 2 or 0 in u.shape[2:]:
            raise TensorTrainError(
                f"inputs[{l}] has shape {tuple(u.shape)}; (batch, channels, {axes} axes of at least 1) is needed"
            )
        if not (u.is_floating_point() or u.is_complex()):
            raise TensorTrainError(f"inputs[{l}] has dtype {u.dtype}; the dtype of the cores is needed")
        checks.agrees(f"inputs[{l}]", u, core)
        if frame is not None and (u.shape[2:] != frame.shape[2:] or u.shape[0] != frame.shape[0]):
            raise TensorTrainError(
                f"inputs[{l}] has shape {tuple(u.shape)}; (batch {frame.shape[0]}, channels, "
                f"{', '.join(map(str, frame.shape[2:]))}) is needed: all inputs share batch and size"
            )
        if rank is not None and u.shape[1] != rank:
            raise TensorTrainError(f"inputs[{l}] has {u.shape[1]} channels; R_{l + 1} = {rank} are needed")
    return list(inputs)


def check_chain(
    cores: Sequence[Tensor], inputs: Sequence[Tensor | None], biases: Sequence[Tensor | None] | None, stop: int
) -> tuple[int, Tensor]:
    """Check that the arguments of a `conv_tt` call fit its cores, and return the spatial axes and a present input."""
    order = len(cores)
    axes = cores[0].dim() - 2
    maps = check_inputs(inputs, [*(core.shape[0] for core in cores[1:]), None], cores[0])
    checks.integer("stop", stop, minimum=0)
    if stop >= order:
        raise TensorTrainError(f"stop = {stop} leaves none of the {order} steps; legal: 0 … {order - 1}")
    frame = next((u for u in maps[stop:] if u is not None), None)
    if frame is None:
        raise TensorTrainError(f"inputs[{stop}:] are all None; at least one tensor is needed to know the size")
    for l, core in enumerate(cores):
        last = maps[-1]
        channels = cores[l + 1].shape[0] if l + 1 < order else core.shape[1] if last is None else last.shape[1]
        groups = channels // core.shape[1]
        if groups == 0 or channels != groups * core.shape[1] or core.shape[0] % groups:
            raise TensorTrainError(
                f"cores[{l}] of shape {tuple(core.shape)} has {core.shape[1]} input channels per group, but its input"
                f" has {channels} channels; the number of groups must divide both {channels} and {core.shape[0]}"
            )
    _check_biases(cores, biases)
    return axes, frame


def _check_biases(cores: Sequence[Tensor], biases: Sequence[Tensor | None] | None) -> None:
    """Refuse biases that do not fit the cores."""
    if biases is None:
        return
    if len(biases) != len(cores):
        raise TensorTrainError(f"{len(biases)} biases for {len(cores)} cores; one for each is needed, None for no bias")
    for l, (bias, core) in enumerate(zip(biases, cores, strict=True)):
        if bias is None:
            continue
        checks.ordinary(f"biases[{l}]", bias)
        if not isinstance(bias, Tensor) or bias.shape != core.shape[:1]:
            shape = tuple(bias.shape) if isinstance(bias, Tensor) else type(bias).__name__
            raise TensorTrainError(f"biases[{l}] is {shape}; a tensor of shape {tuple(core.shape[:1])} is needed")
        checks.agrees(f"biases[{l}]", bias, core)


def contradictions(lower: float, error: float, upper: float) -> list[str]:
    """Return, in words, the parts of `lower ≤ error ≤ upper` that are violated by more than `SLACK`.

    >>> contradictions(0.1, 0.2, 0.3), contradictions(0.1, 0.2, 0.2 - 1e-8)
    ([], [])
    >>> contradictions(0.1, 0.2, 0.15)
    ['its error 0.2 is above the upper bound 0.15']
    """
    failures = []
    if not error >= lower - SLACK:  # a NaN fails too
        failures.append(f"its error {error:.6g} is below the lower bound {lower:.6g}")
    if not error <= upper + SLACK:
        failures.append(f"its error {error:.6g} is above the upper bound {upper:.6g}")
    return failures
