"""How a conv layer distributes stride and zero padding among its cores."""

from tensortrain.conv import alignment
from tensortrain.conv.conv_tensor_train import ConvTensorTrain

Axes = tuple[int, ...]


def stride_cores(chain: ConvTensorTrain, stride: Axes) -> Axes:
    """For each axis the core that takes the stride: the outermost longer than 1 there, the innermost if transposed.

    Where all cores are 1 long, the one that runs first takes it, so that the others see fewer pixels; in a transposed
    convolution, whose stride adds pixels, the one that runs last.

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
    """Stride and zero padding of each core, so that together they act as those of the composed kernel.

    Cores of 3 + 3 pixels make a kernel of 5. With padding 2 the inner conv, which runs first, pads 2 and the outer
    conv 0. With padding 3 the inner conv still pads 2, since a third zero on each side would only add pixels that are
    zero to its output. The outer conv pads these pixels instead:

        image, padding 3        0 0 0 x x x x 0 0 0     the dense conv reads this and returns 6 pixels
        the inner conv reads      0 0 x x x x 0 0       padding 2
        and returns                 y y y y y y
        the outer conv reads      0 y y y y y y 0       padding 1
        and returns                 z z z z z z         the same 6 pixels

    Padding 6 exceeds the reach of both cores together, which is 4, by 2. The inner conv pads 2 and the outer
    2 + 2: what is left over goes to the core that takes the stride.

    The rule, on each axis: after the cores that reach S pixels together, the sum of `d (k - 1)`, min(P, S) of a
    padding by P have been used. So each core pads by what it adds to min(P, S), and the core that takes the stride
    also by what P exceeds the reach of the whole chain. In a transposed convolution, the adjoint, padding crops and
    the first step takes the stride; the same holds with the cores in the opposite order.

    Returns:
        Strides and paddings, each for every core, output side first.

    >>> import torch
    >>> chain = ConvTensorTrain([torch.ones(1, 1, 3), torch.ones(1, 1, 3)])
    >>> [strides_and_paddings(chain, (1,), (padding,), (1,))[1] for padding in (2, 3, 6)]
    [[(0,), (2,)], [(1,), (2,)], [(4,), (2,)]]
    """
    at_core = stride_cores(chain, stride)
    # S at each bond, from the side where the convolution begins; of a transposed chain from the other one
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
