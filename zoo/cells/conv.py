"""The convolution that cells and networks are built from."""

import math

import torch
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """A zero-padded 2-D convolution that keeps the size of its input and computes in the channels-last layout.

    In this layout a CPU need not reorder tensors for convolutions in bfloat16. The parameters are held and saved in the
    ordinary contiguous layout, and `forward` converts them. In training on a GPU they are converted once, by
    `zoo.training.devices.keep_channels_last`.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: side k of the square kernel. If k is even, one more zero is padded after the input than before it.
        bias: whether to add a bias to each output channel. It is initialised with zero.
        bound: the weights are initialised uniformly in [-bound, bound]; the default is Glorot's bound.
        dilation: distance in pixels between neighbouring taps of the kernel.

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
        # set before Conv2d's constructor, which calls `reset_parameters`
        self.bound = glorot_bound(inputs, outputs, kernel) if bound is None else bound
        super().__init__(inputs, outputs, kernel, padding="same", bias=bias, dilation=dilation)

    def reset_parameters(self) -> None:
        """Initialise the weights at random and the bias with zero."""
        nn.init.uniform_(self.weight, -self.bound, self.bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, self.weight))
        if x.shape[1] == 1:  # both layouts have the same strides then, and torch would return the contiguous one
            x = x.squeeze(1)[..., None].movedim(3, 1)
        y: Tensor = self._conv_forward(x, weight, self.bias)
        return y


def glorot_bound(inputs: int, outputs: int, kernel: int) -> float:
    """Glorot's bound for the uniform initial weights of a convolution with a square kernel.

    If several convolutions are the parts of a wider one, `inputs` is the number of input channels of all parts.

    >>> glorot_bound(inputs=2, outputs=4, kernel=1)
    1.0
    """
    return math.sqrt(6 / (kernel**2 * (inputs + outputs)))
