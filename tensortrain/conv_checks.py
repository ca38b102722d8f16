"""Whether the cores of a convolutional tensor train fit each other."""

from collections.abc import Sequence

from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError


def check_cores(cores: tuple[Tensor, ...], groups: Sequence[int] | None, transposed: bool) -> tuple[int, ...]:
    """Groups of each core, after everything about the shapes has been checked."""
    if not cores:
        raise TensorTrainError("cores is empty; at least one core is needed")
    for l, core in enumerate(cores):
        if not isinstance(core, Tensor) or core.dim() != cores[0].dim() or not 3 <= core.dim() <= 5:
            found = tuple(core.shape) if isinstance(core, Tensor) else type(core).__name__
            raise TensorTrainError(
                f"cores[{l}] is {found}; conv weights (out, in / groups, *k) of 1 to 3 axes are needed"
            )
        if core.numel() == 0:
            raise TensorTrainError(f"cores[{l}] has shape {tuple(core.shape)}; no axis may be empty")
        if core.dtype != cores[0].dtype or core.device != cores[0].device:
            raise TensorTrainError(
                f"cores[{l}] is {core.dtype} on {core.device}, cores[0] {cores[0].dtype} on {cores[0].device};"
                " all must agree: use .to()"
            )
    if groups is not None and len(groups) != len(cores):
        raise TensorTrainError(f"groups = {tuple(groups)} has {len(groups)} entries for {len(cores)} cores")
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
    """`count` groups of `per_group` channels must make `total` and divide the `other` side."""
    count = checks.integer(f"groups[{l}]", count, minimum=0)
    if count == 0 or (total is not None and count * per_group != total) or other % count:
        raise TensorTrainError(
            f"cores[{l}] in {count} groups of {per_group} channels meets {total} channels and has {other} on its"
            f" other side; groups · {per_group} must equal its neighbour's rank, and divide {other}"
        )
    return count
