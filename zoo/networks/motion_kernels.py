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
Motion = Literal["cdna", "dna", "stp"]
SIDE = 5  # of every kernel
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

    The kernels come from a linear map of the whole lowest map, so a network is made for one size of frames. Its two
    siblings move pixels in other ways: STP by J affine maps in the place of the kernels, which come from the lowest map
    too, and DNA by one kernel for each pixel, drawn at full resolution, without a painted frame.

    Finn, Goodfellow and Levine, "Unsupervised learning for physical interaction through video prediction", NeurIPS
    2016, section 3; without actions.

    Args:
        widths: channels of the ConvLSTMs at a half, a quarter and an eighth of the resolution; (32, 64, 128).
        kernels: J; without effect in DNA.
        canvas: height and width of the frames, multiples of 8.
        channels: C of the frames; all colours are moved alike.
        padding: how convolutions of stride 2 are padded. The authors' code uses "tensorflow"; the paper does not say.
        eps: number added to the variance in layer norms; 1e-12 in the authors' code.
        all_masks: False leaves out the last mask, as the authors' code does: its last kernel is then never used.
        rectified: apply a ReLU to G and to the masks before their own nonlinearities, as the authors' code does.
        motion: "cdna", "dna" or "stp".
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
        motion: Motion = "cdna",
    ) -> None:
        super().__init__(channels, multiple=8)
        if len(widths) != 3 or min(widths) < 1:
            raise ZooError(f"widths = {list(widths)} must be three numbers of channels, each at least 1")
        if kernels < 1:
            raise ZooError(f"kernels = {kernels} must be at least 1")
        if len(canvas) != 2 or min(canvas) < 8 or canvas[0] % 8 or canvas[1] % 8:
            raise ZooError(f"canvas = {list(canvas)} must be the height and the width of the frames, multiples of 8")
        if motion not in ("cdna", "dna", "stp"):
            raise ZooError(f'motion = {motion!r} must be "cdna", "dna" or "stp"')
        self.canvas, self.kernels, self.rectified = (int(canvas[0]), int(canvas[1])), kernels, rectified
        self.motion = motion
        if motion == "stp":
            self.unrepeatable = "grid_sample"
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
        per_pixel = motion == "dna"
        self.paint = None if per_pixel else SameConv2d(2 * fine, channels, 1)
        self.masks = SameConv2d(2 * fine, 2 if per_pixel else kernels + 1 + int(all_masks), 1)
        lowest = deep * (self.canvas[0] // 8) * (self.canvas[1] // 8)
        self.draw: nn.Module
        if motion == "stp":  # with as many units in between as the authors' code has
            self.draw = nn.Sequential(nn.Linear(lowest, 100), nn.ReLU(), nn.Linear(100, 6 * kernels))
        else:
            self.draw = SameConv2d(2 * fine, SIDE**2, 1) if per_pixel else nn.Linear(lowest, SIDE**2 * kernels)

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
        masks = F.relu(self.masks(up)) if self.rectified else self.masks(up)
        layers = [x[:, None]]
        if self.paint is not None:
            paint = F.relu(self.paint(up)) if self.rectified else self.paint(up)
            layers.append(torch.sigmoid(paint)[:, None])
        layers.append(self._moved(x, up, lowest))
        mixed = torch.cat([layer.to(x.dtype) for layer in layers], 1)
        shares = masks.softmax(1, dtype=torch.promote_types(masks.dtype, torch.float32)).to(x.dtype)[:, :, None]
        predictions = (shares * mixed[:, : shares.shape[1]]).sum(1)
        return predictions.unflatten(0, steps), tuple(after)

    def _moved(self, frames: Tensor, up: Tensor, lowest: Tensor) -> Tensor:
        """The frames `(N, C, H, W)` as each transformation moves them, `(N, J, C, H, W)`."""
        if self.motion == "dna":
            return move_each_pixel(frames, normalised(self.draw(up).movedim(1, -1).unflatten(-1, (SIDE, SIDE))))
        drawn = self.draw(lowest.flatten(1)).unflatten(1, (self.kernels, -1))
        if self.motion == "stp":
            return move_affinely(frames, drawn.unflatten(2, (2, 3)))
        return move(frames, normalised(drawn.unflatten(2, (SIDE, SIDE))))


def normalised(kernels: Tensor) -> Tensor:
    """Kernels `(…, k, k)` made non-negative, each with sum 1.

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


def move_each_pixel(frames: Tensor, kernels: Tensor) -> Tensor:
    """Filter each pixel by a kernel of its own, with zeros outside.

    Args:
        frames: `(N, C, H, W)`.
        kernels: `(N, H, W, k, k)`, k odd.

    Returns:
        `(N, 1, C, H, W)`: every colour filtered alike.

    >>> look_left = torch.zeros(1, 1, 3, 3, 3)
    >>> look_left[..., 1, 0] = 1
    >>> move_each_pixel(torch.tensor([[[[1.0, 2.0, 3.0]]]]), look_left)
    tensor([[[[[0., 1., 2.]]]]])
    """
    count, channels, height, width = frames.shape
    size = kernels.shape[-1]
    around = F.unfold(frames.to(kernels.dtype), size, padding=size // 2).view(count, channels, -1, height, width)
    filtered: Tensor = torch.einsum("nhwk,nckhw->nchw", kernels.flatten(-2), around)
    return filtered[:, None]


def move_affinely(frames: Tensor, changes: Tensor) -> Tensor:
    """Sample each frame along affine maps, bilinearly, with zeros outside.

    On a GPU the backward pass adds up in no fixed order, so that it does not give the same bits twice.

    Args:
        frames: `(N, C, H, W)`.
        changes: `(N, J, 2, 3)`, what is added to the identity; coordinates (x, y, 1) count from -1 to 1 between the
            outer edges of a frame.

    Returns:
        `(N, J, C, H, W)`.

    Without a change nothing moves; a shift by a third of the width looks at the next of three pixels, by two thirds of
    the coordinate:

    >>> shift = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2 / 3], [0.0, 0.0, 0.0]]).view(1, 2, 2, 3)
    >>> move_affinely(torch.tensor([[[[1.0, 2.0, 3.0]]]]), shift).flatten(1, 3).round(decimals=4)
    tensor([[[1., 2., 3.],
             [2., 3., 0.]]])
    """
    count, maps = changes.shape[:2]
    changes = changes.to(torch.promote_types(changes.dtype, torch.float32))
    identity = torch.eye(2, 3, dtype=changes.dtype, device=changes.device)
    copies = frames.to(changes.dtype)[:, None].expand(-1, maps, -1, -1, -1).flatten(0, 1)
    grid: Tensor = F.affine_grid((changes + identity).flatten(0, 1), list(copies.shape), align_corners=False)
    sampled = F.grid_sample(copies, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved: Tensor = sampled.unflatten(0, (count, maps))
    return moved
