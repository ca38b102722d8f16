r"""Formats define the core sizes and groups of a convolutional tensor train; its ranks are chosen later.

All common factorisations of kernels are formats with particular sizes and groups:

| format | cores, output side first |
|---|---|
| `cttd`, the paper's | `k×k \| … \| k×k` |
| `tucker2` | `1×1 \| K×K \| 1×1` |
| `separable` | `K×1 \| 1×K` |
| `tt4` | `1×1 \| K×1 \| 1×K \| 1×1` |
| `cp` | `1×1 \| K×1 depthwise \| 1×K depthwise \| 1×1` |
| `depthwise` | `1×1 \| K×K depthwise \| 1×1` |
| `block_term(a, b)` | `1×1 \| K×K in groups of b → a channels \| 1×1` |
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensortrain import checks
from tensortrain.conv.alignment import whole_size
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """The core sizes and the group shapes of a chain, output side first.

    Attributes:
        kernel_sizes: for each core its length on each spatial axis.
        blocks: for each core the pair `(outputs, inputs)` of one group, or None for a single group; a depthwise core
            has `(1, 1)`.
        name: the name in reports.

    >>> cp((5, 5)).groups((64, 12, 12, 12, 32))   # two depthwise cores of 12 channels
    (1, 12, 12, 1)
    """

    kernel_sizes: tuple[Axes, ...]
    blocks: tuple[tuple[int, int] | None, ...]
    name: str = "chain"

    def __post_init__(self) -> None:
        are_sequences = isinstance(self.kernel_sizes, Sequence) and isinstance(self.blocks, Sequence)
        if not are_sequences or not self.kernel_sizes or len(self.blocks) != len(self.kernel_sizes):
            raise TensorTrainError(
                f"kernel_sizes = {self.kernel_sizes} and blocks = {self.blocks}; one entry for each core is needed"
            )
        for l, size in enumerate(self.kernel_sizes):
            if not isinstance(size, Sequence) or not size:
                raise TensorTrainError(f"kernel_sizes[{l}] = {size!r}; one length for each axis is needed: (3, 3)")
        axes = len(self.kernel_sizes[0])
        for l, (size, block) in enumerate(zip(self.kernel_sizes, self.blocks, strict=True)):
            checks.per_axis(f"kernel_sizes[{l}]", size, axes)
            if block is not None:
                checks.per_axis(f"blocks[{l}]", block, 2)

    @property
    def order(self) -> int:
        """Return the number of cores m."""
        return len(self.kernel_sizes)

    @property
    def kernel_size(self) -> Axes:
        """Return the size of the whole kernel on each axis, `Σ_l (k_l - 1) + 1`."""
        return whole_size(self.kernel_sizes)

    @property
    def dense(self) -> bool:
        """Return whether no core is grouped."""
        return all(block is None for block in self.blocks)

    def groups(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """Return the groups of each core for the given ranks, which include both ends.

        Args:
            ranks: the ranks `(R_0, …, R_m)`.

        Raises:
            TensorTrainError: there are more or fewer ranks, the blocks do not divide the ranks, or the ranks on both
                sides of a core have different numbers of blocks.

        >>> depthwise((3, 3)).groups((8, 5, 5, 6))
        (1, 5, 1)
        """
        if not isinstance(ranks, Sequence) or len(ranks) != self.order + 1:
            raise TensorTrainError(
                f"ranks = {ranks!r}; the {self.order + 1} ranks R_0 … R_{self.order} are needed, which include the"
                " output and input channels"
            )
        for l, rank in enumerate(ranks):
            checks.integer(f"ranks[{l}]", rank)
        counts = []
        for l, block in enumerate(self.blocks):
            if block is None:
                counts.append(1)
                continue
            outputs, inputs = block
            count = ranks[l] // outputs
            if count * outputs != ranks[l] or count * inputs != ranks[l + 1]:
                raise TensorTrainError(
                    f"core {l} with groups of {inputs} → {outputs} channels does not fit ranks {ranks[l]} and"
                    f" {ranks[l + 1]}; they must be n·{outputs} and n·{inputs} with the same n"
                )
            counts.append(count)
        return tuple(counts)

    def bonds(self, out_channels: int, in_channels: int) -> list[tuple[dict[int, int], int | None]]:
        """Return the sets of ranks that must grow together.

        A grouped core of blocks a × b forces `R_{l-1} = n·a` and `R_l = n·b` with the same n; neighbouring grouped
        cores share it, and a grouped core at an end of the chain fixes it.

        Args:
            out_channels: the rank R_0.
            in_channels: the rank R_m.

        Returns:
            For each such n, a pair: the inner bonds l with their factors, `{l: R_l / n}`, and n itself if an end fixes
            it, otherwise None. A bond between two ungrouped cores has its own n and the factor 1.

        Raises:
            TensorTrainError: the channels are not positive integers, or the groups of the first or last core do not
                divide them.

        >>> block_term((3, 3), 2, 1).bonds(8, 6)   # R_1 = 2n and R_2 = n, for any n
        [({1: 2, 2: 1}, None)]
        >>> Format(((3, 3), (1, 1)), ((1, 1), None)).bonds(8, 6)   # a depthwise T(1) has as many channels as R_0
        [({1: 1}, 8)]
        """
        checks.integer("out_channels", out_channels)
        checks.integer("in_channels", in_channels)
        classes: list[tuple[dict[int, int], int | None]] = []
        current, fixed = {0: 1}, out_channels
        open_class: tuple[dict[int, int], int | None] = (current, fixed)
        for l, block in enumerate(self.blocks):
            if block is None:
                classes.append(open_class)
                open_class = ({l + 1: 1}, None)
                continue
            multipliers, count = open_class
            outputs, inputs = block
            scale = outputs // math.gcd(outputs, multipliers[l])
            if count is not None and count % scale:
                raise TensorTrainError(f"{count} channels cannot be divided into the groups of core {l}")
            multipliers = {bond: factor * scale for bond, factor in multipliers.items()}
            multipliers[l + 1] = multipliers[l] // outputs * inputs
            open_class = (multipliers, None if count is None else count // scale)
        multipliers, count = open_class
        last = self.order
        if in_channels % multipliers[last] or count not in (None, in_channels // multipliers[last]):
            raise TensorTrainError(f"in_channels = {in_channels} does not fit the groups of the last core")
        classes.append((multipliers, in_channels // multipliers[last]))
        return [
            ({bond: factor for bond, factor in tied.items() if 0 < bond < last}, count)
            for tied, count in classes
            if any(0 < bond < last for bond in tied)
        ]

    def n_parameters(self, ranks: Sequence[int]) -> int:
        """Return the number of stored entries, `Σ_l k_l^d R_{l-1} R_l / g_l`, for ranks that include both ends.

        >>> depthwise((3, 3)).n_parameters((8, 5, 5, 6))   # 8·5 + 9·5 + 5·6
        115
        """
        groups = self.groups(ranks)
        return sum(math.prod(size) * ranks[l] * (ranks[l + 1] // groups[l]) for l, size in enumerate(self.kernel_sizes))


def _checked(kernel_size: object) -> Axes:
    """Return the size of a whole kernel as a tuple, if it has a positive length for each axis."""
    if not isinstance(kernel_size, Sequence) or not kernel_size:
        raise TensorTrainError(f"kernel_size = {kernel_size!r}; one length for each axis is needed: (3, 3)")
    return checks.per_axis("kernel_size", kernel_size, len(kernel_size))


def chain(kernel_sizes: Sequence[int | Sequence[int]], kernel_size: Axes, name: str = "chain") -> Format:
    """Return a format without groups and with the given core sizes, which must add up to `kernel_size`.

    Args:
        kernel_sizes: the sizes of the cores, output side first, each an int or one int for each axis.
        kernel_size: the size of the whole kernel on each axis.
        name: the name in reports.

    Raises:
        TensorTrainError: the sizes are not positive integers, or those of the cores do not add up to `kernel_size`.

    >>> chain([3, (3, 1)], (5, 3)).kernel_sizes
    ((3, 3), (3, 1))
    """
    if isinstance(kernel_sizes, (str, int)) or not isinstance(kernel_sizes, Sequence) or not kernel_sizes:
        raise TensorTrainError(
            f'kernel_sizes = {kernel_sizes!r}; a sequence of core sizes, a Format, its name or "auto" is needed'
        )
    kernel_size = _checked(kernel_size)
    axes = len(kernel_size)
    sizes = tuple(checks.per_axis(f"kernel_sizes[{l}]", size, axes) for l, size in enumerate(kernel_sizes))
    chain_format = Format(sizes, (None,) * len(sizes), name)
    if chain_format.kernel_size != kernel_size:
        raise TensorTrainError(
            f"kernel_sizes = {tuple(kernel_sizes)} form a kernel of {chain_format.kernel_size}, but the weight has"
            f" {kernel_size}; Σ(k_l - 1) + 1 must equal its size on each axis"
        )
    return chain_format


def cttd(kernel_size: Axes, core: int | None = None) -> Format:
    """Return the paper's chain of equal cores (eq. 4); the last core is shorter if the length requires it.

    Args:
        kernel_size: size of the whole kernel on each axis.
        core: length of the cores, at least 2. By default 3, or 2 if no axis of the kernel is longer than 3, so that a
            3×3 kernel becomes a chain of two cores. A `core` as long as the kernel gives one core: the kernel itself.

    Raises:
        TensorTrainError: `kernel_size` holds no positive integers, or `core` is not an integer of at least 2.

    >>> [cttd(size).kernel_sizes for size in [(5, 5), (3, 3)]]
    [((3, 3), (3, 3)), ((2, 2), (2, 2))]
    >>> cttd((3, 3), core=3).kernel_sizes
    ((3, 3),)
    """
    kernel_size = _checked(kernel_size)
    if core is None:
        core = 3 if max(kernel_size) > 3 else 2
    checks.integer("core", core, minimum=2)
    left = [k - 1 for k in kernel_size]
    sizes: list[Axes] = []
    while any(left) or not sizes:
        steps = [min(core - 1, rest) for rest in left]
        sizes.append(tuple(s + 1 for s in steps))
        left = [rest - s for rest, s in zip(left, steps, strict=True)]
    return chain(sizes, kernel_size, "cttd")


def _along(kernel_size: Axes, axis: int) -> Axes:
    """Return the core size that has the length of the kernel on one axis and 1 on the others."""
    return tuple(k if i == axis else 1 for i, k in enumerate(kernel_size))


def _ones(kernel_size: Axes) -> Axes:
    """Return the core size of a single position."""
    return (1,) * len(kernel_size)


def tucker2(kernel_size: Axes) -> Format:
    """Return `1×1 | K×K | 1×1`, the Tucker decomposition over the channels.

    >>> tucker2((3, 3)).kernel_sizes
    ((1, 1), (3, 3), (1, 1))
    """
    kernel_size = _checked(kernel_size)
    return Format((_ones(kernel_size), kernel_size, _ones(kernel_size)), (None,) * 3, "tucker2")


def separable(kernel_size: Axes) -> Format:
    """Return `K×1 | 1×K`, one core for each spatial axis.

    >>> separable((5, 3)).kernel_sizes
    ((5, 1), (1, 3))
    """
    kernel_size = _checked(kernel_size)
    sizes = tuple(_along(kernel_size, axis) for axis in range(len(kernel_size)))
    return Format(sizes, (None,) * len(sizes), "separable")


def tt4(kernel_size: Axes) -> Format:
    """Return `1×1 | K×1 | 1×K | 1×1`, which in 2-D is the tensor train of the weight as a four-way tensor.

    >>> tt4((5, 3)).kernel_sizes
    ((1, 1), (5, 1), (1, 3), (1, 1))
    """
    cores = separable(kernel_size).kernel_sizes
    sizes = (_ones(kernel_size), *cores, _ones(kernel_size))
    return Format(sizes, (None,) * len(sizes), "tt4")


def cp(kernel_size: Axes) -> Format:
    """Return `1×1 | K×1 depthwise | 1×K depthwise | 1×1`, the canonical polyadic decomposition (CP, PARAFAC).

    >>> cp((5, 3)).blocks
    (None, (1, 1), (1, 1), None)
    """
    sizes = tt4(kernel_size).kernel_sizes
    return Format(sizes, (None, *[(1, 1)] * (len(sizes) - 2), None), "cp")


def depthwise(kernel_size: Axes) -> Format:
    """Return `1×1 | K×K depthwise | 1×1`, a depthwise convolution with channel mixing on both sides.

    >>> depthwise((5, 3)).blocks
    (None, (1, 1), None)
    """
    return block_term(kernel_size, 1, 1, name="depthwise")


def block_term(kernel_size: Axes, outputs: int = 2, inputs: int = 2, name: str | None = None) -> Format:
    """Return `1×1 | K×K in groups of inputs → outputs channels | 1×1`, the block-term decomposition.

    Args:
        kernel_size: the size of the kernel on each axis.
        outputs: output channels of each group of the middle core.
        inputs: input channels of each group of the middle core.
        name: the name in reports.

    Raises:
        TensorTrainError: `outputs`, `inputs` or a length in `kernel_size` is not a positive integer.

    >>> block_term((3, 3), 2, 1).groups((8, 6, 3, 6))
    (1, 3, 1)
    """
    kernel_size = _checked(kernel_size)
    block = (checks.integer("outputs", outputs), checks.integer("inputs", inputs))
    sizes = (_ones(kernel_size), kernel_size, _ones(kernel_size))
    return Format(sizes, (None, block, None), name or f"block_term({outputs}, {inputs})")


NAMED: dict[str, Callable[[Axes], Format]] = {
    "cttd": cttd,
    "tucker2": tucker2,
    "separable": separable,
    "tt4": tt4,
    "cp": cp,
    "depthwise": depthwise,
    "block_term": block_term,
}
