"""Dynamic filter network: every pixel of the next frame is a weighted mean of pixels around it in the last one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.errors import ZooError
from zoo.recurrent import RecurrentPredictor

SLOPE = 0.01  # of the leaky ReLU after every convolution but the last


class DynamicFilterNetwork(RecurrentPredictor):
    """A small recurrent network draws a k×k filter for each pixel, with which the frame is filtered.

    The filter's taps are a softmax, so a prediction mixes the pixels that are there: it creates no ink and brightens
    none. The hidden state is the sum of what is read and of two convolutions of the state before, without any gate.

        frame → 5 convs ─→ + ─→ 5 convs, 2× → filters ─→ softmax ─→ filtered frame
                           ↑↓                                          ↑
                         h → 2 convs                                 frame

    De Brabandere et al., "Dynamic filter networks", NeurIPS 2016, section 4.2.

    Args:
        widths: channels of the convolutions at full, half and lowest level; (32, 64, 128) in the paper.
        filter_size: odd side k of the filters, 9 in the paper.
        dynamic_bias: draw one more map, which is added to the frame before it is filtered.
        channels: C of the frames; all colours are filtered alike.
    """

    def __init__(self, widths: Sequence[int], filter_size: int, dynamic_bias: bool, channels: int) -> None:
        super().__init__(channels, multiple=2)
        if len(widths) != 3 or min(widths) < 1:
            raise ZooError(f"widths = {list(widths)} must be three numbers of channels, each at least 1")
        if filter_size < 1 or filter_size % 2 == 0:
            raise ZooError(f"filter_size = {filter_size} must be odd, so that a filter has a centre")
        fine, coarse, deep = widths
        self.filter_size, self.hidden = filter_size, deep
        self.read_frame = nn.ModuleList(
            [
                SameConv2d(channels, fine, 3),
                nn.Conv2d(fine, fine, 3, stride=2, padding=1),
                SameConv2d(fine, coarse, 3),
                SameConv2d(coarse, coarse, 3),
                SameConv2d(coarse, deep, 3),
            ]
        )
        self.read_state = nn.ModuleList([SameConv2d(deep, deep, 3), SameConv2d(deep, deep, 3)])
        self.decode_coarse = nn.ModuleList([SameConv2d(deep, coarse, 3), SameConv2d(coarse, coarse, 3)])
        self.decode_fine = nn.ModuleList(
            [SameConv2d(coarse, coarse, 3), SameConv2d(coarse, coarse, 3), SameConv2d(coarse, deep, 1)]
        )
        self.filters = SameConv2d(deep, filter_size**2 + int(dynamic_bias), 1)

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Zeros, `(B, C, H / 2, W / 2)`."""
        return torch.zeros(batch, self.hidden, size[0] // 2, size[1] // 2, device=device, dtype=dtype)

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step by step over frames `(T, B, C, H, W)`; what does not depend on the state, for all frames at once."""
        seen = _through(self.read_frame, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        states = []
        for at_once in seen:
            state = at_once + _through(self.read_state, state)
            states.append(state)
        coarse = _through(self.decode_coarse, torch.cat(states))
        drawn = self.filters(_through(self.decode_fine, doubled(coarse)))
        predictions = filter_frames(frames.flatten(0, 1), drawn, self.filter_size)
        return predictions.unflatten(0, frames.shape[:2]), state


def filter_frames(frames: Tensor, drawn: Tensor, size: int) -> Tensor:
    """Filter each pixel of frames by a softmax of its own.

        X'[y, x] = Σ_ab softmax(F[:, y, x])[a, b] · X[y + a − k // 2, x + b − k // 2],  zeros outside

    Args:
        frames: `(N, C, H, W)`.
        drawn: `(N, k², H, W)`, the logits of the taps, row by row; one more channel is added to the frame beforehand.
        size: k.

    A filter whose centre has all the weight changes nothing:

    >>> drawn = torch.zeros(1, 9, 4, 4)
    >>> drawn[:, 4] = 1e4
    >>> frame = torch.rand(1, 1, 4, 4)
    >>> torch.equal(filter_frames(frame, drawn, 3), frame)
    True
    """
    taps = size**2
    if drawn.shape[1] > taps:
        frames = frames + drawn[:, taps:]
    weights = drawn[:, :taps].softmax(1, dtype=torch.promote_types(drawn.dtype, torch.float32))
    count, channels, height, width = frames.shape
    around = F.unfold(frames.to(weights.dtype), size, padding=size // 2).view(count, channels, taps, height, width)
    return torch.einsum("nkhw,nckhw->nchw", weights, around).to(frames.dtype)


def doubled(maps: Tensor) -> Tensor:
    """Each pixel four times, twice each way. The backward pass is a plain sum, the same bits every time on a GPU too.

    >>> doubled(torch.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """
    count, channels, height, width = maps.shape
    copies = maps[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
    return copies.reshape(count, channels, 2 * height, 2 * width)


def _through(convs: nn.ModuleList, x: Tensor) -> Tensor:
    """The convolutions one after the other, each followed by a leaky ReLU."""
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
    return x
