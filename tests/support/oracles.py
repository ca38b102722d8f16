"""Independent oracles: convolutional trains written out in NumPy from their definitions, and test kernels.

Nothing here imports the library. Tap by tap, `(w ⋆ x)(p) = Σ_a w[a] x(p + δa - λ)` (P0.3); every mode is that sum
on inputs continued as the mode says (P4).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

Array = np.ndarray
Axes = tuple[int, ...]
CONTINUATIONS = {"same": "constant", "same_per_step": "constant", "circular": "wrap"}


# ---- convolution ------------------------------------------------------------------------------------------


def correlate(x: Array, weight: Array, dilation: Axes, stride: Axes | None = None) -> Array:
    """Dense `(O, I, *k)` over `(B, I, *n)`, unpadded, tap by tap."""
    stride = stride or (1,) * len(dilation)
    taps = weight.shape[2:]
    size = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[2:], dilation, taps, stride, strict=True)]
    out = np.zeros((x.shape[0], weight.shape[0], *size))
    for tap in np.ndindex(*taps):
        window = tuple(
            slice(d * a, d * a + s * (n - 1) + 1, s) for d, a, s, n in zip(dilation, tap, stride, size, strict=True)
        )
        out += np.einsum("oi,bi...->bo...", weight[(slice(None), slice(None), *tap)], x[(..., *window)])
    return out


def pad(x: Array, sides: Sequence[tuple[int, int]], mode: str = "constant") -> Array:
    return np.pad(x, [(0, 0), (0, 0), *sides], mode=mode)


def crop(x: Array, sides: Sequence[tuple[int, int]]) -> Array:
    return x[(..., *(slice(b, n - a) for n, (b, a) in zip(x.shape[2:], sides, strict=True)))]


def compose(outer: Array, inner: Array) -> Array:
    """P0.4 for dense weights: the weight of `inner` followed by `outer`."""
    size = [a + b - 1 for a, b in zip(outer.shape[2:], inner.shape[2:], strict=True)]
    out = np.zeros((outer.shape[0], inner.shape[1], *size))
    for tap in np.ndindex(*outer.shape[2:]):
        window = tuple(slice(a, a + b) for a, b in zip(tap, inner.shape[2:], strict=True))
        out[(..., *window)] += np.einsum("or,ri...->oi...", outer[(..., *tap)], inner)
    return out


def ungroup(core: Array, groups: int) -> Array:
    """A grouped weight `(O, I / g, *k)` with its zeros, entry by entry."""
    outputs, per_group = core.shape[:2]
    full = np.zeros((outputs, per_group * groups, *core.shape[2:]))
    for o, i in np.ndindex(outputs, per_group):
        full[o, i + (o // (outputs // groups)) * per_group] = core[o, i]
    return full


def kernels(cores: Sequence[Array]) -> list[Array]:
    """W(1) … W(m) of dense cores."""
    return list(itertools.accumulate(cores, compose))


def reach(weight: Array, dilation: Axes) -> list[tuple[int, int]]:
    """P3.3: lead and tail of a weight on each axis."""
    ends = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return [(e // 2, e - e // 2) for e in ends]


def dense(cores: Sequence[Array], inputs: Sequence[Array | None], padding: str, dilation: Axes, stride: Axes) -> Array:
    """Eq. (5): `Σ_l W(l) ⋆ U(l)`, each a dense convolution of U(l) continued as the mode says (P4.1–P4.4, P4.7)."""
    whole = kernels(cores)
    most = reach(whole[-1], dilation)
    total: Array | int = 0
    for weight, u in zip(whole, inputs, strict=True):
        if u is None:
            continue
        own = reach(weight, dilation)
        rest = [(b - c, a - d) for (b, a), (c, d) in zip(most, own, strict=True)]
        if padding == "full":
            # the result lives on [-tail, n + lead): embedded centred in the largest of them
            value = correlate(pad(u, [(b + a, b + a) for b, a in own]), weight, dilation)
            value = pad(value, [(a, b) for b, a in rest])
        elif padding == "valid":
            value = crop(correlate(u, weight, dilation), rest)
        else:
            value = correlate(pad(u, own, CONTINUATIONS[padding]), weight, dilation)
        total = total + value
    assert not isinstance(total, int)
    return total[(..., *(slice(None, None, s) for s in stride))]


def carried_biases(
    cores: Sequence[Array], biases: Sequence[Array | None], padding: str, size: Axes, batch: int, dilation: Axes
) -> Array:
    """P2.3, P4.6: `Σ_l T(1) … T(l-1) b(l)`, every bias carried through the cores that remain."""
    whole = kernels(cores)
    most = reach(whole[-1], dilation)
    total: Array | int = 0
    for l, bias in enumerate(biases):
        if bias is None:
            continue
        column = bias.reshape(1, -1, *[1] * len(size))
        if padding == "full":  # b(l) stands on the box that V(l-1) is returned on, and is zero off it
            own = reach(whole[l - 1], dilation) if l else [(0, 0)] * len(size)
            box = [n + (b - c) + (a - d) for n, (b, a), (c, d) in zip(size, most, own, strict=True)]
            value = np.broadcast_to(column, (batch, len(bias), *box))
            if l:
                value = correlate(pad(value, [(b + a, b + a) for b, a in own]), whole[l - 1], dilation)
        else:  # a constant on the whole plane stays one
            lost = [0] * len(size) if padding != "valid" else [b + a for b, a in most]
            if l:
                gain = whole[l - 1].sum(axis=tuple(range(2, 2 + len(size))))
                column = (gain @ bias).reshape(1, -1, *[1] * len(size))
            frame = [n - cut for n, cut in zip(size, lost, strict=True)]
            value = np.broadcast_to(column, (batch, column.shape[1], *frame))
        total = total + value
    assert not isinstance(total, int)
    return total


def per_step(
    cores: Sequence[Array],
    inputs: Sequence[Array | None],
    biases: Sequence[Array | None],
    dilation: Axes,
    stop: int = 0,
) -> Array:
    """P5: the published network's recursion, every map cropped to the frame."""
    whole = kernels(cores)
    frame = next(u for u in inputs if u is not None)
    value = np.zeros((frame.shape[0], cores[-1].shape[1], *frame.shape[2:]))
    for l in range(len(cores), stop, -1):
        outer = reach(whole[l - 2], dilation) if l > 1 else [(0, 0)] * len(dilation)
        inner = reach(whole[l - 1], dilation)
        steps = [(b - c, a - d) for (b, a), (c, d) in zip(inner, outer, strict=True)]
        u = inputs[l - 1]
        value = correlate(pad(value if u is None else value + u, steps), cores[l - 1], dilation)
        bias = biases[l - 1]
        if bias is not None:
            value = value + bias.reshape(1, -1, *[1] * len(dilation))
    return value


# ---- random chains ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A random chain and inputs for it, integer-valued float64, so that every sum is exact."""

    cores: list[Tensor]
    groups: list[int]
    inputs: list[Tensor | None]
    biases: list[Tensor | None]
    dilation: Axes
    stride: Axes

    @property
    def order(self) -> int:
        return len(self.cores)

    @property
    def size(self) -> Axes:
        return next(tuple(u.shape[2:]) for u in self.inputs if u is not None)

    @property
    def kernel_sizes(self) -> list[Axes]:
        return [tuple(core.shape[2:]) for core in self.cores]

    @property
    def ranks(self) -> list[int]:
        return [*(core.shape[0] for core in self.cores), self.cores[-1].shape[1] * self.groups[-1]]

    @property
    def dense_cores(self) -> list[Array]:
        return [ungroup(core.numpy(), g) for core, g in zip(self.cores, self.groups, strict=True)]

    @property
    def arrays(self) -> list[Array | None]:
        return [None if u is None else u.numpy() for u in self.inputs]

    @property
    def bias_arrays(self) -> list[Array | None]:
        return [None if b is None else b.numpy() for b in self.biases]

    @property
    def fits_valid(self) -> bool:
        ends = [
            d * sum(k - 1 for k in axis)
            for d, axis in zip(self.dilation, zip(*self.kernel_sizes, strict=True), strict=True)
        ]
        return all(n > e for n, e in zip(self.size, ends, strict=True))


def integers(generator: torch.Generator, *shape: int, most: int = 2) -> Tensor:
    return torch.randint(-most, most + 1, shape, generator=generator).double()


def floats(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def cases(draw: st.DrawFn, biased: bool = True, shared_groups: bool = True) -> Case:
    """Order 1–5, 1–3 axes, mixed, even and rectangular cores, groups for each core, inputs of which some are None."""
    axes, order = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    longest = {1: 4, 2: 3, 3: 2}[axes]
    sizes = [tuple(draw(st.integers(1, longest)) for _ in range(axes)) for _ in range(order)]
    shared = draw(st.sampled_from((1, 1, 2))) if shared_groups else 1
    groups = [shared * draw(st.sampled_from((1, 1, 2, 3))) for _ in range(order)]
    ranks = [math.lcm(*groups[max(l - 1, 0) : l + 1]) * draw(st.integers(1, 2)) for l in range(order + 1)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dilation = tuple(draw(st.integers(1, 2 if axes == 3 else 3)) for _ in range(axes))
    room = draw(st.booleans())  # for the whole kernel, or an image that may be smaller than it
    ends = [d * sum(k - 1 for k in axis) for d, axis in zip(dilation, zip(*sizes, strict=True), strict=True)]
    image = tuple(room * e + draw(st.integers(1, {1: 9, 2: 6, 3: 4}[axes])) for e in ends)
    batch = draw(st.integers(1, 2))
    cores = [integers(generator, ranks[l], ranks[l + 1] // groups[l], *sizes[l]) for l in range(order)]
    present = [draw(st.booleans()) for _ in range(order)]
    present[draw(st.integers(0, order - 1))] = True
    inputs = [integers(generator, batch, r, *image) if on else None for r, on in zip(ranks[1:], present, strict=True)]
    biases = [integers(generator, r) if biased and draw(st.booleans()) else None for r in ranks[:-1]]
    stride = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    return Case(cores, groups, inputs, biases, dilation, stride)


# ---- kernels to decompose ---------------------------------------------------------------------------------


def with_noise(weight: Array, noise: float, rng: np.random.Generator) -> Tensor:
    extra = rng.standard_normal(weight.shape)
    return torch.from_numpy(weight / np.linalg.norm(weight) + noise * extra / np.linalg.norm(extra))


def gaussian(channels: int, size: int, seed: int) -> Tensor:
    weight = np.random.default_rng(seed).standard_normal((channels, channels, size, size))
    return torch.from_numpy(weight / np.linalg.norm(weight))


def planted(channels: int, size: int, rank: int, seed: int, noise: float = 1e-3) -> Tensor:
    """A chain of 3×3 cores plus white noise of relative norm `noise`."""
    rng = np.random.default_rng(seed)
    order = (size - 1) // 2
    ranks = [channels, *[rank] * (order - 1), channels]
    return with_noise(
        kernels([rng.standard_normal((ranks[l], ranks[l + 1], 3, 3)) for l in range(order)])[-1], noise, rng
    )


def smooth(channels: int, size: int, seed: int) -> Tensor:
    """24 Gabor and difference-of-Gaussian filters of decaying norm, each mixing the channels at low rank; 2 % noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    square = x**2 + y**2
    weight = np.zeros((channels, channels, size, size))
    for t in range(24):
        if t % 3 == 2:
            s = rng.uniform(0.3, 0.6)
            spatial = np.exp(-square / (2 * s * s)) - 0.6 * np.exp(-square / (4 * s * s))
        else:
            angle, s = rng.uniform(0, np.pi), rng.uniform(0.35, 0.9)
            wave = rng.uniform(0, 4) * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi)
            spatial = np.exp(-square / (2 * s * s)) * np.cos(wave)
        mix = np.zeros((channels, channels))
        for j in range(4):
            mix += 0.6**j * np.outer(rng.standard_normal(channels), rng.standard_normal(channels))
        weight += 0.85**t * mix[:, :, None, None] * (spatial / np.linalg.norm(spatial))
    return with_noise(weight, 0.02, rng)


def unimodular(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """An integer matrix and its integer inverse: a gauge that rounds nothing."""
    generator = random.Random(seed)
    matrix, inverse = torch.eye(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)
    for _ in range(2 * size if size > 1 else 0):
        i, j = generator.sample(range(size), 2)
        step = torch.eye(size, dtype=torch.float64)
        step[i, j] = generator.choice((-1.0, 1.0))
        matrix, inverse = matrix @ step, (2 * torch.eye(size, dtype=torch.float64) - step) @ inverse
    return matrix, inverse
