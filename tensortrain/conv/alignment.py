"""The alignment rule, which says what part of its input each step of a convolutional chain reads and writes.

On each axis W(l) has length K_l. With dilation d its reach is `E_l = d (K_l - 1)` pixels, and `E_0 = 0`. Dense "same"
padding adds `lead_l = E_l // 2` zeros before and `tail_l = E_l - lead_l` zeros after. Step l of the chain pads the
difference to step l-1, so chains of even cores are not shifted.

Every map V(l) is described by its *margins*: the numbers of pixels by which it extends past the common frame of the
inputs U(l), before and after, on each axis. Negative margins mean cropping. Margins do not depend on the image size, so
`torch.export` with a dynamic size works. The following example shows one axis of three cores of length 3 under "same",
with U(3) on a frame of 8 pixels. `·` marks pixels past the frame and `+` the zeros that T(3) pads:

    U(3)     + + x x x x x x x x + +      W(3) reaches E_3 = 6: 3 before, 3 after
    V(2)       · x x x x x x x x ·        (1, 1): T(2) and T(1) could use (2, 2), but all pixels beyond 1 are zero
    V(1)       · x x x x x x x x ·        (1, 1): the region that T(1) reads
    V(0)         x x x x x x x x          (0, 0): the result

"same_per_step" crops every map to the frame. It loses the `·` of V(2) and V(1), so the result is not exact near the
border. "full" keeps all pixels that can be non-zero, so V(0) has the margin (3, 3). "valid" reads no zeros, so V(0) has
the margin (-3, -3).
"""

from collections.abc import Sequence

from tensortrain import checks
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]
Margin = tuple[tuple[int, int], ...]

PADDINGS = ("same", "same_per_step", "valid", "full", "circular")


def whole_size(kernel_sizes: Sequence[Axes]) -> Axes:
    """Return the length of the whole kernel on each axis, `Σ_l (k_l - 1) + 1`.

    >>> whole_size([(3, 2), (3, 1)])
    (5, 2)
    """
    return tuple(sum(k - 1 for k in axis) + 1 for axis in zip(*kernel_sizes, strict=True))


def reaches(kernel_sizes: Sequence[Axes], dilation: Axes) -> list[Axes]:
    """Return the reaches `E_0 … E_m` of W(0) … W(m), each for every axis."""
    reach = [(0,) * len(dilation)]
    for size in kernel_sizes:
        reach.append(tuple(e + d * (k - 1) for e, d, k in zip(reach[-1], dilation, size, strict=True)))
    return reach


def step_padding(kernel_sizes: Sequence[Axes], dilation: Axes) -> list[Margin]:
    """Return the padding (before, after) per axis of each step l = 1 … m under "same" and "circular".

    >>> step_padding([(2,), (2,)], (1,))
    [((0, 1),), ((1, 0),)]
    """
    reach = reaches(kernel_sizes, dilation)
    steps = []
    for inner, outer in zip(reach[1:], reach[:-1], strict=True):
        before = [e // 2 - f // 2 for e, f in zip(inner, outer, strict=True)]
        steps.append(tuple((b, e - f - b) for b, e, f in zip(before, inner, outer, strict=True)))
    return steps


def border(kernel_sizes: Sequence[Axes], dilation: Axes) -> Margin:
    """Return the width (before, after) per axis of the border in which "same_per_step" differs from the dense result.

    For odd cores both widths are `d Σ_{l<m} (k_l - 1)/2`, because every map except U(m) is cropped to the frame.

    >>> border([(3, 3), (3, 3), (3, 3)], (1, 1))
    ((2, 2), (2, 2))
    """
    return tuple((e // 2, e - e // 2) for e in reaches(kernel_sizes, dilation)[-2])


def margins(
    kernel_sizes: Sequence[Axes],
    dilation: Axes,
    padding: str,
    *,
    top: int,
    stop: int = 0,
    biased: Sequence[bool] | None = None,
) -> list[Margin]:
    """Return the margins of V(0) … V(m), of which only `stop … top` are used, in one padding mode.

    Args:
        kernel_sizes: for each core, output side first, its length on each axis.
        dilation: the dilation for each axis.
        padding: one of `PADDINGS`.
        top: the largest l for which there is an input U(l).
        stop: the index of the last map V(stop) of the chain.
        biased: for each core whether it has a bias. Under "same", a map without the contribution of any bias is zero
            outside its support, so only its needed and non-zero part is computed.
    """
    reach = reaches(kernel_sizes, dilation)
    order = len(kernel_sizes)
    touched = [False] * (order + 1)
    for l in reversed(range(order)):
        touched[l] = touched[l + 1] or bool(biased and biased[l])

    def margin(l: int, axis: int) -> tuple[int, int]:
        """Return the margin of V(l) on one axis."""

        def lead(i: int) -> int:
            """Return the padding before the frame for W(i)."""
            return reach[i][axis] // 2

        def tail(i: int) -> int:
            """Return the padding after the frame for W(i)."""
            return reach[i][axis] - lead(i)

        if padding == "full":
            return tail(order) - tail(l), lead(order) - lead(l)
        if padding == "valid":
            return lead(l) - lead(order), tail(l) - tail(order)
        if padding == "same":
            before, after = lead(l) - lead(stop), tail(l) - tail(stop)
            if touched[l]:
                return before, after
            return min(before, tail(top) - tail(l)), min(after, lead(top) - lead(l))
        return 0, 0

    axes = range(len(dilation))
    return [tuple(margin(l, axis) for axis in axes) for l in range(order + 1)]


def stride_steps(kernel_sizes: Sequence[Axes], stride: Axes, present: Sequence[bool]) -> list[int]:
    """Return for each axis the step l with the stride: that of the outermost core longer than 1 on the axis.

    If an input joins the chain outside that core, it still has its full size; then T(1) has the stride.
    `present[l - 1]` is true if there is an input U(l).

    >>> stride_steps([(1, 1), (3, 1), (1, 3), (1, 1)], (2, 2), [False, False, False, True])
    [2, 3]
    """
    steps = []
    for axis in range(len(stride)):
        l = next((i for i, size in enumerate(kernel_sizes, start=1) if size[axis] > 1), 1)
        steps.append(1 if any(present[: l - 1]) else l)
    return steps


def step_sizes(
    kernel_sizes: Sequence[Axes], size: Axes, padding: str, stride: Axes, dilation: Axes, present: Sequence[bool]
) -> list[Axes]:
    """Return the sizes of V(0) … V(m-1), the outputs of the steps l = 1 … m, for inputs of `size`.

    >>> step_sizes([(3,), (3,)], (8,), "full", (1,), (1,), [False, True])
    [(12,), (10,)]
    """
    top = max(l for l, there in enumerate(present, start=1) if there)
    extent = margins(kernel_sizes, dilation, padding, top=top)
    strided = stride_steps(kernel_sizes, stride, present)
    sizes = []
    for l in range(len(kernel_sizes)):
        lengths = [n + b + a for n, (b, a) in zip(size, extent[l], strict=True)]
        sizes.append(tuple(-(-n // s) if l < at else n for n, s, at in zip(lengths, stride, strided, strict=True)))
    return sizes


def output_sizes(
    kernel_sizes: Sequence[Axes],
    size: int | Sequence[int],
    padding: str,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    transposed: bool = False,
) -> list[Axes]:
    """Return the output sizes of the steps l = 1 … m of a chain whose only input is U(m), for images of `size`.

    A transposed chain first inserts zeros into its input according to the stride, and then takes steps of stride 1.

    Raises:
        TensorTrainError: an argument is out of range, or the image is smaller than the kernel under "valid".

    >>> output_sizes([(3,), (3,)], 8, "valid", 1, 1)
    [(4,), (6,)]
    """
    axes = len(kernel_sizes[0])
    checks.choice("padding", padding, PADDINGS)
    image = checks.per_axis("size", size, axes)
    strides = checks.per_axis("stride", stride, axes)
    if transposed:
        image, strides = tuple((n - 1) * s + 1 for n, s in zip(image, strides, strict=True)), (1,) * axes
    present = [False] * (len(kernel_sizes) - 1) + [True]
    dilations = checks.per_axis("dilation", dilation, axes)
    sizes = step_sizes(kernel_sizes, image, padding, strides, dilations, present)
    if min(sizes[0]) < 1:
        raise TensorTrainError(f'size = {image} is smaller than the kernel; use padding="same"')
    return sizes
