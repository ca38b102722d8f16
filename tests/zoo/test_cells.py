"""The cells against published outputs, against their definition written out, and as functions of state."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.conv.functional import conv_tt
from tests.support import reference as zoo_reference
from zoo.cells import Cell, ConvLSTMCell, ConvTTLSTMCell, SameConv2d
from zoo.cells.conv_tt_lstm import written_out
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


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("inputs", [1, 2])
def test_a_convolution_keeps_size_and_channels_last(inputs: int, kernel: int) -> None:
    x, conv = torch.randn(2, inputs, 5, 6).double().requires_grad_(), SameConv2d(inputs, 3, kernel).double()
    before, after = (kernel - 1) // 2, kernel // 2
    y, expected = conv(x), F.conv2d(F.pad(x, (before, after) * 2), conv.weight, conv.bias)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)
    gradients = [torch.autograd.grad(z.square().sum(), x)[0] for z in (y, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_chain_is_that_of_the_library_bit_for_bit(order: int, kernel: int) -> None:
    """On integers, of which every sum is exact."""
    torch.manual_seed(0)
    cell = ConvTTLSTMCell(1, 2, kernel, order, order, rank=3).double()
    for parameter in cell.parameters():
        parameter.data = torch.randint_like(parameter, -4, 5)
    windows = [torch.randint(-4, 5, (2, 3, 6, 7)).double() for _ in range(order)]
    expected = windows[0]
    if order > 1:
        cores, biases = ([getattr(core, kind) for core in cell.cores] for kind in ("weight", "bias"))
        chain = [cell.gate_core.weight, *cores]
        part = conv_tt(chain, [None, *windows[1:]], [None, *biases], "same_per_step", stop=1)
        expected = windows[0] + part
    assert torch.equal(cell.chain(windows), expected)


def run_written_out(cell: ConvTTLSTMCell, xs: Tensor) -> Tensor:
    """Every h of a run `(T, B, inputs, H, W)` by eqs. (9)–(11) with the whole history kept."""
    zeros = xs.new_zeros(xs.shape[1], cell.hidden, *xs.shape[3:])
    hs, c = [zeros] * cell.steps, zeros  # newest first
    for x in xs:
        h, c = written_out(cell, F.conv2d(padded(x, cell.kernel), cell.from_x.weight, cell.from_x.bias), hs, c)
        hs = [h, *hs]
    return torch.stack(hs[: len(xs)][::-1])


def padded(x: Tensor, kernel: int) -> Tensor:
    return F.pad(x, ((kernel - 1) // 2, kernel // 2) * 2)


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
    plain = run_written_out(cell, xs)
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


def test_first_weights() -> None:
    """Glorot's uniform ones, counted for the whole convolution of which a weight is a part; biases are zero."""
    torch.manual_seed(0)
    tt, plain = ConvTTLSTMCell(24, 32, 5, 3, 4, 8), ConvLSTMCell(24, 32, 5)
    for weight, inputs, outputs in [
        (tt.from_x.weight, 24 + 8, 128),
        (tt.gate_core.weight, 24 + 8, 128),
        (tt.cores[0].weight, 8, 8),
        (tt.windows.weight, 2 * 32, 8),
        (plain.from_x.weight, 24 + 32, 128),
        (plain.from_h.weight, 24 + 32, 128),
    ]:
        bound = (6 / (25 * (inputs + outputs))) ** 0.5
        assert 0.99 * bound < weight.detach().abs().max().item() <= bound
        assert abs(weight.detach().mean().item()) < 0.05 * bound
    biases = [value for cell in (tt, plain) for name, value in cell.named_parameters() if "bias" in name]
    assert len(biases) == 5
    assert all(bias.detach().count_nonzero() == 0 for bias in biases)


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
