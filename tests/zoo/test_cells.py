"""The cells against published outputs, against their definition written out, and as functions of state."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support import reference as zoo_reference
from zoo.cells import Cell, ConvLSTMCell, ConvTTLSTMCell
from zoo.cells.cell import same_conv
from zoo.errors import ZooError

REFERENCES = ["conv_lstm_cell", "conv_tt_lstm_cell_sw_order2_steps4", "conv_tt_lstm_cell_sw_order3_steps3"]


def make_cell(meta: dict[str, Any]) -> Cell:
    sizes = (meta["input_channels"], meta["hidden_channels"], meta["kernel_size"])
    if "order" not in meta:
        return ConvLSTMCell(*sizes).double()
    return ConvTTLSTMCell(*sizes, meta["order"], meta["steps"], meta["rank"]).double()


@pytest.mark.parametrize("name", REFERENCES)
def test_published_outputs(name: str) -> None:
    meta, weights, data = zoo_reference.read(name)
    cell = make_cell(meta)
    zoo_reference.load_cell(cell, weights)
    x = data["x"]
    state = cell.initial_state(x.shape[1], tuple(x.shape[3:]), x.device, x.dtype)
    hs, state = cell.run(x, state)
    torch.testing.assert_close(hs, data["h"], rtol=0, atol=1e-10 * float(data["h"].abs().max()))
    torch.testing.assert_close(state.c, data["c_last"], rtol=0, atol=1e-10 * float(data["c_last"].abs().max()))


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_convolution_keeps_size_and_channels_last(inputs: int) -> None:
    x, weight = torch.randn(2, inputs, 5, 6).double().requires_grad_(), torch.randn(3, inputs, 3, 3).double()
    made, expected = same_conv(x, weight), F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    assert made.is_contiguous(memory_format=torch.channels_last)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (made, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def written_out(cell: ConvTTLSTMCell, xs: Tensor) -> Tensor:
    """Eqs. (9)–(11) with the whole history kept: window maps of concatenated states, a chain, one merged gate conv."""

    def conv(x: Tensor, weight: Tensor, bias: Tensor, at: int = 1) -> Tensor:
        """Step `at` of a chain: even kernels take turns, so that inputs of every step stay centred."""
        reach = weight.shape[-1] - 1
        before = at * reach // 2 - (at - 1) * reach // 2
        return F.conv2d(F.pad(x, (before, reach - before) * 2), weight, bias)

    m, n = cell.order, cell.steps
    lags = n - m + 1 if cell.window == "sliding" else n
    zeros = xs.new_zeros(xs.shape[1], cell.hidden, *xs.shape[3:])
    history, c, hs = [zeros] * n, zeros, []  # oldest first
    for x in xs:
        value = None
        for o in range(m, 0, -1):  # from the far end, which sees the oldest states
            oldest = m - o if cell.window == "sliding" else 0
            seen = torch.cat(history[oldest : oldest + lags], 1)
            newest_first = cell.window_weight[o - 1]
            window = conv(seen, torch.cat(list(newest_first.flip(0)), 1), cell.window_bias[o - 1])
            value = window if value is None else value + window
            if o > 1:
                value = conv(value, cell.cores[o - 2], cell.biases[o - 2], o)
        joint = torch.cat([cell.input_weight, cell.gate_core], 1)
        i, f, o_, g = conv(torch.cat([x, value], 1), joint, cell.gate_bias).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        history = [*history[1:], torch.sigmoid(o_) * torch.tanh(c)]
        hs.append(history[-1])
    return torch.stack(hs)


@given(
    order=st.integers(1, 4),
    more=st.integers(0, 2),
    rank=st.integers(1, 3),
    kernel=st.integers(1, 4),
    window=st.sampled_from(["sliding", "fixed"]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_equal_the_definition(
    order: int, more: int, rank: int, kernel: int, window: Any, seed: int
) -> None:
    torch.manual_seed(seed)
    cell = ConvTTLSTMCell(2, 3, kernel, order, order + more, rank, window).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # biases too
    xs = torch.randn(5, 2, 2, 4, 5, dtype=torch.float64)
    mine, _ = cell.run(xs, cell.initial_state(2, (4, 5), xs.device, xs.dtype))
    plain = written_out(cell, xs)
    torch.testing.assert_close(mine, plain, rtol=0, atol=1e-10)
    mix = torch.randn_like(plain)
    parameters = list(cell.parameters())
    ours = torch.autograd.grad((mine * mix).sum(), parameters)
    theirs = torch.autograd.grad((plain * mix).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * max(1, float(b.abs().max())))


def test_the_windows_coincide_at_order_one() -> None:
    torch.manual_seed(0)
    sliding, fixed = (ConvTTLSTMCell(1, 3, 3, 1, 3, 2, window) for window in ("sliding", "fixed"))
    fixed.load_state_dict(sliding.state_dict())
    xs = torch.randn(4, 2, 1, 5, 5)
    outputs = [cell.run(xs, cell.initial_state(2, (5, 5)))[0] for cell in (sliding, fixed)]
    assert torch.equal(*outputs)


CELLS = [lambda: ConvLSTMCell(2, 3, 3), lambda: ConvTTLSTMCell(2, 3, 3, 2, 3, 2)]


@pytest.mark.parametrize("make", CELLS)
def test_steps_one_by_one_equal_a_run(make: Any) -> None:
    torch.manual_seed(0)
    cell = make().double()
    xs = torch.randn(4, 2, 2, 5, 6, dtype=torch.float64)
    together, _ = cell.run(xs, cell.initial_state(2, (5, 6), xs.device, xs.dtype))
    state = cell.initial_state(2, (5, 6), xs.device, xs.dtype)
    for x, expected in zip(xs, together, strict=True):
        h, state = cell(x, state)
        torch.testing.assert_close(h, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", CELLS)
def test_a_state_is_never_changed(make: Any) -> None:
    torch.manual_seed(0)
    cell = make()
    x = torch.randn(2, 2, 5, 6)
    _, state = cell(x, cell.initial_state(2, (5, 6)))
    first, second = cell(x, state)[0], cell(x, state)[0]
    assert torch.equal(first, second)


@pytest.mark.parametrize("make", CELLS)
def test_the_cell_state_keeps_single_precision_under_autocast(make: Any) -> None:
    torch.manual_seed(0)
    cell = make()
    with torch.autocast("cpu", torch.bfloat16):
        _, state = cell(torch.randn(1, 2, 5, 6), cell.initial_state(1, (5, 6)))
    assert state.c.dtype == torch.float32


def test_one_cell_compiles_to_native_code() -> None:
    torch.manual_seed(0)
    cell = ConvTTLSTMCell(1, 2, 3, 2, 2, 2)
    x, state = torch.randn(1, 1, 4, 4), cell.initial_state(1, (4, 4))
    compiled = torch.compile(cell, backend="inductor", fullgraph=True)
    torch.testing.assert_close(compiled(x, state)[0], cell(x, state)[0])


def test_weights_are_glorot_of_the_joint_convolution() -> None:
    torch.manual_seed(0)
    cell = ConvTTLSTMCell(24, 32, 5, 3, 4, 8)
    for weight, inputs, outputs in [
        (cell.input_weight, 24 + 8, 128),
        (cell.gate_core, 24 + 8, 128),
        (cell.cores[0], 8, 8),
        (cell.window_weight, 2 * 32, 8),
    ]:
        bound = (6 / (25 * (inputs + outputs))) ** 0.5
        assert 0.99 * bound < weight.detach().abs().max().item() <= bound
    assert all(bias.detach().abs().max().item() == 0 for bias in (cell.gate_bias, *cell.biases, cell.window_bias))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": 4, "steps": 3}, "order = 4 exceeds steps = 3"),
        ({"order": 0}, "order = 0"),
        ({"rank": 0}, "rank = 0"),
        ({"kernel": 0}, "kernel = 0"),
        ({"hidden": 0}, "hidden = 0"),
        ({"window": "both"}, "'both'"),
    ],
)
def test_bad_sizes(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        ConvTTLSTMCell(**{"inputs": 1, "hidden": 2, **options})
