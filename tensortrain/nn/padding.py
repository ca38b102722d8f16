"""Distribute the stride and the zero padding of a convolution layer among its cores."""

from tensortrain.conv import alignment
from tensortrain.conv.conv_tensor_train import ConvTensorTrain

Axes = tuple[int, ...]


def stride_cores(chain: ConvTensorTrain, stride: Axes) -> Axes:
    """Return for each axis the core with the stride: the outermost core longer than 1, or innermost if transposed.

    If all cores are 1 long, the core that runs first gets the stride, so that the others see fewer pixels. In a
    transposed convolution, where the stride adds pixels, the core that runs last gets it.

    >>> import torch
    >>> chain = ConvTensorTrain([torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 1), torch.ones(1, 1, 1, 1)])
    >>> stride_cores(chain, (2, 2))
    (1, 2)
    """
    sizes = chain.kernel_sizes[::-1] if chain.transposed else chain.kernel_sizes
    steps = alignment.stride_steps(sizes, stride, [False] * chain.order)
    ends = [at if any(size[axis] > 1 for size in sizes) else chain.order for axis, at in enumerate(steps)]
    return tuple(chain.order - at if chain.transposed else at - 1 for at in ends)


def strides_and_paddings(
    chain: ConvTensorTrain, stride: Axes, padding: Axes, dilation: Axes
) -> tuple[list[Axes], list[Axes]]:
    """Return the stride and zero padding of each core such that together they act like those of the whole kernel.

    For example, two cores of size 3 form a kernel of size 5. With padding 2 the inner convolution, which runs first,
    pads 2 and the outer convolution 0. With padding 3 the inner convolution still pads 2, because a third zero on each
    side would only add zeros to its output. The outer convolution pads these zeros instead:

        image, padding 3        0 0 0 x x x x 0 0 0     the dense convolution returns 6 pixels
        the inner conv reads      0 0 x x x x 0 0       padding 2
        and returns                 y y y y y y
        the outer conv reads      0 y y y y y y 0       padding 1
        and returns                 z z z z z z         the same 6 pixels

    Padding 6 exceeds the reach of both cores together, which is 4, by 2. The inner convolution pads 2 and the outer one
    2 + 2, because the excess is padded by the core with the stride.

    The rule for each axis is as follows. Let S be the sum of `d (k - 1)` over the cores that have run, which is their
    reach. These cores pad min(P, S) of a padding P. Each core therefore pads the amount by which it increases
    min(P, S). The core with the stride also pads the amount by which P exceeds the reach of the whole chain. In a
    transposed convolution, which is the adjoint, padding crops and the first step has the stride; the rule holds with
    the cores in the opposite order.

    Returns:
        The strides and the paddings of all cores, output side first.

    >>> import torch
    >>> chain = ConvTensorTrain([torch.ones(1, 1, 3), torch.ones(1, 1, 3)])
    >>> [strides_and_paddings(chain, (1,), (padding,), (1,))[1] for padding in (2, 3, 6)]
    [[(0,), (2,)], [(1,), (2,)], [(4,), (2,)]]
    """
    at_core = stride_cores(chain, stride)
    # S at each bond, from the side where the convolution begins, or from the other side if transposed
    sizes = chain.kernel_sizes
    reach = alignment.reaches(sizes, dilation) if chain.transposed else alignment.reaches(sizes[::-1], dilation)[::-1]
    excess = [max(0, p - max(ends)) for p, *ends in zip(padding, reach[0], reach[-1], strict=True)]
    strides, paddings = [], []
    for l in range(chain.order):
        here = [at == l for at in at_core]
        strides.append(tuple(s if h else 1 for s, h in zip(stride, here, strict=True)))
        paddings.append(
            tuple(
                abs(min(p, outer) - min(p, inner)) + (e if h else 0)
                for p, outer, inner, e, h in zip(padding, reach[l], reach[l + 1], excess, here, strict=True)
            )
        )
    return strides, paddings
