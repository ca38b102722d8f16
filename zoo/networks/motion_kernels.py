"""CDNA: a recurrent network that predicts motion as a few kernels, each of which is applied to all pixels."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor

Padding = Literal["centred", "tensorflow"]
Motion = Literal["cdna", "dna", "stp"]
SIDE = 5  # height and width of every kernel
LEAST = 1e-12  # lower bound of a kernel's entries before they are divided by their sum


class HalvingConv2d(nn.Conv2d):
    """A convolution of stride 2 that halves height and width, padded symmetrically or as TensorFlow's "SAME"."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: Padding, bias: bool = True) -> None:
        centred = padding == "centred"
        super().__init__(inputs, outputs, kernel, stride=2, padding=kernel // 2 if centred else 0, bias=bias)
        self.before_and_after = (0, 0) if centred else ((kernel - 2) // 2, (kernel - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inputs, H, W)` to `(N, outputs, H / 2, W / 2)`."""
        return super().forward(F.pad(x, 2 * self.before_and_after))


class DoublingConv2d(nn.ConvTranspose2d):
    """A transposed 3×3 convolution of stride 2 that doubles height and width, padded as in `HalvingConv2d`."""

    def __init__(self, inputs: int, outputs: int, padding: Padding, bias: bool = True) -> None:
        self.centred = padding == "centred"
        inside = int(self.centred)
        super().__init__(inputs, outputs, 3, stride=2, padding=inside, output_padding=inside, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `(N, inputs, H, W)` to `(N, outputs, 2H, 2W)`."""
        y: Tensor = super().forward(x, output_size)
        return y if self.centred else y[..., :-1, :-1]


class NormedLSTM(nn.Module):
    """A ConvLSTM with forget bias 1. Its output h is normalised over channels and pixels; its state is not."""

    def __init__(self, inputs: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.cell = ConvLSTMCell(inputs, hidden, 5, forget_bias=1.0)
        self.norm = nn.GroupNorm(1, hidden, eps)

    def run(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All time steps in order: `(T, B, inputs, H, W)` to the normalised h of each step and the last state."""
        hs, state = self.cell.run(xs, state)
        return self.norm(hs.flatten(0, 1)).unflatten(0, hs.shape[:2]), state


class MotionKernelNetwork(RecurrentPredictor):
    """Moves the pixels of the last frame by kernels, and paints what no kernel can move.

    For each step, a network of seven ConvLSTMs at three resolutions computes J kernels K_j, a painted frame G, and
    masks m. Each kernel is non-negative and sums to 1. The prediction is a mixture, so it stays in [0, 1]:

        X' = m₀ ∘ X + m₁ ∘ G + Σ_j m_{j+1} ∘ (K_j * X),    Σ m = 1 at every pixel

    The kernels are a linear map of all pixels at the lowest resolution, so a network reads only one size of frames. It
    has two variants, which move pixels in other ways. STP has J affine maps instead of kernels, also computed from the
    lowest resolution. DNA has one kernel for each pixel, computed at full resolution, and no painted frame.

    Finn, Goodfellow and Levine, "Unsupervised learning for physical interaction through video prediction", NeurIPS
    2016, section 3; without actions.

    Args:
        widths: channels of the ConvLSTMs at 1/2, 1/4 and 1/8 of the resolution; (32, 64, 128) in the paper.
        kernels: J, the number of kernels or affine maps; DNA ignores it.
        canvas: height and width of the frames, multiples of 8.
        channels: C of the frames; all channels are moved alike.
        padding: how convolutions of stride 2 are padded. The authors' code uses "tensorflow"; the paper does not say.
        eps: number added to the variance in layer norms; 1e-12 in the authors' code.
        all_masks: False omits the last mask, as in the authors' code. The last kernel then has no effect.
        rectified: whether to apply a ReLU to G and to the masks before their own nonlinearities, as in the authors'
            code.
        motion: the kind of motion: "cdna", "dna" or "stp".

    Raises:
        ZooError: if an argument is not as above.
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
        if motion == "stp":  # 100 hidden units, as in the authors' code
            self.draw = nn.Sequential(nn.Linear(lowest, 100), nn.ReLU(), nn.Linear(100, 6 * kernels))
        else:
            self.draw = SameConv2d(2 * fine, SIDE**2, 1) if per_pixel else nn.Linear(lowest, SIDE**2 * kernels)

    def check_size(self, height: int, width: int) -> None:
        """Raise a ZooError unless the frames have the size of the canvas."""
        if (height, width) != self.canvas:
            raise ZooError(
                f"frames of {height}×{width} pixels do not fit a model made for {self.canvas[0]}×{self.canvas[1]}; "
                f"make one with canvas = [{height}, {width}]"
            )

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Any:
        """The state of each ConvLSTM, which is zero."""
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
        """Read all frames `(T, B, C, H, W)`, layer by layer."""
        steps = frames.shape[:2]
        after = []

        def recur(x: Tensor, *layers: int) -> Tensor:
            """Apply ConvLSTMs one after the other to maps `(T · B, c, h, w)`."""
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
        pixels = self.denormalized(x)  # kernels move true pixels, and outside the frame is black
        layers = [pixels[:, None]]
        if self.paint is not None:
            paint = F.relu(self.paint(up)) if self.rectified else self.paint(up)
            layers.append(torch.sigmoid(paint)[:, None])
        layers.append(self._moved(pixels, up, lowest))
        mixed = torch.cat([layer.to(x.dtype) for layer in layers], 1)
        shares = masks.softmax(1, dtype=torch.promote_types(masks.dtype, torch.float32)).to(x.dtype)[:, :, None]
        predictions = self.normalized((shares * mixed[:, : shares.shape[1]]).sum(1))
        return predictions.unflatten(0, steps), tuple(after)

    def _moved(self, frames: Tensor, up: Tensor, lowest: Tensor) -> Tensor:
        """The frames `(N, C, H, W)` after each of the J motions, `(N, J, C, H, W)`."""
        if self.motion == "dna":
            return move_each_pixel(frames, normalised(self.draw(up).movedim(1, -1).unflatten(-1, (SIDE, SIDE))))
        drawn = self.draw(lowest.flatten(1)).unflatten(1, (self.kernels, -1))
        if self.motion == "stp":
            return move_affinely(frames, drawn.unflatten(2, (2, 3)))
        return move(frames, normalised(drawn.unflatten(2, (SIDE, SIDE))))


def normalised(kernels: Tensor) -> Tensor:
    """Make kernels `(…, k, k)` non-negative, and scale each to sum 1.

    >>> normalised(torch.tensor([[[[1.0, 3.0], [-2.0, 0.0]]]])).round(decimals=6)
    tensor([[[[0.2500, 0.7500],
              [0.0000, 0.0000]]]])
    """
    positive = F.relu(kernels - LEAST) + LEAST
    return positive / positive.sum((-1, -2), keepdim=True)


def move(frames: Tensor, kernels: Tensor) -> Tensor:
    """Filter each frame with its own kernels, with zeros outside the frame.

    Args:
        frames: `(N, C, H, W)`.
        kernels: `(N, J, k, k)` with odd k.

    Returns:
        `(N, J, C, H, W)`: every channel, filtered with each of the J kernels.
    """
    count, channels = frames.shape[:2]
    each = kernels[:, None].expand(-1, channels, -1, -1, -1).flatten(0, 2)[:, None]
    # one grouped convolution, with a group for each channel of each frame
    flat = frames.reshape(1, count * channels, *frames.shape[2:]).to(each.dtype)
    filtered = F.conv2d(flat, each, padding=kernels.shape[-1] // 2, groups=count * channels)
    return filtered.view(count, channels, kernels.shape[1], *frames.shape[2:]).transpose(1, 2)


def move_each_pixel(frames: Tensor, kernels: Tensor) -> Tensor:
    """Filter each pixel with its own kernel, with zeros outside the frame.

    Args:
        frames: `(N, C, H, W)`.
        kernels: `(N, H, W, k, k)` with odd k.

    Returns:
        `(N, 1, C, H, W)`: all channels, filtered alike.

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
    """Sample each frame along affine maps by bilinear interpolation, with zeros outside the frame.

    On a GPU the backward pass sums in no fixed order, so its last bits differ from call to call.

    Args:
        frames: `(N, C, H, W)`.
        changes: the affine maps minus the identity, `(N, J, 2, 3)`. They act on coordinates (x, y, 1), where x and y
            run from -1 to 1 between the outer edges of a frame.

    Returns:
        `(N, J, C, H, W)`.

    The first map is the identity. The second one shifts by one of three pixels, which is 2/3 in these coordinates:

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
