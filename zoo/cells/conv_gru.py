"""ConvGRU and TrajGRU (Shi et al., "Deep learning for precipitation nowcasting", NeurIPS 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.predictors.rollout import recomputed

SLOPE = 0.2  # of every leaky ReLU in that paper's networks
FLOW_CHANNELS = 32


class ConvGRUCell(nn.Module):
    """A GRU (gated recurrent unit) with convolutions in place of matrix products.

        r = σ(xr + hr)    z = σ(xz + hz)    n = leaky(xn + r ∘ hn)    h' = z ∘ h + (1 − z) ∘ n

    A 3×3 convolution of the input gives xr, xz and xn. A k×k convolution of h gives hr, hz and hn. A cell without
    input has only the second one. (Shi et al., 2017, eq. (1).)

    Args:
        inputs: channels of x; 0 for a cell without input.
        hidden: channels C of h.
        kernel: side k of the kernels over h.
        copies: number of maps of C channels that the convolution over h reads; 1 for h itself.

    >>> cell = ConvGRUCell(inputs=1, hidden=4, kernel=3)
    >>> cell(torch.zeros(2, 1, 8, 8), cell.initial_state(2, (8, 8))).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, kernel: int, copies: int = 1) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_x = SameConv2d(inputs, 3 * hidden, 3) if inputs else None
        self.from_h = SameConv2d(copies * hidden, 3 * hidden, kernel)

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Zeros. The state is h alone, `(B, C, H, W)`."""
        return torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates, `(N, 3C, H, W)`, for all known inputs at once."""
        assert self.from_x is not None, "a cell without input has nothing to project"
        projected: Tensor = self.from_x(x)
        return projected

    def step(self, projected: Tensor | None, h: Tensor) -> Tensor:
        """One time step: a projected input (None for a step without input) and h to the new h."""
        from_h: Tensor = self.from_h(h)
        return self.update(projected, from_h, h)

    def update(self, from_x: Tensor | None, from_h: Tensor, h: Tensor) -> Tensor:
        """Compute the gates and the new h from the shares of x and h, each `(B, 3C, H, W)`."""
        r, z, n = from_h.chunk(3, 1)
        if from_x is None:
            n = torch.sigmoid(r) * n
        else:
            xr, xz, xn = from_x.chunk(3, 1)
            z = z + xz
            n = xn + torch.sigmoid(r + xr) * n
        z = torch.sigmoid(z)
        return z * h + (1 - z) * F.leaky_relu(n, SLOPE)

    def forward(self, x: Tensor | None, h: Tensor) -> Tensor:
        """One time step: x `(B, inputs, H, W)` (None for a step without input) and h to the new h."""
        return self.step(None if x is None else self.project(x), h)

    def run(self, xs: Tensor, h: Tensor, recompute: bool = False) -> Tensor:
        """All time steps in order: `(T, B, inputs, H, W)` to all h `(T, B, C, H, W)`.

        Args:
            xs: the inputs of all steps.
            h: the state before the first step, `(B, C, H, W)`.
            recompute: save memory: keep only x and h of each step, and compute the step again in the backward pass.
        """
        hs = []
        if recompute:
            for x in xs:
                h = recomputed(self, x, h)
                hs.append(h)
        else:
            for projected in self.project(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]):
                h = self.step(projected, h)
                hs.append(h)
        return torch.stack(hs)


class TrajGRUCell(ConvGRUCell):
    """A GRU that reads its past state at the places where things have moved from.

    Two convolutions, of x and of h, and a third one of their sum compute `links` flow fields. h is sampled along each
    of these. A 1×1 convolution of the samples replaces the k×k convolution of h. The weights of the third convolution
    are zero at first, so every link initially samples h at the pixel itself. (Shi et al., 2017, eq. (3) and (4).)

    Args:
        inputs: channels of x; 0 for a cell without input.
        hidden: channels C of h.
        links: L, the number of flow fields.

    >>> cell = TrajGRUCell(inputs=1, hidden=4, links=2)
    >>> cell(torch.zeros(2, 1, 8, 8), cell.initial_state(2, (8, 8))).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, links: int) -> None:
        super().__init__(inputs, hidden, 1, copies=links)
        self.links = links
        self.flow_from_x = SameConv2d(inputs, FLOW_CHANNELS, 5) if inputs else None
        self.flow_from_h = SameConv2d(hidden, FLOW_CHANNELS, 5)
        self.flow = SameConv2d(FLOW_CHANNELS, 2 * links, 5, bound=0.0)

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates and of the flow, `(N, 3C + 32, H, W)`."""
        assert self.flow_from_x is not None, "a cell without input has nothing to project"
        return torch.cat([super().project(x), self.flow_from_x(x)], 1)

    def step(self, projected: Tensor | None, h: Tensor) -> Tensor:
        """One time step: a projected input (None for a step without input) and h to the new h."""
        from_x, motion = None, self.flow_from_h(h)
        if projected is not None:
            from_x, flow_from_x = projected.split([3 * self.hidden, FLOW_CHANNELS], 1)
            motion = motion + flow_from_x
        flow = self.flow(F.leaky_relu(motion, SLOPE)).unflatten(1, (self.links, 2))
        from_h: Tensor = self.from_h(warp(h, flow))
        return self.update(from_x, from_h, h)


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Sample maps along flow fields by bilinear interpolation, with zeros outside the maps.

    The copy of link l at (y, x) is `maps` at (y + v_l, x + u_l). Positions are computed in 32 bits or more, because
    16 bits cannot tell neighbouring pixels of a large map apart. On a GPU the backward pass sums in no fixed order, so
    its last bits differ from call to call.

    Args:
        maps: `(B, C, H, W)`.
        flow: `(B, L, 2, H, W)`: for each link the displacements u (columns) and v (rows) in pixels.

    Returns:
        `(B, L · C, H, W)`: the copies of the first link, then those of the second, and so on.

    One link that points one pixel to the right:

    >>> flow = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 1, 3)
    >>> warp(torch.tensor([[[[1.0, 2.0, 3.0]]]]), flow)
    tensor([[[[2., 3., 0.]]]])
    """
    batch, links, _, height, width = flow.shape
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, :, 0]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, :, 1]
    # the coordinates of `grid_sample` run from -1 to 1 between the outer edges of the first and the last pixel
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    copies = maps.to(grid.dtype)[:, None].expand(-1, links, -1, -1, -1).flatten(0, 1)
    sampled = F.grid_sample(copies, grid.flatten(0, 1), mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.view(batch, links * maps.shape[1], height, width).to(maps.dtype)
