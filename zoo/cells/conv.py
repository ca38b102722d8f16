"""The one kind of convolution that cells and networks are made of."""

import math

import torch
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A zero-padded convolution that keeps the size of its input and computes with channels last.

    With channels last a CPU need not reorder tensors for a convolution in bfloat16. Parameters keep their ordinary,
    contiguous layout, in which they are also saved; `forward` brings them into the other one. In training on a GPU
    they have it already (`zoo.training.devices.keep_channels_last`).

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel: side k of the square kernel. If k is even, one more zero is padded after the input than before it.
        bias: add a bias for each output channel. It begins at zero.
        bound: the weights begin uniformly within ± this; by default Glorot's bound.
        dilation: distance between neighbouring taps.

    >>> SameConv2d(1, 4, kernel=3)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        bias: bool = True,
        bound: float | None = None,
        dilation: int = 1,
    ) -> None:
        # set before the constructor of Conv2d, which draws the first weights by `reset_parameters`
        self.bound = glorot_bound(inputs, outputs, kernel) if bound is None else bound
        super().__init__(inputs, outputs, kernel, padding="same", bias=bias, dilation=dilation)

    def reset_parameters(self) -> None:
        """Draw the weights anew, and set the bias to zero."""
        nn.init.uniform_(self.weight, -self.bound, self.bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, self.weight))
        if x.shape[1] == 1:  # then both layouts are the same, and torch would return the other one
            x = x.squeeze(1)[..., None].movedim(3, 1)
        y: Tensor = self._conv_forward(x, weight, self.bias)
        return y


def glorot_bound(inputs: int, outputs: int, kernel: int) -> float:
    """Glorot's bound for the uniform first weights of a convolution with a square kernel.

    Where several convolutions are the parts of a wider one, `inputs` counts the input channels of all parts.

    >>> glorot_bound(inputs=2, outputs=4, kernel=1)
    1.0
    """
    return math.sqrt(6 / (kernel**2 * (inputs + outputs)))
