"""One step of each cell of the baselines against its equations, written once more in NumPy.

All channel counts differ, so that no two axes can be mistaken for each other.
"""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from zoo.cells.conv_gru import ConvGRUCell, TrajGRUCell, warp
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.cells.e3d_lstm import E3DLSTMCell
from zoo.cells.peephole_lstm import PeepholeLSTMCell, PeepholeState
from zoo.cells.tt_recurrent import TTRecurrentCell, TTState
from zoo.networks.dynamic_filter import DynamicFilterNetwork, filter_frames
from zoo.networks.motion_kernels import move, normalised
from zoo.networks.video_pixel import MultiplicativeUnit

Array = NDArray[np.float64]
INPUTS, HIDDEN, HEIGHT, WIDTH = 3, 4, 5, 6


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def leaky(x: Array, slope: float = 0.2) -> Array:
    return np.where(x > 0, x, slope * x)


def conv(x: Array, weight: Array, bias: Array | None = None, end: int = 0) -> Array:
    """Cross-correlation of one sample `(C, *positions)`, zero-padded to the same size.

    `end` axes from the left are padded behind only.
    """
    taps = weight.shape[2:]
    before = [0 if axis < end else (k - 1) // 2 for axis, k in enumerate(taps)]
    padded = np.pad(x, [(0, 0), *((b, k - 1 - b) for b, k in zip(before, taps, strict=True))])
    y = np.zeros((weight.shape[0], *x.shape[1:]))
    for tap in np.ndindex(*taps):
        window = tuple(slice(t, t + n) for t, n in zip(tap, x.shape[1:], strict=True))
        y += np.tensordot(weight[(slice(None), slice(None), *tap)], padded[(slice(None), *window)], 1)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(taps))


def draw(module: nn.Module) -> dict[str, Array]:
    """Weights of about unit scale for every parameter, and the same as arrays."""
    generator = torch.Generator().manual_seed(7)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def some(*shape: int) -> Tensor:
    """One sample."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def close(value: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(value[0].detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [None, 3])
@pytest.mark.parametrize("inputs", [0, INPUTS])
def test_peephole_lstm(kernel: int | None, inputs: int) -> None:
    cell = PeepholeLSTMCell(inputs, HIDDEN, kernel)
    w = draw(cell)
    place = () if kernel is None else (HEIGHT, WIDTH)
    x, h, c = some(INPUTS, *place), some(HIDDEN, *place), some(HIDDEN, *place) + 1

    def linear(name: str, z: Array) -> Array:
        bias = w.get(f"{name}.bias")
        if kernel is None:
            return w[f"{name}.weight"] @ z + (0 if bias is None else bias)
        return conv(z, w[f"{name}.weight"], bias)

    gates = linear("from_h", h[0].numpy())
    if inputs:
        gates = gates + linear("from_x", x[0].numpy())
    i, f, g, o = np.split(gates, 4)
    see = w["peepholes"].reshape(3, HIDDEN, *[1] * len(place))
    old = c[0].numpy()
    new = sigmoid(f + see[1] * old) * old + sigmoid(i + see[0] * old) * np.tanh(g)
    actual, state = cell(x if inputs else None, PeepholeState(h, c))
    close(actual, sigmoid(o + see[2] * new) * np.tanh(new))
    close(state.c, new)


def test_conv_lstm_with_a_forget_bias() -> None:
    cell = ConvLSTMCell(INPUTS, HIDDEN, 3, forget_bias=1.0).double()
    w = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    x, h, c = some(INPUTS, HEIGHT, WIDTH), some(HIDDEN, HEIGHT, WIDTH), some(HIDDEN, HEIGHT, WIDTH) + 1
    gates = conv(x[0].numpy(), w["from_x.weight"]) + conv(h[0].numpy(), w["from_h.weight"])
    i, f, o, g = np.split(gates, 4)
    expected = sigmoid(f + 1) * c[0].numpy() + sigmoid(i) * np.tanh(g)
    actual, state = cell(x, ConvLSTMState(h, c))
    close(state.c, expected)
    close(actual, sigmoid(o) * np.tanh(expected))


def gru(w: dict[str, Array], from_h: Array, h: Array, x: Array | None) -> Array:
    r, z, n = np.split(from_h, 3)
    xr, xz, xn = np.split(conv(x, w["from_x.weight"], w["from_x.bias"]), 3) if x is not None else (0.0, 0.0, 0.0)
    z = sigmoid(z + xz)
    return np.asarray(z * h + (1 - z) * leaky(xn + sigmoid(r + xr) * n))


@pytest.mark.parametrize("inputs", [0, INPUTS])
def test_conv_gru(inputs: int) -> None:
    cell = ConvGRUCell(inputs, HIDDEN, 5)
    w = draw(cell)
    x, h = some(INPUTS, HEIGHT, WIDTH), some(HIDDEN, HEIGHT, WIDTH)
    from_h = conv(h[0].numpy(), w["from_h.weight"], w["from_h.bias"])
    close(cell(x if inputs else None, h), gru(w, from_h, h[0].numpy(), x[0].numpy() if inputs else None))


def sampled(maps: Array, flow: Array) -> Array:
    """Bilinear samples of `(C, H, W)` along `(L, 2, H, W)`, zeros outside, by SciPy."""
    rows, columns = np.mgrid[: maps.shape[1], : maps.shape[2]]
    padded = np.pad(maps, [(0, 0), (9, 9), (9, 9)])  # SciPy would cut a sample off where its own map ends
    copies = [map_coordinates(channel, [rows + v + 9, columns + u + 9], order=1) for u, v in flow for channel in padded]
    return np.stack(copies)


def test_warp() -> None:
    maps, flow = some(HIDDEN, HEIGHT, WIDTH), 2 * some(2, 2, HEIGHT, WIDTH)
    close(warp(maps, flow), sampled(maps[0].numpy(), flow[0].numpy()))
    close(warp(maps[..., :1, :], flow[..., :1, :]), sampled(maps[0, :, :1].numpy(), flow[0, ..., :1, :].numpy()))


@pytest.mark.parametrize("inputs", [0, INPUTS])
def test_traj_gru(inputs: int) -> None:
    cell = TrajGRUCell(inputs, HIDDEN, links=2)
    w = draw(cell)
    x, h = some(INPUTS, HEIGHT, WIDTH), some(HIDDEN, HEIGHT, WIDTH)
    motion = conv(h[0].numpy(), w["flow_from_h.weight"], w["flow_from_h.bias"])
    if inputs:
        motion = motion + conv(x[0].numpy(), w["flow_from_x.weight"], w["flow_from_x.bias"])
    flow = conv(leaky(motion), w["flow.weight"], w["flow.bias"]).reshape(2, 2, HEIGHT, WIDTH)
    flow = flow.clip(-8, 8)  # farther than any pixel either way
    from_h = conv(sampled(h[0].numpy(), flow), w["from_h.weight"], w["from_h.bias"])
    close(cell(x if inputs else None, h), gru(w, from_h, h[0].numpy(), x[0].numpy() if inputs else None))


@pytest.mark.parametrize("form", ["paper", "released"])
def test_e3d_lstm(form: Literal["paper", "released"]) -> None:
    cell = E3DLSTMCell(INPUTS, HIDDEN, form)
    w = draw(cell)
    released = form == "released"
    shape = (HIDDEN, 2, HEIGHT, WIDTH)
    x, h, m = some(INPUTS, 2, HEIGHT, WIDTH), some(*shape), some(*shape) / 2
    past = some(HIDDEN, 6, HEIGHT, WIDTH)
    c = past[:, :, -2:]

    def part(name: str, z: Tensor | Array) -> Array:
        z = z[0].numpy() if isinstance(z, Tensor) else z
        return conv(z, w[f"{name}.weight"], w.get(f"{name}.bias"), end=1)

    def norm(name: str, z: Array) -> Array:
        gain, shift = (w[f"{name}.{kind}"].reshape(-1, 1, 1, 1) for kind in ("weight", "bias"))
        return np.asarray(gain * (z - z.mean()) / np.sqrt(z.var() + 1e-5) + shift)

    shares = [part("from_x", x), part("from_h", h), part("from_m", m)]
    if released:
        shares = [norm(f"norms.{at}", share) for at, share in enumerate(shares)]
    i, g, r, o, i2, g2, f2 = np.split(shares[0], 7)
    hi, hg, hr, ho = np.split(shares[1], 4)
    mi, mf, mg, *kept = np.split(shares[2], 4 if released else 3)
    query, keys = sigmoid(r + hr).reshape(HIDDEN, -1), past[0].numpy().reshape(HIDDEN, -1)
    scores = query.T @ keys
    weights = np.exp(scores - scores.max(1, keepdims=True))
    recalled = (weights / weights.sum(1, keepdims=True) @ keys.T).T.reshape(shape)
    new_c = sigmoid(i + hi) * np.tanh(g + hg) + norm("norm_c", c[0].numpy() + recalled)
    new_m = sigmoid(i2 + mi) * np.tanh(g2 + mg) + sigmoid(f2 + mf + 1) * (
        np.tanh(kept[0]) if released else m[0].numpy()
    )
    logits = o + ho + part("from_new_c", new_c) + part("from_new_m", new_m)
    gate = sigmoid(np.tanh(logits) if released else logits)
    new_h = gate * np.tanh(part("mix", np.concatenate([new_c, new_m])))
    passed_on = m[0].numpy() if released else new_m
    for actual, expected in zip(cell(x, h, c, m, past), (new_h, new_c, passed_on), strict=True):
        close(actual, expected)


@pytest.mark.parametrize("lstm", [False, True])
@pytest.mark.parametrize("ranks", [[], [2], [2, 5]])
def test_tensor_train_cell(ranks: list[int], lstm: bool) -> None:
    """Against the full transition tensor and the outer product, which the cell never forms."""
    cell = TTRecurrentCell(INPUTS, HIDDEN, 2, ranks, lstm)
    w = draw(cell)
    x, past, c = some(INPUTS), some(2, HIDDEN), some(HIDDEN)
    s = np.concatenate([past[0].numpy().ravel(), [1.0]])
    tensor: Any = w["cores.0"]
    outer: Any = s
    for p in range(1, len(ranks) + 1):
        tensor = np.tensordot(tensor, w[f"cores.{p}"], 1)
        outer = np.multiply.outer(outer, s)
    order = len(ranks) + 1
    axes = list(range(order))
    z = w["from_x.weight"] @ x[0].numpy() + w["from_x.bias"] + np.tensordot(outer, tensor[0], (axes, axes))
    actual, state = cell(x, TTState(past, c))
    if lstm:
        i, g, f, o = np.split(z, 4)
        new = sigmoid(f + 1) * c[0].numpy() + sigmoid(i) * np.tanh(g)
        close(state.c, new)
        close(actual, sigmoid(o) * np.tanh(new))
    else:
        close(actual, np.tanh(z))
    assert torch.equal(state.past, torch.stack([actual, past[:, 0]], 1))


def test_multiplicative_unit() -> None:
    unit = MultiplicativeUnit(INPUTS, dilation=1)
    w = draw(unit)
    h = some(INPUTS, HEIGHT, WIDTH)
    g1, g2, g3, u = np.split(conv(h[0].numpy(), w["gates.weight"], w["gates.bias"]), 4)
    expected = sigmoid(g1) * np.tanh(sigmoid(g2) * h[0].numpy() + sigmoid(g3) * np.tanh(u))
    close(unit(h), expected)


def test_a_step_of_the_dynamic_filter_network() -> None:
    network = DynamicFilterNetwork((3, 4, 5), 3, dynamic_bias=False, centre_bias=0.0, channels=1)
    w = draw(network)

    def through(name: str, z: Array, stride_at: int = -1) -> Array:
        for at in range(sum(key.startswith(f"{name}.") and key.endswith("weight") for key in w)):
            z = leaky(conv(z, w[f"{name}.{at}.weight"], w[f"{name}.{at}.bias"]), 0.01)
            z = z[:, ::2, ::2] if at == stride_at else z
        return z

    frame, state = some(1, 4, 6), some(5, 2, 3)
    new = through("read_frame", frame[0].numpy(), stride_at=1) + through("read_state", state[0].numpy())
    drawn = through("decode_coarse", new).repeat(2, 1).repeat(2, 2)
    drawn = conv(through("decode_fine", drawn), w["filters.weight"], w["filters.bias"])
    predictions, actual = network.read(frame[None], state)
    close(actual, new)
    close(predictions[0], filter_frames(frame, torch.from_numpy(drawn)[None], 3)[0].numpy())


def test_filters_with_a_heavy_centre_start_as_the_last_frame() -> None:
    frames, state = some(1, 8, 8)[None], torch.zeros(1, 5, 4, 4, dtype=torch.float64)
    network = DynamicFilterNetwork((3, 4, 5), 3, dynamic_bias=False, centre_bias=50.0, channels=1).double()
    torch.testing.assert_close(network.read(frames, state)[0], frames)


@pytest.mark.parametrize("bias", [0, 1])
def test_filters_of_every_pixel(bias: int) -> None:
    frame, drawn = some(INPUTS, HEIGHT, WIDTH), some(9 + bias, HEIGHT, WIDTH)
    logits = drawn[0, :9].numpy()
    taps = np.exp(logits) / np.exp(logits).sum(0)
    padded = np.pad(frame[0].numpy() + (drawn[0, 9:].numpy() if bias else 0), [(0, 0), (1, 1), (1, 1)])
    expected = sum(taps[3 * a + b] * padded[:, a : a + HEIGHT, b : b + WIDTH] for a in range(3) for b in range(3))
    close(filter_frames(frame, drawn, 3), np.asarray(expected))


def test_kernels_of_a_frame() -> None:
    frame, kernels = some(INPUTS, HEIGHT, WIDTH), normalised(some(2, 5, 5))
    assert bool((kernels >= 0).all())
    torch.testing.assert_close(kernels.sum((-1, -2)), torch.ones(1, 2, dtype=torch.float64))
    expected = [
        [conv(channel[None], kernel[None, None])[0] for channel in frame[0].numpy()] for kernel in kernels[0].numpy()
    ]
    close(move(frame, kernels), np.asarray(expected))
