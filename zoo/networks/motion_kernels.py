"""CDNA: a recurrent network that predicts how pixels move, as a few kernels that are shared by all of them."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell
from zoo.errors import ZooError
from zoo.recurrent import RecurrentPredictor

Padding = Literal["centred", "tensorflow"]
LEAST = 1e-12  # by which a kernel's taps are kept above zero before they are divided by their sum


class HalvingConv2d(nn.Conv2d):
    """A convolution of stride 2 that halves the maps, padded evenly or, as TensorFlow's "SAME", by less before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: Padding, bias: bool = True) -> None:
        centred = padding == "centred"
        super().__init__(inputs, outputs, kernel, stride=2, padding=kernel // 2 if centred else 0, bias=bias)
        self.before_and_after = (0, 0) if centred else ((kernel - 2) // 2, (kernel - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H / 2, W / 2)`."""
        return super().forward(F.pad(x, 2 * self.before_and_after))


class DoublingConv2d(nn.ConvTranspose2d):
    """The transposed 3×3 convolution of stride 2 that doubles the maps; the paddings are those of `HalvingConv2d`."""

    def __init__(self, inputs: int, outputs: int, padding: Padding, bias: bool = True) -> None:
        self.centred = padding == "centred"
        inside = int(self.centred)
        super().__init__(inputs, outputs, 3, stride=2, padding=inside, output_padding=inside, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, 2H, 2W)`."""
        y: Tensor = super().forward(x, output_size)
        return y if self.centred else y[..., :-1, :-1]


class NormedLSTM(nn.Module):
    """A ConvLSTM with forget bias 1, whose h is normalised over channels and pixels on its way up, not in the state."""

    def __init__(self, inputs: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.cell = ConvLSTMCell(inputs, hidden, 5, forget_bias=1.0)
        self.norm = nn.GroupNorm(1, hidden, eps)

    def run(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All time steps of `(T, B, inputs, H, W)`: the normalised h of each, and the last state."""
        hs, state = self.cell.run(xs, state)
        return self.norm(hs.flatten(0, 1)).unflatten(0, hs.shape[:2]), state


class MotionKernelNetwork(RecurrentPredictor):
    """Moves the pixels of the last frame by kernels, and paints what no kernel can move.

    A network of seven ConvLSTMs at three resolutions draws, for each step, J kernels, a new frame G, and masks. Each
    kernel is non-negative and sums to 1. The prediction is their mixture, so it stays within [0, 1]:

        X' = m₀ ∘ X + m₁ ∘ G + Σ_j m_{j+1} ∘ (K_j * X),    Σ m = 1 at every pixel

    The kernels come from a linear map of the whole lowest map, so a network is made for one size of frames.

    Finn, Goodfellow and Levine, "Unsupervised learning for physical interaction through video prediction", NeurIPS
    2016, section 3; without actions.

    Args:
        widths: channels of the ConvLSTMs at a half, a quarter and an eighth of the resolution; (32, 64, 128).
        kernels: J.
        canvas: height and width of the frames, multiples of 8.
        channels: C of the frames; all colours are moved alike.
        padding: of the convolutions of stride 2. "tensorflow" is that of the authors' code; the paper does not say.
        eps: of the layer norms; 1e-12 in the authors' code.
        all_masks: False leaves out the last mask, as the authors' code does: its last kernel is then never used.
        rectified: apply a ReLU to G and to the masks before their own nonlinearities, as the authors' code does.
    """

    def __init__(
        self,
        widths: Sequence[int],
        kernels: int,
        canvas: Sequence[int],
        channels: int,
        padding: Padding = "centred",
        eps: float = 1e-5,
        all_masks: bool = True,
        rectified: bool = False,
    ) -> None:
        super().__init__(channels, multiple=8)
        if len(widths) != 3 or min(widths) < 1:
            raise ZooError(f"widths = {list(widths)} must be three numbers of channels, each at least 1")
        if kernels < 1:
            raise ZooError(f"kernels = {kernels} must be at least 1")
        if len(canvas) != 2 or min(canvas) < 8 or canvas[0] % 8 or canvas[1] % 8:
            raise ZooError(f"canvas = {list(canvas)} must be the height and the width of the frames, multiples of 8")
        self.canvas, self.kernels, self.rectified = (int(canvas[0]), int(canvas[1])), kernels, rectified
        fine, coarse, deep = widths
        self.widths = (fine, coarse, deep)
        self.conv1 = HalvingConv2d(channels, fine, 5, padding, bias=False)
        self.norm1 = nn.GroupNorm(1, fine, eps)
        self.conv2 = HalvingConv2d(fine, fine, 3, padding)
        self.conv3 = HalvingConv2d(coarse, coarse, 3, padding)
        self.conv4 = SameConv2d(coarse, coarse, 1)
        inputs = (fine, fine, fine, coarse, coarse, deep, coarse + fine)
        hidden = (fine, fine, coarse, coarse, deep, coarse, fine)
        self.lstms = nn.ModuleList(NormedLSTM(i, h, eps) for i, h in zip(inputs, hidden, strict=True))
        self.up1 = DoublingConv2d(deep, deep, padding)
        self.up2 = DoublingConv2d(coarse + fine, coarse + fine, padding)
        self.up3 = DoublingConv2d(2 * fine, 2 * fine, padding, bias=False)
        self.norm3 = nn.GroupNorm(1, 2 * fine, eps)
        self.paint = SameConv2d(2 * fine, channels, 1)
        self.masks = SameConv2d(2 * fine, kernels + 1 + int(all_masks), 1)
        self.draw = nn.Linear(deep * (self.canvas[0] // 8) * (self.canvas[1] // 8), 25 * kernels)

    def check_size(self, height: int, width: int) -> None:
        """The frames must have the size of the canvas."""
        if (height, width) != self.canvas:
            raise ZooError(
                f"frames of {height}×{width} pixels do not fit a model made for {self.canvas[0]}×{self.canvas[1]}; "
                f"make one with canvas = [{height}, {width}]"
            )

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Any:
        """The state of each ConvLSTM: zeros."""
        scales = (2, 2, 4, 4, 8, 4, 2)
        return tuple(
            lstm.cell.initial_state(batch, (size[0] // scale, size[1] // scale), device, dtype)
            for lstm, scale in zip(self.layers, scales, strict=True)
        )

    @property
    def layers(self) -> list[NormedLSTM]:
        """The ConvLSTMs in the order in which they run."""
        return list(cast("list[NormedLSTM]", self.lstms))

    def read(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Layer by layer, each over all frames `(T, B, C, H, W)`."""
        steps = frames.shape[:2]
        after = []

        def recur(x: Tensor, *layers: int) -> Tensor:
            """ConvLSTMs one after the other, over maps `(T · B, c, h, w)`."""
            xs = x.unflatten(0, steps)
            for layer in layers:
                xs, end = self.layers[layer].run(xs, state[layer])
                after.append(end)
            flat: Tensor = xs.flatten(0, 1)
            return flat

        x = frames.flatten(0, 1)
        half = F.relu(self.norm1(self.conv1(x)))
        quarter = F.relu(self.conv2(recur(half, 0, 1)))
        eighth = F.relu(self.conv4(F.relu(self.conv3(recur(quarter, 2, 3)))))
        lowest = recur(eighth, 4)
        up = recur(F.relu(self.up1(lowest)), 5)
        up = recur(F.relu(self.up2(torch.cat([up, quarter], 1))), 6)
        up = F.relu(self.norm3(self.up3(torch.cat([up, half], 1))))
        paint, masks = self.paint(up), self.masks(up)
        if self.rectified:
            paint, masks = F.relu(paint), F.relu(masks)
        kernels = normalised(self.draw(lowest.flatten(1)).unflatten(1, (self.kernels, 5, 5)))
        moved = move(x, kernels)
        shares = masks.softmax(1, dtype=torch.promote_types(masks.dtype, torch.float32)).to(x.dtype)[:, :, None]
        layers = torch.cat([x[:, None], torch.sigmoid(paint)[:, None].to(x.dtype), moved.to(x.dtype)], 1)
        predictions = (shares * layers[:, : shares.shape[1]]).sum(1)
        return predictions.unflatten(0, steps), tuple(after)


def normalised(kernels: Tensor) -> Tensor:
    """Kernels `(N, J, k, k)` made non-negative, each with sum 1.

    >>> normalised(torch.tensor([[[[1.0, 3.0], [-2.0, 0.0]]]])).round(decimals=6)
    tensor([[[[0.2500, 0.7500],
              [0.0000, 0.0000]]]])
    """
    positive = F.relu(kernels - LEAST) + LEAST
    return positive / positive.sum((-1, -2), keepdim=True)


def move(frames: Tensor, kernels: Tensor) -> Tensor:
    """Filter each frame by its own kernels, with zeros outside.

    Args:
        frames: `(N, C, H, W)`.
        kernels: `(N, J, k, k)`, k odd.

    Returns:
        `(N, J, C, H, W)`: every colour filtered by every kernel.
    """
    count, channels = frames.shape[:2]
    each = kernels[:, None].expand(-1, channels, -1, -1, -1).flatten(0, 2)[:, None]
    # one convolution whose groups are the colours of all frames
    flat = frames.reshape(1, count * channels, *frames.shape[2:]).to(each.dtype)
    filtered = F.conv2d(flat, each, padding=kernels.shape[-1] // 2, groups=count * channels)
    return filtered.view(count, channels, kernels.shape[1], *frames.shape[2:]).transpose(1, 2)
