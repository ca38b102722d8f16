"""Dynamic filter network: each pixel of the next frame is a weighted mean of nearby pixels of the last frame."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor

SLOPE = 0.01  # of the leaky ReLU after every convolution except the last


class DynamicFilterNetwork(RecurrentPredictor):
    """A small recurrent network computes a k×k filter for each pixel, and the last frame is filtered with these.

    The weights of a filter are a softmax, so each predicted pixel is a mean of the pixels that are filtered. Without
    `dynamic_bias` these are the last frame's, so no pixel gets brighter than the brightest one near it. The hidden
    state is the sum of what is read from the frame and of two convolutions of the previous state, without any gate.

        frame → 5 convs ─→ + ─→ 5 convs, 2× → filters ─→ softmax ─→ filtered frame
                           ↑↓                                          ↑
                         h → 2 convs                                 frame

    De Brabandere et al., "Dynamic filter networks", NeurIPS 2016, section 4.2.

    Args:
        widths: channels of the convolutions at full resolution, half resolution, and at the deepest level; (32, 64,
            128) in the paper.
        filter_size: side k of the filters, an odd number; 9 in the paper.
        dynamic_bias: whether to compute one more map, which is added to the frame before it is filtered.
        centre_bias: a number that is added to the initial logit of each filter's centre. With 0, an untrained network
            averages all k² pixels; with 6 and k = 9, five sixths of each pixel come from the same place of the last
            frame.
        channels: C of the frames; all channels are filtered with the same filters.

    Raises:
        ZooError: if `widths` or `filter_size` is not as above.
    """

    def __init__(
        self, widths: Sequence[int], filter_size: int, dynamic_bias: bool, centre_bias: float, channels: int
    ) -> None:
        super().__init__(channels, multiple=2)
        if len(widths) != 3 or min(widths) < 1:
            raise ZooError(f"widths = {list(widths)} must be three numbers of channels, each at least 1")
        if filter_size < 1 or filter_size % 2 == 0:
            raise ZooError(f"filter_size = {filter_size} must be odd and at least 1, so that a filter has a centre")
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
        with torch.no_grad():
            self.filters.get_parameter("bias")[filter_size**2 // 2] += centre_bias

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Zeros, `(B, hidden, H / 2, W / 2)`, with `hidden` the channels at the deepest level."""
        return torch.zeros(batch, self.hidden, size[0] // 2, size[1] // 2, device=device, dtype=dtype)

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read frames `(T, B, C, H, W)`. All that does not depend on the state is computed for all frames at once."""
        seen = _through(self.read_frame, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        states = []
        for at_once in seen:
            state = at_once + _through(self.read_state, state)
            states.append(state)
        coarse = _through(self.decode_coarse, torch.cat(states))
        drawn = self.filters(_through(self.decode_fine, doubled(coarse)))
        pixels = self.denormalized(frames.flatten(0, 1))  # filters read true pixels, and outside the frame is black
        predictions = self.normalized(filter_frames(pixels, drawn, self.filter_size))
        return predictions.unflatten(0, frames.shape[:2]), state


def filter_frames(frames: Tensor, drawn: Tensor, size: int) -> Tensor:
    """Filter frames with a different filter at each pixel, whose weights are a softmax.

        X'[y, x] = Σ_ab softmax(F[:, y, x])[a, b] · X[y + a − k // 2, x + b − k // 2],  zeros outside

    Args:
        frames: the frames to filter, `(N, C, H, W)`.
        drawn: the logits of the filters, row by row, `(N, k², H, W)`. If there is one more channel, it is added to the
            frame before filtering.
        size: side k of the filters.

    Returns:
        The filtered frames, `(N, C, H, W)`.

    A filter whose weight is all in its centre changes nothing:

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
    """Double height and width by repeating each pixel. The backward pass sums in a fixed order, also on a GPU.

    >>> doubled(torch.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """
    count, channels, height, width = maps.shape
    copies = maps[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
    return copies.reshape(count, channels, 2 * height, 2 * width)


def _through(convs: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply the convolutions one after the other, each followed by a leaky ReLU."""
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
    return x
